//! What an application says of itself, without a broker.

use convoke::prelude::*;
use convoke::{Description, ErrorKind};
use serde::{Deserialize, Serialize};

/// An order was paid.
#[event(topic = "orders.paid", key = (tenant, self.customer.id), version = 2, accepts(1 = PaidV1, "orders.settled.v4" = PaidV1))]
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Paid {
    /// Whose shop it is.
    tenant: String,
    customer: Customer,
    #[serde(default)]
    cents: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Customer {
    id: u32,
    /// A property of this name is not a description.
    description: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct PaidV1 {
    tenant: String,
}

impl From<PaidV1> for Paid {
    fn from(old: PaidV1) -> Self {
        Self { tenant: old.tenant, customer: Customer { id: 0, description: None }, cents: 0 }
    }
}

/// It derives no schema, with or without the feature.
#[event(topic = "stock.reserved", key = self.order, bare, broker = "warehouse")]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reserved {
    order: u64,
}

#[handler(group = "warehouse", retry(attempts = 3), on_retry = pass)]
async fn reserve(_paid: Paid, State(_stock): State<Stock>) -> Option<Reserved> {
    None
}

#[handler(topics("stock.reserved", "stock.moved"), order = none, dead_letter = "stock.dead", start = new, broker = "warehouse")]
async fn audit(_message: Message) {}

#[derive(Clone)]
struct Stock;

fn described() -> Description {
    App::new("shop").state(Stock).describe().unwrap()
}

const WITHOUT_SCHEMAS: &str = r#"{
  "application": "shop",
  "convoke_lock": 1,
  "events": {
    "orders.paid.v2": {
      "accepts": [
        "orders.paid.v1",
        "orders.settled.v4"
      ],
      "codec": "json",
      "content_type": "application/json",
      "key": "(tenant, self.customer.id)",
      "name": "orders.paid",
      "topic": "orders.paid",
      "version": 2
    },
    "stock.reserved.v1": {
      "bare": true,
      "broker": "warehouse",
      "codec": "json",
      "content_type": "application/json",
      "key": "order",
      "name": "stock.reserved",
      "topic": "stock.reserved",
      "version": 1
    }
  },
  "handlers": {
    "audit": {
      "broker": "warehouse",
      "dead_letters": [
        "stock.dead"
      ],
      "group": "shop.audit",
      "on_retry": "hold",
      "order": "none",
      "retry": {
        "attempts": 5,
        "backoff": "200ms..30s",
        "jitter": 20
      },
      "start": "new",
      "topics": [
        "stock.reserved",
        "stock.moved"
      ]
    },
    "reserve": {
      "dead_letters": [
        "orders.paid.warehouse.dead"
      ],
      "event": "orders.paid.v2",
      "group": "warehouse",
      "on_retry": "pass",
      "order": "key",
      "retry": {
        "attempts": 3,
        "backoff": "200ms..30s",
        "jitter": 20
      },
      "returns": [
        "stock.reserved.v1"
      ],
      "start": "earliest",
      "topics": [
        "orders.paid"
      ]
    }
  }
}
"#;

#[test]
fn the_contract_of_an_application_is_the_same_text_every_time() {
    let mut description = described();
    assert_eq!(described().lock(), description.lock());
    description.events.iter_mut().for_each(|event| event.schema = None);
    assert_eq!(description.lock(), WITHOUT_SCHEMAS);
}

#[test]
fn places_in_the_source_are_said_and_do_not_belong_to_the_contract() {
    let description = described();
    let json: serde_json::Value = serde_json::from_str(&description.to_json()).unwrap();
    assert!(!description.to_json().contains('\n'));
    let place = json["handlers"]["reserve"]["at"].as_str().unwrap();
    assert!(place.starts_with("tests/describe.rs:"), "{place}");
    assert!(json["events"]["orders.paid.v2"]["at"].as_str().unwrap().starts_with("tests/describe.rs:"));
    assert!(!description.lock().contains("describe.rs"));
}

#[test]
fn whatever_a_deployment_calls_things_the_contract_has_the_programs_names() {
    let renamed = App::new("shop").state(Stock);
    #[cfg(feature = "config")]
    let renamed = renamed.config_str("[topics]\n\"orders.paid\" = \"prod.orders.paid\"\n[groups]\nwarehouse = \"blue\"\n");
    assert_eq!(renamed.describe().unwrap().lock(), described().lock());
}

#[test]
fn what_is_wrong_with_an_application_is_said_as_build_says_it() {
    let error = App::new("shop").describe().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("the application has no such state"), "{error}");
}

#[cfg(feature = "schema")]
#[test]
fn the_schema_is_what_a_reader_needs_without_words_for_people() {
    let description = described();
    let [paid, reserved] = description.events.as_slice() else { panic!("{:?}", description.events) };
    assert_eq!(reserved.schema, None, "the type derives none");
    let schema: serde_json::Value = serde_json::from_str(paid.schema.as_ref().unwrap()).unwrap();
    let wanted = serde_json::json!({
        "type": "object",
        "properties": {
            "tenant": { "type": "string" },
            "customer": { "$ref": "#/$defs/Customer" },
            "cents": { "type": "integer", "format": "uint64", "minimum": 0, "default": 0 }
        },
        "required": ["tenant", "customer"],
        "$defs": { "Customer": {
            "type": "object",
            "properties": {
                "id": { "type": "integer", "format": "uint32", "minimum": 0 },
                "description": { "type": ["string", "null"] }
            },
            "required": ["id"]
        } }
    });
    assert_eq!(schema, wanted);
}

#[cfg(not(feature = "schema"))]
#[test]
fn without_the_feature_there_are_no_schemas() {
    assert!(described().events.iter().all(|event| event.schema.is_none()));
}
