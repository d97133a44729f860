//! The contract of an application: what a lock file holds, and what an application says of itself.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// The form of lock files that this tool reads and writes.
const FORM: u64 = 1;

/// A contract. A description has places in the source beside; a lock file has none.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Contract {
    pub(super) application: String,
    /// By their types on the wire: `orders.paid.v1`.
    pub(super) events: BTreeMap<String, Event>,
    /// By their names.
    pub(super) handlers: BTreeMap<String, Handler>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) version: u32,
    pub(super) topic: String,
    pub(super) broker: Option<String>,
    pub(super) key: Option<String>,
    #[serde(default)]
    pub(super) bare: bool,
    pub(super) codec: String,
    pub(super) content_type: String,
    #[serde(default)]
    pub(super) accepts: Vec<String>,
    pub(super) schema: Option<Value>,
    pub(super) at: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Handler {
    pub(super) group: String,
    pub(super) event: Option<String>,
    pub(super) broker: Option<String>,
    #[serde(default)]
    pub(super) topics: Vec<String>,
    #[serde(default)]
    pub(super) dead_letters: Vec<String>,
    pub(super) order: String,
    pub(super) lane: Option<String>,
    #[serde(rename = "match")]
    pub(super) matches: Option<String>,
    pub(super) retry: Value,
    pub(super) on_retry: String,
    pub(super) batch: Option<Value>,
    pub(super) start: String,
    #[serde(default)]
    pub(super) broadcast: bool,
    #[serde(default)]
    pub(super) returns: Vec<String>,
    pub(super) at: Option<String>,
}

impl Event {
    /// Whether changes of its payload are not seen. One that is not of serde's shapes has no schema, and none is missed.
    pub(super) fn is_blind(&self) -> bool {
        self.schema.is_none() && !matches!(&*self.codec, "protobuf" | "raw")
    }
}

impl Contract {
    /// Reads a lock file.
    pub(super) fn of_lock(text: &str) -> Result<Self, String> {
        let value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        Self::of(value)
    }

    /// Reads what an application has written, among whatever else it has written: the contract, and the text of its lock file.
    pub(super) fn of_description(text: &str) -> Result<(Self, String), String> {
        let is_one = |value: &Value| value.get("convoke_lock").is_some();
        let whole = std::iter::once(text).chain(text.lines().rev());
        let found = whole.filter(|part| part.contains("convoke_lock")).find_map(|part| serde_json::from_str(part).ok());
        let Some(value) = found.filter(is_one) else {
            return Err("no description of an application is in it".to_owned());
        };
        Ok((Self::of(value.clone())?, lock(value)))
    }

    fn of(value: Value) -> Result<Self, String> {
        match value.get("convoke_lock").and_then(Value::as_u64) {
            Some(FORM) => serde_json::from_value(value).map_err(|error| format!("it is no contract: {error}")),
            Some(other) => {
                Err(format!("its form is {other}, and this tool knows {FORM}; use the tool of the version of convoke"))
            }
            None => Err("it is no lock file of convoke: `convoke_lock` is missing".to_owned()),
        }
    }
}

/// The text of a lock file: without places in the source, sorted, a line for each thing.
fn lock(mut description: Value) -> String {
    for section in ["events", "handlers"] {
        let entries = description.get_mut(section).and_then(Value::as_object_mut).into_iter().flatten();
        entries.filter_map(|(_, entry)| entry.as_object_mut()).for_each(|entry| {
            entry.remove("at");
        });
    }
    // It does not depend on how the JSON library of this build keeps its keys.
    format!("{:#}\n", sorted(description))
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(entries) => {
            let entries: BTreeMap<_, _> = entries.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(Map::from_iter(entries))
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        plain => plain,
    }
}
