//! Alerts, and how they are written: JSON Lines, CEF in syslog, OCSF.

use std::fmt::Write as _;

use access_events::follow::{Place, Seen};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::files::hex;

/// An event that does not fit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alert {
    /// Of this form.
    pub version: u32,
    /// The same when the same event comes again.
    pub id: String,
    /// When it was written.
    #[serde(serialize_with = "as_text")]
    pub detected: Timestamp,
    /// When the event was; nothing when the source has no time.
    #[serde(serialize_with = "as_optional_text")]
    pub time: Option<Timestamp>,
    /// Who.
    pub entity: String,
    /// From where.
    pub ip: std::net::Ipv4Addr,
    /// Larger is more normal; nothing when the model has no number for it.
    pub score: Option<f32>,
    /// It lies below this.
    pub threshold: f32,
    /// Its place among the held-out rows, from 0 (below all) to 100, where the model is calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentile: Option<f64>,
    /// The probability that a normal row is as suspicious, where the model is calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// Why, in a sentence, where the model has a history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it was seen.
    pub source: Source,
    /// Alerts for the entity that the limit held back since its last one.
    #[serde(skip_serializing_if = "is_zero")]
    pub held_back: u64,
}

/// Where an event was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    /// The file.
    pub file: String,
    /// The line begins after so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte: Option<u64>,
    /// It is the record of this number, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
}

fn as_text<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn as_optional_text<S: serde::Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Source {
    /// Of an event.
    pub fn of(seen: &Seen) -> Self {
        let (byte, record) = match seen.place {
            Place::Byte(byte) => (Some(byte), None),
            Place::Record(record) => (None, Some(record)),
        };
        Self {
            file: seen.file.to_string(),
            byte,
            record,
        }
    }
}

/// The id of an event: of what it says and of where it stands, with the name of an object, which it keeps, but not of a file, which
/// rotation changes.
pub(super) fn id(seen: &Seen) -> String {
    let mut hash = Sha256::new();
    let time = seen.time.map(|time| time.to_string()).unwrap_or_default();
    let object = if seen.file.starts_with("s3://") {
        &*seen.file
    } else {
        ""
    };
    for part in [
        seen.event.entity.as_str(),
        &seen.event.ip.to_string(),
        &time,
        &seen.place.to_string(),
        object,
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex(&hash.finalize()[..16])
}

/// How much an alert matters, by how rare such a score is among normal rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Medium,
    High,
    Critical,
}

impl Alert {
    fn severity(&self) -> Severity {
        match self.p_value {
            Some(p) if p < 0.001 => Severity::Critical,
            Some(p) if p < 0.01 => Severity::High,
            _ => Severity::Medium,
        }
    }

    /// What it is, for those who read nothing else.
    fn message(&self) -> String {
        self.reason.clone().unwrap_or_else(|| {
            let score = self
                .score
                .map_or("no number".to_owned(), |score| score.to_string());
            format!(
                "{} from {} does not fit: the score is {score}, the threshold {}",
                self.entity, self.ip, self.threshold
            )
        })
    }

    /// One line of JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// A line of syslog (RFC 3164, facility local0, severity warning, the time in UTC) with an event in ArcSight's Common Event Format.
    pub fn cef(&self, host: &str) -> String {
        let severity = match self.severity() {
            Severity::Medium => 5,
            Severity::High => 8,
            Severity::Critical => 10,
        };
        let mut text = format!(
            "<132>{} {host} CEF:0|ipinsights|watch|{}|unusual-address|Unusual address for an entity|{severity}|",
            self.detected.strftime("%b %e %H:%M:%S"),
            cef_header(env!("CARGO_PKG_VERSION")),
        );
        let mut field = |name: &str, value: &str| {
            if !text.ends_with('|') {
                text.push(' ');
            }
            let _ = write!(text, "{name}={}", cef_value(value));
        };
        field("rt", &self.detected.as_millisecond().to_string());
        if let Some(time) = self.time {
            field("end", &time.as_millisecond().to_string());
        }
        field("externalId", &self.id);
        field("suser", &self.entity);
        field("src", &self.ip.to_string());
        if let Some(score) = self.score {
            field("cfp1Label", "score");
            field("cfp1", &score.to_string());
        }
        field("cfp2Label", "threshold");
        field("cfp2", &self.threshold.to_string());
        if let Some(percentile) = self.percentile {
            field("cfp3Label", "percentile");
            field("cfp3", &percentile.to_string());
        }
        field("fname", &self.source.file);
        let (label, place) = match (self.source.byte, self.source.record) {
            (Some(byte), _) => ("byte", byte),
            (None, record) => ("record", record.unwrap_or_default()),
        };
        field("cn1Label", label);
        field("cn1", &place.to_string());
        field("cnt", &(self.held_back + 1).to_string());
        field("msg", &self.message());
        text
    }

    /// A Detection Finding (class 2004) of the Open Cybersecurity Schema Framework, 1.3.0.
    pub fn ocsf(&self) -> String {
        let time = self.time.unwrap_or(self.detected).as_millisecond();
        let (severity_id, severity) = match self.severity() {
            Severity::Medium => (3, "Medium"),
            Severity::High => (4, "High"),
            Severity::Critical => (5, "Critical"),
        };
        json!({
            "activity_id": 1,
            "activity_name": "Create",
            "category_uid": 2,
            "category_name": "Findings",
            "class_uid": 2004,
            "class_name": "Detection Finding",
            "type_uid": 200_401,
            "type_name": "Detection Finding: Create",
            "time": time,
            "severity_id": severity_id,
            "severity": severity,
            "status_id": 1,
            "status": "New",
            "message": self.message(),
            "count": self.held_back + 1,
            "metadata": {
                "version": "1.3.0",
                "uid": self.id,
                "log_name": self.source.file,
                "product": {"name": "ipinsights", "vendor_name": "ipinsights", "version": env!("CARGO_PKG_VERSION")},
            },
            "finding_info": {
                "uid": self.id,
                "title": "Unusual address for an entity",
                "desc": self.message(),
                "created_time": self.detected.as_millisecond(),
                "first_seen_time": time,
                "last_seen_time": time,
                "analytic": {"name": "IP Insights", "type_id": 4, "type": "Learning (ML/DL)"},
            },
            "evidences": [{
                "actor": {"user": {"name": self.entity}},
                "src_endpoint": {"ip": self.ip},
                "data": {
                    "score": self.score,
                    "threshold": self.threshold,
                    "percentile": self.percentile,
                    "p_value": self.p_value,
                    "byte": self.source.byte,
                    "record": self.source.record,
                },
            }],
            "observables": [
                {"name": "evidences[0].actor.user.name", "type_id": 4, "type": "User Name", "value": self.entity},
                {"name": "evidences[0].src_endpoint.ip", "type_id": 2, "type": "IP Address", "value": self.ip},
            ],
        })
        .to_string()
    }
}

/// A header field of CEF.
fn cef_header(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace(['\r', '\n'], " ")
}

/// A value of CEF's extension: one line, whatever was in the log.
fn cef_value(text: &str) -> String {
    let mut value = String::new();
    for c in text.chars() {
        match c {
            '\\' => value.push_str("\\\\"),
            '=' => value.push_str("\\="),
            '\n' => value.push_str("\\n"),
            '\r' => value.push_str("\\r"),
            c if c.is_control() => value.extend(c.escape_debug()),
            c => value.push(c),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn alert() -> Alert {
        let seen = Seen {
            event: access_events::AccessEvent::new("a=b|c\\\nCEF:0|x", Ipv4Addr::new(192, 0, 2, 1)),
            time: Some("2026-11-28T04:00:00Z".parse().unwrap()),
            file: "access.log".into(),
            place: Place::Byte(120),
        };
        Alert {
            version: 1,
            id: id(&seen),
            detected: "2026-11-28T04:00:01.5Z".parse().unwrap(),
            time: seen.time,
            entity: seen.event.entity.clone(),
            ip: seen.event.ip,
            score: Some(-1.5),
            threshold: -0.5,
            percentile: Some(0.25),
            p_value: Some(0.004),
            reason: None,
            source: Source::of(&seen),
            held_back: 2,
        }
    }

    #[test]
    fn json_lines() {
        assert_eq!(
            alert().json().unwrap(),
            r#"{"version":1,"id":"ID","detected":"2026-11-28T04:00:01.5Z","time":"2026-11-28T04:00:00Z","entity":"a=b|c\\\nCEF:0|x","ip":"192.0.2.1","score":-1.5,"threshold":-0.5,"percentile":0.25,"p_value":0.004,"source":{"file":"access.log","byte":120},"held_back":2}"#
                .replace("ID", &alert().id)
        );
    }

    #[test]
    fn cef_is_one_line_whatever_was_in_the_log() {
        let want = concat!(
            r"<132>Nov 28 04:00:01 h CEF:0|ipinsights|watch|VERSION|unusual-address|Unusual address for an entity|8|",
            r"rt=1795838401500 end=1795838400000 externalId=ID suser=a\=b|c\\\nCEF:0|x src=192.0.2.1 cfp1Label=score cfp1=-1.5 ",
            r"cfp2Label=threshold cfp2=-0.5 cfp3Label=percentile cfp3=0.25 fname=access.log cn1Label=byte cn1=120 cnt=3 ",
            r"msg=a\=b|c\\\nCEF:0|x from 192.0.2.1 does not fit: the score is -1.5, the threshold -0.5",
        );
        let want = want
            .replace("VERSION", env!("CARGO_PKG_VERSION"))
            .replace("ID ", &(alert().id + " "));
        assert_eq!(
            alert().cef("h"),
            want.replace("externalId=ID", &format!("externalId={}", alert().id))
        );
    }

    #[test]
    fn ocsf_has_what_the_class_requires() {
        let finding: serde_json::Value = serde_json::from_str(&alert().ocsf()).unwrap();
        assert_eq!(finding["class_uid"], 2004);
        assert_eq!(finding["type_uid"], 2004 * 100 + 1);
        assert_eq!(finding["severity_id"], 4);
        assert_eq!(finding["time"], 1_795_838_400_000_i64);
        assert_eq!(finding["finding_info"]["uid"], alert().id);
        for required in [
            "activity_id",
            "category_uid",
            "class_uid",
            "finding_info",
            "metadata",
            "severity_id",
            "time",
            "type_uid",
        ] {
            assert!(!finding[required].is_null(), "{required}");
        }
    }

    #[test]
    fn an_id_is_that_of_the_event_not_of_the_file() {
        let seen = |file: &str, place| Seen {
            event: access_events::AccessEvent::new("a", Ipv4Addr::LOCALHOST),
            time: None,
            file: file.into(),
            place,
        };
        assert_eq!(
            id(&seen("a.log", Place::Byte(1))),
            id(&seen("a.log.1", Place::Byte(1)))
        );
        assert_ne!(
            id(&seen("a.log", Place::Byte(1))),
            id(&seen("a.log", Place::Byte(2)))
        );
        assert_ne!(
            id(&seen("a.log", Place::Byte(1))),
            id(&seen("a.log", Place::Record(1)))
        );
        assert_eq!(alert().id.len(), 32);
    }
}
