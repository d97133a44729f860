//! Payloads: schemas before and after.

use serde_json::{Map, Value, json};

use crate::lock::compare::schema::{Hits, compare};
use crate::lock::finding::Severity;

fn found(old: &Value, new: &Value) -> Vec<String> {
    compare(old, new).iter().map(|change| format!("{} {}", change.severity.word(), change.rule)).collect()
}

fn object(fields: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": fields, "required": required })
}

fn field(schema: &Value) -> Value {
    object(&json!({ "a": schema }), &["a"])
}

#[test]
fn fields_that_come_and_go() {
    let text = json!({ "type": "string" });
    let maybe = json!({ "type": ["string", "null"] });
    let a = || object(&json!({ "a": text }), &["a"]);
    let rows = [
        ("optional added", a(), object(&json!({ "a": text, "b": maybe }), &["a"]), vec!["fine field-added"]),
        ("required added", a(), object(&json!({ "a": text, "b": text }), &["a", "b"]), vec!["breaking field-added"]),
        ("required removed", a(), object(&json!({}), &[]), vec!["breaking field-removed"]),
        ("optional removed", object(&json!({ "a": text }), &[]), object(&json!({}), &[]), vec!["fine field-removed"]),
        ("renamed", a(), object(&json!({ "b": text }), &["b"]), vec!["breaking field-removed", "breaking field-added"]),
        ("made optional", a(), object(&json!({ "a": maybe }), &[]), vec!["careful field-optional"]),
        ("made required", object(&json!({ "a": maybe }), &[]), a(), vec!["breaking field-required"]),
        ("given a default", a(), object(&json!({ "a": text }), &[]), vec!["careful field-optional"]),
        ("null allowed", a(), field(&maybe), vec!["careful null-allowed"]),
        ("null refused", field(&maybe), a(), vec!["breaking null-refused"]),
    ];
    for (what, old, new, expected) in rows {
        assert_eq!(found(&old, &new), expected, "{what}");
    }
}

#[test]
fn what_refuses_unknown_fields_cannot_grow_nor_shrink() {
    let closed = |fields: Value| json!({ "type": "object", "properties": fields, "additionalProperties": false });
    let (one, two) = (json!({ "a": { "type": "string" } }), json!({ "a": { "type": "string" }, "b": { "type": "string" } }));
    assert_eq!(found(&closed(one.clone()), &closed(two.clone())), ["fine field-added", "breaking field-unknown"]);
    assert_eq!(found(&closed(two), &closed(one.clone())), ["breaking field-refused"]);
    assert_eq!(found(&object(&one, &[]), &closed(one)), ["careful closed"]);
}

#[test]
fn types_that_change() {
    let integer = |format: &str| json!({ "type": "integer", "format": format });
    let unsigned = |format: &str| json!({ "type": "integer", "format": format, "minimum": 0 });
    let names = |names: &[&str]| json!({ "type": "string", "enum": names });
    let tuple =
        |items: &[Value]| json!({ "type": "array", "prefixItems": items, "minItems": items.len(), "maxItems": items.len() });
    let text = json!({ "type": "string" });
    let rows = [
        (text.clone(), integer("int32"), vec!["breaking type-changed"]),
        (integer("int32"), integer("int64"), vec!["careful type-widened"]),
        (integer("int64"), integer("int32"), vec!["breaking type-narrowed"]),
        (unsigned("uint32"), integer("int32"), vec!["breaking type-narrowed", "careful type-widened"]),
        (json!({ "type": "number", "format": "float" }), json!({ "type": "number", "format": "double" }), vec![]),
        (integer("int64"), json!({ "type": "number", "format": "double" }), vec!["careful type-widened"]),
        (json!({ "type": "number" }), integer("int64"), vec!["breaking type-narrowed"]),
        (names(&["a", "b"]), names(&["a", "b", "c"]), vec!["careful variant-added"]),
        (names(&["a", "b"]), names(&["a"]), vec!["breaking variant-removed"]),
        (names(&["a"]), text.clone(), vec!["careful type-widened"]),
        (text.clone(), names(&["a"]), vec!["breaking type-narrowed"]),
        (json!(true), text.clone(), vec!["breaking type-narrowed"]),
        (text.clone(), json!({}), vec!["careful type-widened"]),
        (
            json!({ "type": "array", "items": text }),
            json!({ "type": "array", "items": integer("int32") }),
            vec!["breaking type-changed"],
        ),
        (json!({ "type": "array", "items": text }), text.clone(), vec!["breaking type-changed"]),
        (tuple(&[text.clone(), text.clone()]), tuple(std::slice::from_ref(&text)), vec!["breaking type-changed"]),
        (text.clone(), json!({ "type": "string", "format": "date-time" }), vec!["careful not-judged"]),
        (text.clone(), json!({ "type": "string", "pattern": "^a" }), vec!["careful not-judged"]),
        (json!({ "not": text }), json!({ "not": {} }), vec!["careful not-judged"]),
    ];
    for (old, new, expected) in rows {
        assert_eq!(found(&field(&old), &field(&new)), expected, "{old} to {new}");
    }
    let map = |each: Value| json!({ "type": "object", "additionalProperties": each });
    assert_eq!(found(&map(integer("int32")), &map(text)), ["breaking type-changed"]);
}

#[test]
fn variants_in_all_the_ways_that_serde_writes_them() {
    let inner = |required: &[&str]| object(&json!({ "x": { "type": "string" } }), required);
    let outside = |name: &str, inner: Value| json!({ "type": "object", "properties": { name: inner }, "required": [name], "additionalProperties": false });
    let tagged = |name: &str, required: &[&str]| {
        object(
            &json!({ "kind": { "type": "string", "const": name }, "x": { "type": "string" } }),
            &[&["kind"], required].concat(),
        )
    };
    let one_of = |members: &[Value]| json!({ "oneOf": members });
    let plain = json!({ "type": "string", "const": "A" });
    let rows = [
        // A comment on a variant makes schemars write it in another way.
        (json!({ "type": "string", "enum": ["A"] }), one_of(std::slice::from_ref(&plain)), vec![]),
        (one_of(std::slice::from_ref(&plain)), one_of(&[plain.clone(), outside("B", inner(&[]))]), vec!["careful variant-added"]),
        (one_of(&[outside("B", inner(&[])), plain.clone()]), one_of(&[plain]), vec!["breaking variant-removed"]),
        (one_of(&[outside("B", inner(&[]))]), one_of(&[outside("B", inner(&["x"]))]), vec!["breaking field-required"]),
        (
            one_of(&[tagged("A", &[])]),
            one_of(&[tagged("A", &["x"]), tagged("B", &[])]),
            vec!["careful variant-added", "breaking field-required"],
        ),
        (json!({ "anyOf": [inner(&[]), { "type": "string" }] }), json!({ "anyOf": [inner(&[]), { "type": "string" }] }), vec![]),
        (
            json!({ "anyOf": [inner(&[]), { "type": "string" }] }),
            json!({ "anyOf": [inner(&["x"]), { "type": "string" }] }),
            vec!["careful not-judged"],
        ),
    ];
    for (old, new, expected) in rows {
        assert_eq!(found(&field(&old), &field(&new)), expected, "{old} to {new}");
    }
}

#[test]
fn references_are_followed_and_a_type_may_contain_itself() {
    let tree = |name: &str, leaf: Value| {
        let own = json!({ "$ref": format!("#/$defs/{name}") });
        let mut tree = field(&json!({ "anyOf": [own, { "type": "null" }] }));
        tree["$defs"] =
            json!({ name: object(&json!({ "leaf": leaf, "more": { "type": "array", "items": own } }), &["leaf", "more"]) });
        tree
    };
    let text = json!({ "type": "string" });
    assert_eq!(found(&tree("Tree", text.clone()), &tree("Bush", text.clone())), [""; 0], "a type's name is not written");
    let changes = compare(&tree("Tree", text), &tree("Tree", json!({ "type": "boolean" })));
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((change.severity, change.hits), (Severity::Breaking, Hits::Both));
    assert_eq!(change.what, "`a.leaf` was string, and is boolean");
}

/// Small numbers that look random.
fn next(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

fn any_schema(seed: &mut u64, depth: u64) -> Value {
    match next(seed, if depth == 0 { 4 } else { 7 }) {
        0 => json!({ "type": "string" }),
        1 => json!({ "type": "integer", "format": "int32" }),
        2 => json!({ "type": ["boolean", "null"] }),
        3 => json!({ "type": "string", "enum": ["a", "b", "c"] }),
        4 => json!({ "type": "array", "items": any_schema(seed, depth - 1) }),
        _ => any_object(seed, depth - 1),
    }
}

fn any_object(seed: &mut u64, depth: u64) -> Value {
    let names = ["a", "b", "c", "d"];
    let fields: Map<String, Value> =
        names[..next(seed, 5) as usize].iter().map(|name| ((*name).to_owned(), any_schema(seed, depth))).collect();
    let required: Vec<&str> = names.into_iter().filter(|name| fields.contains_key(*name) && next(seed, 2) == 0).collect();
    object(&Value::Object(fields.clone()), &required)
}

#[test]
fn whatever_the_payload_is_some_changes_never_break_it_and_others_always_do() {
    let seed = &mut 7;
    for _ in 0..500 {
        let (old, extra) = (any_object(seed, 3), any_schema(seed, 2));
        assert_eq!(found(&old, &old), [""; 0], "{old}");
        let mut optional = old.clone();
        optional["properties"]["new"] = extra;
        assert_eq!(found(&old, &optional), ["fine field-added"], "{old} to {optional}");
        assert_eq!(found(&optional, &old), ["fine field-removed"], "{optional} to {old}");
        let mut needed = optional.clone();
        needed["required"].as_array_mut().unwrap().push(json!("new"));
        assert_eq!(found(&old, &needed), ["breaking field-added"], "{old} to {needed}");
        assert_eq!(found(&needed, &old), ["breaking field-removed"], "{needed} to {old}");
        // What narrows in one direction widens in the other.
        let other = any_object(seed, 3);
        assert_eq!(compare(&old, &other).is_empty(), compare(&other, &old).is_empty(), "{old} and {other}");
    }
}
