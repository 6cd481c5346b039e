//! What a run tells while it goes on.

/// Something that happened; a front end draws it, a test collects it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// An object was written.
    Uploaded {
        /// `s3://bucket/key`.
        uri: String,
        /// Its size.
        bytes: usize,
    },
    /// The state machine is there, with this run's definition.
    StateMachine {
        /// Its ARN.
        arn: String,
        /// It was made now; otherwise one from an earlier run was updated.
        created: bool,
    },
    /// The execution runs.
    ExecutionStarted {
        /// Its ARN.
        arn: String,
    },
    /// The execution went into a state.
    StateEntered {
        /// The state's name.
        state: String,
    },
    /// The execution left a state.
    StateExited {
        /// The state's name.
        state: String,
        /// Seconds since it was entered, by the service's clock.
        seconds: f64,
    },
    /// A task of the current state failed; a retry or a catch may follow.
    TaskFailed {
        /// The state's name.
        state: String,
        /// The error's name.
        error: String,
        /// The error's text.
        cause: String,
    },
    /// The execution ended well.
    ExecutionSucceeded,
    /// Rows are sent to the endpoint.
    Scoring {
        /// How many.
        rows: usize,
    },
    /// A configuration, a model or an endpoint that an earlier run had left was deleted.
    Deleted {
        /// What and which, as a person says it: ``model `x` ``.
        resource: String,
    },
    /// Something is not as it should be, and the run goes on.
    Warning {
        /// What, and what to do about it.
        message: String,
    },
}
