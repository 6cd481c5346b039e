//! What became of the records: how many were read, how many pairs came out, and what was left out and why.

use std::collections::BTreeMap;
use std::fmt;

use crate::address::SpecialRange;
use crate::format::Malformed;

/// Why a record, or one use in it, gave no pair.
///
/// [`name`](Self::name) and [`Display`](fmt::Display) give a stable name in kebab case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// The record names nobody, or not by the kind of name that the policy asks for.
    NoPrincipal,
    /// The name is longer than [`Policy::LONGEST_ENTITY`](crate::Policy::LONGEST_ENTITY).
    LongPrincipal,
    /// The record has no address.
    NoAddress,
    /// Where the address should be is something else: a host name, `-`, `AWS Internal`.
    NotAnAddress,
    /// An IPv6 address, and the policy skips them.
    Ipv6,
    /// An address of a special-purpose range, and the policy skips them.
    Special(SpecialRange),
    /// An AWS service called on its own or on somebody's behalf: the address is not that of a user.
    ServiceCaller,
    /// A CloudTrail Insights event: statistics, not a use.
    InsightEvent,
    /// A CloudTrail digest file: checksums of log files, not a log.
    DigestFile,
    /// A file whose name begins with a dot, found while walking a folder.
    HiddenFile,
    /// Neither a file nor a folder but a pipe, a socket or a device, found while walking a folder.
    NotAFile,
    /// A folder that was walked before, found again by a link.
    FolderAgain,
    /// A flow log's note that there was no traffic.
    FlowNoData,
    /// A flow log's note that flows are missing from it: some were skipped when it was written.
    FlowSkipData,
    /// A flow that was rejected.
    FlowRejected,
    /// A flow that went out.
    FlowOutbound,
    /// A flow that came in as the answer to a connection that went out.
    FlowAnswer,
    /// A flow between two private addresses, in a log that does not tell the direction.
    FlowInternal,
    /// A flow between two public addresses, in a log that does not tell the direction.
    FlowDirectionUnknown,
    /// A flow to a port that was not asked for.
    OtherPort,
    /// A web request that was not asked for.
    OtherRequest,
    /// A web request that was answered with a status that was not asked for.
    OtherStatus,
    /// The policy has a time window, and the record no time.
    NoTime,
    /// The time lies outside of the policy's window.
    OutsideWindow,
    /// The policy lists the networks that are let through, and the address is in none of them.
    NetworkNotAllowed,
    /// The address is in a network that the policy leaves out.
    NetworkDenied,
    /// The policy lists the entities that are let through, and this is none of them.
    EntityNotAllowed,
    /// The policy leaves this entity out.
    EntityDenied,
}

impl DropReason {
    /// The name, in kebab case; does not change between versions.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoPrincipal => "no-principal",
            Self::LongPrincipal => "long-principal",
            Self::NoAddress => "no-address",
            Self::NotAnAddress => "not-an-address",
            Self::Ipv6 => "ipv6-address",
            Self::Special(range) => range.reason(),
            Self::ServiceCaller => "service-caller",
            Self::InsightEvent => "insight-event",
            Self::DigestFile => "digest-file",
            Self::HiddenFile => "hidden-file",
            Self::NotAFile => "not-a-file",
            Self::FolderAgain => "folder-again",
            Self::FlowNoData => "flow-no-data",
            Self::FlowSkipData => "flow-skip-data",
            Self::FlowRejected => "flow-rejected",
            Self::FlowOutbound => "flow-outbound",
            Self::FlowAnswer => "flow-answer",
            Self::FlowInternal => "flow-internal",
            Self::FlowDirectionUnknown => "flow-direction-unknown",
            Self::OtherPort => "other-port",
            Self::OtherRequest => "other-request",
            Self::OtherStatus => "other-status",
            Self::NoTime => "no-time",
            Self::OutsideWindow => "outside-time-window",
            Self::NetworkNotAllowed => "network-not-allowed",
            Self::NetworkDenied => "network-denied",
            Self::EntityNotAllowed => "entity-not-allowed",
            Self::EntityDenied => "entity-denied",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What an extraction did. Counts only grow; those of several inputs are added up in the order of the inputs.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Inputs that were opened.
    pub inputs: u64,
    /// Inputs by the [name](crate::format::Format::name) of their format; one that is empty has none when it is to be guessed.
    pub formats: BTreeMap<&'static str, u64>,
    /// Inputs that were not opened, by reason: digest files, hidden files, pipes, folders found again.
    pub inputs_left_out: BTreeMap<DropReason, u64>,
    /// Bytes as stored, compressed or not.
    pub bytes_stored: u64,
    /// Bytes after decompression.
    pub bytes_read: u64,
    /// Records read, whatever became of them.
    pub records: u64,
    /// Uses that records tell of, and reasons why they tell of none: at least one for each record that is not malformed, and several for
    /// findings of many port probes. Each is a pair or a drop: `uses == pairs + dropped()`.
    pub uses: u64,
    /// Pairs that came out. A record may give several, or none.
    pub pairs: u64,
    /// Uses and records that gave no pair, by reason.
    pub drops: BTreeMap<DropReason, u64>,
    /// Records that could not be understood; only more than zero where such records are skipped.
    pub malformed: u64,
    /// The first few of them, at most [`EXAMPLES`](Self::EXAMPLES).
    pub malformed_examples: Vec<MalformedRecord>,
    /// Inputs that end before their end, are damaged, or of which records may have been passed over. What was whole before that place is kept.
    pub cut_short: u64,
    /// The first few of them, at most [`EXAMPLES`](Self::EXAMPLES).
    pub cut_short_examples: Vec<CutShort>,
}

impl Summary {
    /// How many malformed records and inputs cut short are kept as examples; all are counted.
    pub const EXAMPLES: usize = 20;

    /// Records and uses that gave no pair.
    pub fn dropped(&self) -> u64 {
        self.drops.values().sum()
    }

    /// Uses beyond the first one of their record: `records + further_uses() == pairs + dropped() + malformed`.
    pub fn further_uses(&self) -> u64 {
        (self.uses + self.malformed).saturating_sub(self.records)
    }

    /// Adds one to the pairs.
    pub(crate) fn pair(&mut self) {
        self.uses += 1;
        self.pairs += 1;
    }

    /// Adds one to what was left out for this reason.
    pub fn drop(&mut self, reason: DropReason) {
        self.uses += 1;
        *self.drops.entry(reason).or_default() += 1;
    }

    /// Adds the counts of inputs that come after those of `self`.
    pub fn add(&mut self, later: Self) {
        self.inputs += later.inputs;
        for (format, count) in later.formats {
            *self.formats.entry(format).or_default() += count;
        }
        for (reason, count) in later.inputs_left_out {
            *self.inputs_left_out.entry(reason).or_default() += count;
        }
        self.bytes_stored += later.bytes_stored;
        self.bytes_read += later.bytes_read;
        self.records += later.records;
        self.uses += later.uses;
        self.pairs += later.pairs;
        for (reason, count) in later.drops {
            *self.drops.entry(reason).or_default() += count;
        }
        self.malformed += later.malformed;
        append(&mut self.malformed_examples, later.malformed_examples);
        self.cut_short += later.cut_short;
        append(&mut self.cut_short_examples, later.cut_short_examples);
    }

    pub(crate) fn malformed(&mut self, record: MalformedRecord) {
        self.malformed += 1;
        append(&mut self.malformed_examples, vec![record]);
    }

    pub(crate) fn cut_short(&mut self, input: CutShort) {
        self.cut_short += 1;
        append(&mut self.cut_short_examples, vec![input]);
    }
}

fn append<T>(examples: &mut Vec<T>, later: Vec<T>) {
    let room = Summary::EXAMPLES.saturating_sub(examples.len());
    examples.extend(later.into_iter().take(room));
}

/// A record that could not be understood, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{input}`: record {record} ({}): {fault}", fault.place)]
pub struct MalformedRecord {
    /// The input's name.
    pub input: String,
    /// The record's number in the input, one-based; malformed ones count.
    pub record: u64,
    /// What is wrong with it.
    pub fault: Malformed,
}

/// An input that ends before its end, is damaged, or of which records may have been passed over from some place on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutShort {
    /// The input's name.
    pub input: String,
    /// How many records were read before.
    pub records: u64,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for CutShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` after record {}: {}",
            self.input, self.records, self.problem
        )
    }
}
