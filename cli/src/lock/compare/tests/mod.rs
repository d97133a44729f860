//! One row for each rule: a change of a contract, and what is found.

mod derived;
mod payloads;

use serde_json::{Value, json};

use super::compare;
use crate::lock::contract::Contract;
use crate::lock::finding::Severity;

fn shop() -> Value {
    json!({
        "application": "shop", "convoke_lock": 1,
        "events": {
            "orders.paid.v2": {
                "name": "orders.paid", "version": 2, "topic": "orders.paid", "key": "customer", "codec": "json",
                "content_type": "application/json", "accepts": ["orders.paid.v1"], "at": "src/main.rs:9",
            },
            "stock.reserved.v1": {
                "name": "stock.reserved", "version": 1, "topic": "stock.reserved", "codec": "json", "content_type": "application/json",
            },
        },
        "handlers": {
            "reserve": {
                "group": "warehouse", "event": "orders.paid.v2", "topics": ["orders.paid"], "order": "key", "on_retry": "hold",
                "dead_letters": ["orders.paid.warehouse.dead"], "retry": { "attempts": 5 }, "start": "earliest", "lane": "order",
                "returns": ["stock.reserved.v1"], "at": "src/main.rs:20",
            },
            "audit": {
                "group": "shop.audit", "topics": ["orders.paid", "stock.reserved"], "order": "none", "on_retry": "hold",
                "dead_letters": ["audit.dead"], "retry": { "attempts": 5 }, "start": "earliest",
            },
        },
    })
}

fn contract(value: &Value) -> Contract {
    Contract::of_lock(&value.to_string()).unwrap()
}

/// What is found when `edit` is made in the shop: severity, rule and subject.
fn found(edit: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut new = shop();
    edit(&mut new);
    let findings = compare(&contract(&shop()), &contract(&new));
    findings.iter().map(|one| format!("{} {} {}", one.severity.word(), one.rule, one.subject)).collect()
}

/// Puts `value` in place of what is at this pointer.
fn set(at: &'static str, value: Value) -> impl FnOnce(&mut Value) {
    move |contract| {
        let (parent, key) = at.rsplit_once('/').unwrap();
        let parent = contract.pointer_mut(parent).unwrap_or_else(|| panic!("{parent}"));
        parent.as_object_mut().unwrap().insert(key.to_owned(), value);
    }
}

fn event(contract: &mut Value) -> &mut Value {
    &mut contract["events"]["orders.paid.v2"]
}

/// Takes an entry out of a section and puts it back under another name, edited.
fn moved(contract: &mut Value, section: &str, from: &str, to: &str, edit: impl FnOnce(&mut Value)) {
    let entries = contract[section].as_object_mut().unwrap();
    let mut entry = entries.remove(from).unwrap();
    edit(&mut entry);
    entries.insert(to.to_owned(), entry);
}

#[test]
fn what_has_not_changed_or_is_new_is_fine() {
    assert_eq!(found(|_| {}), [""; 0]);
    let added = found(|shop| {
        let (event, handler) = (event(shop).clone(), shop["handlers"]["audit"].clone());
        shop["events"]["orders.sent.v1"] = event;
        shop["events"]["orders.sent.v1"]["name"] = json!("orders.sent");
        shop["handlers"]["send"] = handler;
    });
    assert_eq!(added, ["fine event-added event orders.sent.v1", "fine handler-added handler send"]);
}

#[test]
fn events_by_one_field() {
    let rows = [
        ("topic", json!("paid"), "breaking topic-changed"),
        ("broker", json!("audit"), "breaking broker-changed"),
        ("key", json!("order"), "breaking key-changed"),
        ("key", Value::Null, "breaking key-changed"),
        ("codec", json!("cbor"), "careful codec-changed"),
        ("codec", json!("protobuf"), "breaking codec-changed"),
        ("content_type", json!("application/json; charset=utf-8"), "careful codec-changed"),
        ("bare", json!(true), "careful bare-changed"),
        ("accepts", json!([]), "breaking accepts-dropped"),
        ("accepts", json!(["orders.paid.v1", "orders.settled.v1"]), "fine accepts-added"),
        ("schema", json!({ "type": "object" }), "fine schema-added"),
    ];
    for (field, value, expected) in rows {
        let found = found(|shop| event(shop)[field] = value.clone());
        assert_eq!(found, [format!("{expected} event orders.paid.v2")], "{field} = {value}");
    }
    let keyed = found(set("/events/stock.reserved.v1/key", json!("order")));
    assert_eq!(keyed, ["careful key-added event stock.reserved.v1"]);
}

#[test]
fn versions_and_names_of_events() {
    let another = |wire: &'static str, name: &'static str, version: u32, accepts: Value| {
        move |shop: &mut Value| {
            moved(shop, "events", "orders.paid.v2", wire, |event| {
                (event["name"], event["version"], event["accepts"]) = (json!(name), json!(version), accepts);
            });
            shop["handlers"]["reserve"]["event"] = json!(wire);
        }
    };
    let event = |rest: &str| vec![format!("{rest} event orders.paid.v2")];
    let with_new = |rest: &str, new: &str| vec![format!("{rest} event orders.paid.v2"), format!("fine event-added event {new}")];
    let accepted = json!(["orders.paid.v1", "orders.paid.v2"]);
    let found = [
        found(another("orders.paid.v3", "orders.paid", 3, accepted.clone())),
        found(another("orders.paid.v3", "orders.paid", 3, json!([]))),
        found(another("orders.paid.v1", "orders.paid", 1, json!([]))),
        found(another("orders.settled.v1", "orders.settled", 1, accepted)),
        found(another("orders.settled.v1", "orders.settled", 1, json!([]))),
    ];
    let expected = [
        with_new("careful version-raised", "orders.paid.v3"),
        with_new("breaking version-not-accepted", "orders.paid.v3"),
        with_new("breaking version-lowered", "orders.paid.v1"),
        with_new("careful event-renamed", "orders.settled.v1"),
        with_new("breaking event-renamed", "orders.settled.v1"),
    ];
    assert_eq!(found, expected);
    let removed = self::found(|shop| {
        shop["events"].as_object_mut().unwrap().remove("orders.paid.v2");
    });
    assert_eq!(removed, event("breaking event-removed"));
}

#[test]
fn a_version_that_is_raised_and_moved_is_told_both() {
    let found = found(|shop| {
        moved(shop, "events", "orders.paid.v2", "orders.paid.v3", |event| {
            (event["version"], event["topic"], event["accepts"]) = (json!(3), json!("paid"), json!(["orders.paid.v2"]));
        });
    });
    let expected = [
        "breaking topic-changed event orders.paid.v2",
        "careful version-raised event orders.paid.v2",
        "fine event-added event orders.paid.v3",
    ];
    assert_eq!(found, expected);
}

#[test]
fn handlers_by_one_field() {
    let rows = [
        ("group", json!("stock"), "breaking group-changed"),
        ("topics", json!(["orders.paid", "orders.sent"]), "fine topic-added"),
        ("topics", json!(["orders.*"]), "fine topic-added"),
        ("order", json!("none"), "breaking order-given-up"),
        ("lane", Value::Null, "breaking lane-changed"),
        ("lane", json!("customer"), "careful lane-changed"),
        ("on_retry", json!("pass"), "careful retries-pass"),
        ("dead_letters", json!(["orders.dead"]), "careful dead-letters-moved"),
        ("retry", json!({ "attempts": 9 }), "fine retry-changed"),
        ("batch", json!({ "size": 9 }), "fine batch-changed"),
        ("start", json!("new"), "fine start-changed"),
        ("returns", json!([]), "careful output-removed"),
        ("returns", json!(["stock.reserved.v1", "orders.paid.v2"]), "fine output-added"),
        ("match", json!("kind = express"), "breaking match-changed"),
        ("broker", json!("audit"), "breaking broker-changed"),
        ("broadcast", json!(true), "breaking broadcast-changed"),
        ("event", json!("stock.reserved.v1"), "breaking event-left"),
        ("event", Value::Null, ""),
    ];
    for (field, value, expected) in rows {
        let found = found(|shop| shop["handlers"]["reserve"][field] = value.clone());
        let expected: Vec<_> = (!expected.is_empty()).then(|| format!("{expected} handler reserve")).into_iter().collect();
        assert_eq!(found, expected, "{field} = {value}");
    }
    let left = found(set("/handlers/audit/topics", json!(["orders.paid"])));
    assert_eq!(left, ["breaking topic-left handler audit"]);
    let kept = found(set("/handlers/audit/order", json!("key")));
    assert_eq!(kept, ["fine order-kept handler audit"]);
}

#[test]
fn a_handler_of_another_name_keeps_the_group_only_if_that_is_named() {
    let same_group = found(|shop| moved(shop, "handlers", "reserve", "set_aside", |_| {}));
    assert_eq!(same_group, ["fine handler-renamed handler reserve", "fine handler-added handler set_aside"]);
    let default_group = found(|shop| moved(shop, "handlers", "audit", "log", |handler| handler["group"] = json!("shop.log")));
    assert_eq!(default_group, ["breaking group-changed handler audit", "fine handler-added handler log"]);
    let removed = found(|shop| {
        shop["handlers"].as_object_mut().unwrap().remove("reserve");
    });
    assert_eq!(removed, ["breaking handler-removed handler reserve"]);
}

#[test]
fn an_application_of_another_name_is_another_source() {
    assert_eq!(found(set("/application", json!("store"))), ["careful application-renamed application shop"]);
}

#[test]
fn a_finding_says_for_whom_where_and_what_to_do() {
    let mut new = shop();
    event(&mut new)["topic"] = json!("paid");
    let findings = compare(&contract(&shop()), &contract(&new));
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!((finding.severity, finding.source.as_deref()), (Severity::Breaking, Some("src/main.rs:9")));
    assert_eq!(finding.path, ["events", "orders.paid.v2", "topic"]);
    assert!(finding.whom.contains("`reserve` (group `warehouse`) here"), "{}", finding.whom);
    assert!(finding.mend.contains("keep `topic = \"orders.paid\"`"), "{}", finding.mend);
}
