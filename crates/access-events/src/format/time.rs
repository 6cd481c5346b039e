//! Moments in the notations that tables and JSON have them in.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::lines::decimal;

/// How a moment is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeFormat {
    /// RFC 3339, as `2024-05-01T12:00:00Z` or `2024-05-01 14:00:00.250+02:00`.
    #[default]
    Rfc3339,
    /// Seconds since 1970, also with a fraction.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
}

/// A name that no notation has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no notation of time; there are rfc3339, seconds, millis")]
pub struct UnknownTimeFormat(String);

impl TimeFormat {
    /// All of them, by the names users write.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("rfc3339", Self::Rfc3339),
        ("seconds", Self::Seconds),
        ("millis", Self::Millis),
    ];

    pub(crate) fn parse(self, text: &str) -> Option<Timestamp> {
        match self {
            Self::Rfc3339 => text.parse().ok(),
            Self::Seconds => since_1970(text, 1),
            Self::Millis => since_1970(text, 1000),
        }
    }
}

fn since_1970(text: &str, per_second: i64) -> Option<Timestamp> {
    if let Some(number) = decimal(text.as_bytes()) {
        let nanos = i128::from(number) * 1_000_000_000 / i128::from(per_second);
        return Timestamp::from_nanosecond(nanos).ok();
    }
    // A fraction, a sign, an exponent: as near as a microsecond.
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite())? / per_second as f64;
    Timestamp::from_microsecond((seconds * 1e6).round() as i64).ok()
}

impl FromStr for TimeFormat {
    type Err = UnknownTimeFormat;

    fn from_str(text: &str) -> Result<Self, UnknownTimeFormat> {
        Self::NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, format)| *format)
            .ok_or_else(|| UnknownTimeFormat(text.to_owned()))
    }
}

impl fmt::Display for TimeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rfc3339 => "rfc3339",
            Self::Seconds => "seconds",
            Self::Millis => "millis",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let cases = [
            (
                TimeFormat::Rfc3339,
                "2024-05-01T12:00:00Z",
                "2024-05-01T12:00:00Z",
            ),
            (
                TimeFormat::Rfc3339,
                "2024-05-01 14:00:00.250+02:00",
                "2024-05-01T12:00:00.25Z",
            ),
            (TimeFormat::Rfc3339, "2024-05-01T12:00:00", "-"),
            (TimeFormat::Rfc3339, "1714564800", "-"),
            (TimeFormat::Rfc3339, "", "-"),
            (TimeFormat::Seconds, "1714564800", "2024-05-01T12:00:00Z"),
            (TimeFormat::Seconds, "1714564800.25", "2024-05-01T12:00:00.25Z"),
            (TimeFormat::Seconds, "1.7145648e9", "2024-05-01T12:00:00Z"),
            (TimeFormat::Seconds, "-1", "1969-12-31T23:59:59Z"),
            (TimeFormat::Seconds, "1714564800000", "-"),
            (TimeFormat::Seconds, "99999999999999999999", "-"),
            (TimeFormat::Seconds, "inf", "-"),
            (TimeFormat::Seconds, "NaN", "-"),
            (TimeFormat::Millis, "1714564800250", "2024-05-01T12:00:00.25Z"),
            (TimeFormat::Millis, "12h", "-"),
        ];
        for (format, text, expected) in cases {
            let found = format.parse(text).map_or("-".to_owned(), |time| time.to_string());
            assert_eq!(found, expected, "{format} {text}");
        }
        for (name, format) in TimeFormat::NAMES {
            assert_eq!(name.parse(), Ok(*format));
            assert_eq!(format.to_string(), *name);
        }
    }
}
