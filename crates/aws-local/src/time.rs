//! Time as the services write it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment as the JSON services write it: seconds since 1970, to the millisecond.
pub(crate) type Seconds = f64;

/// The present moment.
pub(crate) fn now() -> Seconds {
    seconds(SystemTime::now())
}

/// `time` in seconds since 1970, cut to the millisecond.
pub(crate) fn seconds(time: SystemTime) -> Seconds {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    millis as f64 / 1000.0
}

/// A timestamp in seconds since 1970, cut to the millisecond.
pub(crate) fn seconds_of(time: jiff::Timestamp) -> Seconds {
    time.as_millisecond() as f64 / 1000.0
}

/// The other way round.
pub(crate) fn system_time(seconds: Seconds) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis(seconds))
}

/// Milliseconds since 1970.
pub(crate) fn millis(seconds: Seconds) -> u64 {
    (seconds * 1000.0).round().max(0.0) as u64
}

/// ISO 8601 in UTC with milliseconds, as Step Functions prints times inside documents.
pub(crate) fn iso(seconds: Seconds) -> String {
    jiff::Timestamp::from_millisecond(millis(seconds).try_into().unwrap_or(i64::MAX))
        .map(|t| t.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
        .unwrap_or_default()
}
