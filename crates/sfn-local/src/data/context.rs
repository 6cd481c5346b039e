//! The context object: `$$`, and `$states.context`.
//!
//! Developer guide, "Accessing execution data from the Context object in Step Functions".

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sfn_builder::path::Segment;

use super::path::{NotFound, find};
use crate::execution::Execution;

/// An item of a Map state, as the context object shows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    /// Counts from 0.
    pub(crate) index: u64,
    /// Of an object's items: the member's name.
    pub(crate) key: Option<String>,
    pub(crate) value: Value,
    /// Where an `ItemReader` has read it.
    pub(crate) source: Option<String>,
}

/// What the context object is made of. It is built only as far as it is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) execution: &'a Execution,
    pub(crate) started: Timestamp,
    pub(crate) redrive_count: u64,
    pub(crate) state: &'a str,
    pub(crate) entered: Timestamp,
    /// Only of states that can be retried.
    pub(crate) retry_count: Option<u64>,
    pub(crate) item: Option<&'a Item>,
    pub(crate) token: Option<&'a str>,
}

/// A time as the context object prints it: UTC, with milliseconds.
pub(crate) fn moment(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// The members of the context object, in its order.
pub(crate) const MEMBERS: [&str; 5] = ["Execution", "StateMachine", "State", "Map", "Task"];

impl Context<'_> {
    /// A member, `Execution.Input` aside, which can be large.
    fn member(&self, name: &str, with_input: bool) -> Option<Value> {
        if let Some(context) = &self.execution.context {
            return context.get(name).cloned();
        }
        let mut map = Map::new();
        match name {
            "Execution" => {
                let execution = self.execution;
                map.insert("Id".into(), execution.arn.as_str().into());
                if with_input {
                    map.insert("Input".into(), execution.input.clone());
                }
                map.insert("StartTime".into(), moment(self.started).into());
                map.insert("Name".into(), execution.name.as_str().into());
                map.insert("RoleArn".into(), execution.role_arn.as_str().into());
                // Express executions are not redriven.
                if execution.arn.split(':').nth(5) != Some("express") {
                    map.insert("RedriveCount".into(), self.redrive_count.into());
                }
            }
            "StateMachine" => {
                map.insert("Id".into(), self.execution.state_machine_arn.as_str().into());
                map.insert("Name".into(), self.execution.state_machine_name.as_str().into());
            }
            "State" => {
                map.insert("Name".into(), self.state.into());
                map.insert("EnteredTime".into(), moment(self.entered).into());
                if let Some(count) = self.retry_count {
                    map.insert("RetryCount".into(), count.into());
                }
            }
            "Map" => {
                let item = self.item?;
                let mut inner = Map::new();
                inner.insert("Index".into(), item.index.into());
                if let Some(key) = &item.key {
                    inner.insert("Key".into(), key.as_str().into());
                }
                inner.insert("Value".into(), item.value.clone());
                if let Some(source) = &item.source {
                    inner.insert("Source".into(), source.as_str().into());
                }
                map.insert("Item".into(), inner.into());
            }
            "Task" => return self.token.map(|token| json!({ "Token": token })),
            _ => return None,
        }
        Some(map.into())
    }

    /// The context object with these of its members.
    pub(crate) fn object(&self, members: &[&str]) -> Value {
        let present = members
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), self.member(name, true)?)));
        Value::Object(present.collect())
    }

    /// What lies at a path of it.
    pub(crate) fn find(&self, segments: &[Segment]) -> Result<Value, NotFound> {
        let name = match segments.first() {
            Some(Segment::Field(name)) => name.as_str(),
            _ => return find(&self.object(&MEMBERS), segments).map(Cow::into_owned),
        };
        if let (None, "Execution", Some(Segment::Field(second))) =
            (&self.execution.context, name, segments.get(1))
        {
            if second == "Input" {
                return find(&self.execution.input, &segments[2..]).map(Cow::into_owned);
            }
            let member = self.member(name, false).unwrap_or(Value::Null);
            return find(&member, &segments[1..]).map(Cow::into_owned);
        }
        let item = match (name, segments) {
            ("Map", [_, Segment::Field(item), Segment::Field(value), rest @ ..])
                if item == "Item" && value == "Value" =>
            {
                self.item.map(|item| (item, rest))
            }
            _ => None,
        };
        if let Some((item, rest)) = item {
            return find(&item.value, rest).map(Cow::into_owned);
        }
        find(&self.object(&[name]), segments).map(Cow::into_owned)
    }
}
