//! The history's file.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::History;
use crate::part::{Part, PartError, PartReader, PartWriter, check_format};

const FORMAT: &str = "ipinsights-history";
/// Where a use has no time although others have.
const NO_TIME: i64 = i64::MIN;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: String,
    format_version: u32,
    /// Bits of a network.
    prefix: u32,
    times: bool,
}

impl Part for History {
    const FILE: &'static str = "history.safetensors";
    const MAX_BYTES: u64 = History::MAX_BYTES;

    fn to_bytes(&self) -> Result<Vec<u8>, PartError> {
        let ends = self.names.iter().scan(0_u32, |end, name| {
            // The builder's limit lies far below 2^32.
            *end += name.len() as u32;
            Some(*end)
        });
        let mut writer = PartWriter::default()
            .list("entity.names", self.names.iter().flat_map(|name| name.bytes()))
            .list("entity.name_ends", ends)
            .list("entity.first_use", self.first_use.iter().copied())
            .list("use.networks", self.networks.iter().copied())
            .list("use.counts", self.counts.iter().copied());
        if self.has_times() {
            let seconds = self.last.iter().map(|t| t.map_or(NO_TIME, Timestamp::as_second));
            writer = writer.list("use.last", seconds);
        }
        writer.finish(&Description {
            format: FORMAT.to_owned(),
            format_version: 1,
            prefix: 24,
            times: self.has_times(),
        })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, PartError> {
        let (mut reader, description) = PartReader::new::<Description>(bytes)?;
        check_format(description.format, description.format_version, FORMAT)?;
        if description.prefix != 24 {
            return Err(PartError::contents(format!(
                "networks of {} bits, this program reads 24",
                description.prefix
            )));
        }
        let text: Vec<u8> = reader.list("entity.names", None)?.collect();
        let ends: Vec<u32> = reader.list("entity.name_ends", None)?.collect();
        let names = split(&text, &ends).ok_or_else(|| {
            PartError::contents(
                "the ends of the entities' names do not ascend to the last, or a name is not UTF-8",
            )
        })?;
        let first_use = reader.list("entity.first_use", Some(names.len() + 1))?.collect();
        let networks: Vec<u32> = reader.list("use.networks", None)?.collect();
        let counts = reader.list("use.counts", Some(networks.len()))?.collect();
        let mut last = Vec::new();
        if description.times {
            for seconds in reader.list::<i64>("use.last", Some(networks.len()))? {
                last.push(match seconds {
                    NO_TIME => None,
                    _ => Some(Timestamp::from_second(seconds).map_err(|_| {
                        PartError::contents(format!("{seconds} seconds since 1970 is no time"))
                    })?),
                });
            }
        }
        reader.finish()?;
        Self::new(names, first_use, networks, counts, last)
    }
}

fn split(text: &[u8], ends: &[u32]) -> Option<Vec<String>> {
    let mut start = 0;
    let mut names = Vec::with_capacity(ends.len());
    for end in ends {
        let end = *end as usize;
        let name = text.get(start..end)?;
        names.push(str::from_utf8(name).ok()?.to_owned());
        start = end;
    }
    (start == text.len()).then_some(names)
}
