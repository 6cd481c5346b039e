//! Pictures of a machine.

/// How far a state came in an execution, for the colours of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StateStatus {
    /// It is running.
    InProgress,
    /// It ended well.
    Succeeded,
    /// It failed, and nothing caught it.
    Failed,
    /// It failed, and a catcher took over.
    Caught,
}
