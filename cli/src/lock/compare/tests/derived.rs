//! Schemas as schemars derives them: what it writes today is what has to be understood.
#![allow(dead_code, reason = "the types are only described")]

use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lock::compare::schema::compare;

/// The schema of a type, and that it means what it means.
fn of<T: JsonSchema>() -> Value {
    let schema = schema_for!(T).to_value();
    assert!(compare(&schema, &schema).is_empty());
    schema
}

fn found<Old: JsonSchema, New: JsonSchema>() -> Vec<String> {
    compare(&of::<Old>(), &of::<New>())
        .iter()
        .map(|change| format!("{} {}: {}", change.severity.word(), change.rule, change.what))
        .collect()
}

mod before {
    use super::*;

    #[derive(Serialize, Deserialize, JsonSchema)]
    pub(super) struct Order {
        number: u32,
        kind: Kind,
        paid_by: Payment,
        shipped: Option<Shipment>,
        lines: Vec<(String, u8)>,
        totals: BTreeMap<String, u64>,
        tags: BTreeSet<String>,
        parts: Vec<Order>,
        #[serde(flatten)]
        more: More,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    pub(super) struct More {
        note: Option<String>,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    pub(super) enum Kind {
        Normal,
        Express,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    pub(super) enum Payment {
        Cash,
        Card { number: String },
        Voucher(u32),
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    pub(super) struct Shipment {
        carrier: String,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(tag = "type")]
    pub(super) enum Tagged {
        Opened { at: u64 },
        Closed,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(tag = "type", content = "data")]
    pub(super) enum Beside {
        Opened(u64),
        Closed,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(untagged)]
    pub(super) enum Untagged {
        Number(u64),
        Text(String),
    }
}

mod after {
    use super::*;

    #[derive(Serialize, Deserialize, JsonSchema)]
    pub(super) struct Order {
        number: u64,
        kind: Kind,
        paid_by: Payment,
        shipped: Option<Shipment>,
        lines: Vec<(String, u8)>,
        totals: BTreeMap<String, u64>,
        tags: BTreeSet<String>,
        parts: Vec<Order>,
        #[serde(flatten)]
        more: More,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    pub(super) struct More {
        note: Option<String>,
        #[serde(default)]
        urgent: bool,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    pub(super) enum Kind {
        /// As always.
        Normal,
        /// A comment makes it another text.
        Express,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    pub(super) enum Payment {
        Cash,
        Card { number: String, expires: u16 },
        Voucher(u32),
        Transfer,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    pub(super) struct Shipment {}

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(tag = "type")]
    pub(super) enum Tagged {
        Opened { at: u64, by: String },
        Closed,
        Lost,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(tag = "type", content = "data")]
    pub(super) enum Beside {
        Opened(String),
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(untagged)]
    pub(super) enum Untagged {
        Number(u64),
        Text(String),
        Neither(bool),
    }
}

#[test]
fn a_struct_with_what_structs_have() {
    let expected = [
        "fine field-added: `urgent` is new, and may be missing",
        "careful variant-added: `paid_by` can be `Transfer` too",
        "breaking field-added: `paid_by(Card).expires` is new and needed, and stored messages do not have it",
        "breaking field-removed: `shipped.carrier` is no more, and readers of the old contract need it",
        "careful type-widened: `number` has a wider range now",
    ];
    let mut found = found::<before::Order, after::Order>();
    found.sort_by_key(|one| expected.iter().position(|other| other == one));
    assert_eq!(found, expected);
}

#[test]
fn enums_with_tags_beside_them_within_them_and_without() {
    let tagged = [
        "careful variant-added: the payload can be `type = Lost` too",
        "breaking field-added: `(type = Opened).by` is new and needed, and stored messages do not have it",
    ];
    assert_eq!(found::<before::Tagged, after::Tagged>(), tagged);
    let beside = [
        "breaking variant-removed: the payload cannot be `type = Closed` any more, and stored messages may say so",
        "breaking type-changed: `(type = Opened).data` was integer, and is string",
    ];
    assert_eq!(found::<before::Beside, after::Beside>(), beside);
    let untagged = ["careful not-judged: the payload has changed in a way that this cannot judge (variants without names)"];
    assert_eq!(found::<before::Untagged, after::Untagged>(), untagged);
}

#[test]
fn plain_types() {
    assert_eq!(found::<u64, u32>(), ["breaking type-narrowed: the payload had a wider range, and is not any more"]);
    assert_eq!(found::<f32, f64>(), [""; 0]);
    assert_eq!(found::<Option<String>, String>(), ["breaking null-refused: the payload may not be null any more"]);
    assert_eq!(found::<[u8; 3], [u8; 4]>().len(), 1);
    assert_eq!(found::<Vec<u8>, Vec<String>>(), ["breaking type-changed: `[]` was integer, and is string"]);
    assert_eq!(found::<Box<before::Order>, before::Order>(), [""; 0], "a type's name is not written");
}
