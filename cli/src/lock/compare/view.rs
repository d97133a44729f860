//! A JSON schema, as far as its shape matters to readers and writers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Words that say nothing of what is written or read.
const PROSE: [&str; 10] =
    ["title", "description", "$schema", "$defs", "$comment", "default", "examples", "deprecated", "readOnly", "writeOnly"];

/// A schema: what it is, whether it may be null, and the words in it that are not understood here.
pub(super) struct View<'a> {
    pub(super) null: bool,
    pub(super) shape: Shape<'a>,
    pub(super) other: BTreeMap<&'a str, &'a Value>,
}

pub(super) enum Shape<'a> {
    Any,
    Object {
        fields: BTreeMap<&'a str, &'a Value>,
        required: BTreeSet<&'a str>,
        rest: Rest<'a>,
    },
    /// A list, and what its items are.
    List(Option<&'a Value>),
    Tuple(Vec<&'a Value>),
    /// One of several, by their names; with what each one has beside.
    Choice(BTreeMap<String, Option<&'a Value>>),
    /// One of several that have no names.
    OneOf(Vec<&'a Value>),
    Plain {
        name: &'a str,
        range: Option<(i128, i128)>,
        format: Option<&'a str>,
    },
    Unknown,
}

/// What an object may have beside its fields.
pub(super) enum Rest<'a> {
    Anything,
    Nothing,
    Each(&'a Value),
}

/// The schema that a reference means.
pub(super) fn resolve<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..16 {
        let alone = |object: &serde_json::Map<String, Value>| object.keys().all(|key| key == "$ref" || PROSE.contains(&&**key));
        let Some(object) = schema.as_object().filter(|object| alone(object)) else { break };
        let Some(pointer) = object.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#')) else { break };
        let Some(target) = root.pointer(pointer) else { break };
        schema = target;
    }
    schema
}

impl<'a> View<'a> {
    pub(super) fn of(root: &'a Value, schema: &'a Value) -> Self {
        let schema = resolve(root, schema);
        let Some(object) = schema.as_object() else {
            let shape = if *schema == Value::Bool(true) { Shape::Any } else { Shape::Unknown };
            return Self { null: false, shape, other: BTreeMap::new() };
        };
        let mut other: BTreeMap<&str, &Value> = object.iter().map(|(key, value)| (key.as_str(), value)).collect();
        other.retain(|key, _| !PROSE.contains(key));
        if other.is_empty() {
            return Self { null: false, shape: Shape::Any, other };
        }
        let mut null = false;
        if !other.contains_key("properties") {
            let members = other.remove("oneOf").or_else(|| other.remove("anyOf")).and_then(Value::as_array);
            if let Some(members) = members {
                return Self::one_of(root, members, other);
            }
        }
        let mut names: Vec<&str> = match other.remove("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if names.len() > 1 && names.contains(&"null") {
            null = true;
            names.retain(|name| *name != "null");
        }
        let listed = other.remove("enum").and_then(Value::as_array);
        let constant = other.remove("const");
        let values: Option<Vec<&Value>> = listed.map(|values| values.iter().collect()).or_else(|| constant.map(|one| vec![one]));
        let shape = match (values, names.as_slice()) {
            (Some(values), _) => {
                null |= values.len() > 1 && values.iter().any(|value| value.is_null());
                let values = values.iter().filter(|value| !null || !value.is_null());
                Shape::Choice(
                    values.map(|value| (value.as_str().map_or_else(|| value.to_string(), str::to_owned), None)).collect(),
                )
            }
            (None, ["object"]) => object_shape(&mut other),
            (None, []) if other.contains_key("properties") => object_shape(&mut other),
            (None, ["array"]) => list_shape(&mut other),
            (None, [name]) => plain_shape(name, &mut other),
            _ => Shape::Unknown,
        };
        Self { null, shape, other }
    }

    fn one_of(root: &'a Value, members: &'a [Value], other: BTreeMap<&'a str, &'a Value>) -> Self {
        let is_null = |member: &&Value| resolve(root, member).get("type").is_some_and(|name| name == "null");
        let null = members.iter().any(|member| is_null(&member));
        let members: Vec<&Value> = members.iter().filter(|member| !is_null(member)).collect();
        let variant = |member| !null && named(root, resolve(root, member)).is_some();
        if let ([one], true) = (members.as_slice(), other.is_empty())
            && !variant(one)
        {
            let one = Self::of(root, one);
            return Self { null: null || one.null, ..one };
        }
        let mut choices = BTreeMap::new();
        for member in &members {
            let Some(named) = named(root, resolve(root, member)) else {
                return Self { null, shape: Shape::OneOf(members), other };
            };
            choices.extend(named);
        }
        Self { null, shape: Shape::Choice(choices), other }
    }
}

/// The names of a variant, in the ways that serde has: a string, an object of one field, or an object with a tag.
fn named<'a>(root: &'a Value, member: &'a Value) -> Option<Vec<(String, Option<&'a Value>)>> {
    let constant = |schema: &'a Value| resolve(root, schema).get("const").and_then(Value::as_str);
    if let Some(values) = member.get("enum").and_then(Value::as_array) {
        return values.iter().map(|value| Some((value.as_str()?.to_owned(), None))).collect();
    }
    if let Some(name) = constant(member) {
        return Some(vec![(name.to_owned(), None)]);
    }
    let fields = member.get("properties")?.as_object()?;
    let required = member.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let tag = fields.iter().find_map(|(field, schema)| {
        let value = constant(schema).filter(|_| required.iter().any(|name| name == field))?;
        Some((format!("{field} = {value}"), Some(member)))
    });
    if tag.is_some() {
        return tag.map(|tag| vec![tag]);
    }
    if member.get("additionalProperties") != Some(&Value::Bool(false)) {
        return None;
    }
    match (Vec::from_iter(fields).as_slice(), required) {
        ([(name, schema)], [only]) if only == name.as_str() => Some(vec![((*name).clone(), Some(*schema))]),
        _ => None,
    }
}

fn object_shape<'a>(other: &mut BTreeMap<&'a str, &'a Value>) -> Shape<'a> {
    let fields = other.remove("properties").and_then(Value::as_object).into_iter().flatten();
    let required = other.remove("required").and_then(Value::as_array).into_iter().flatten();
    let rest = match other.remove("additionalProperties") {
        Some(Value::Bool(false)) => Rest::Nothing,
        None | Some(Value::Bool(true)) => Rest::Anything,
        Some(each) => Rest::Each(each),
    };
    Shape::Object {
        fields: fields.map(|(name, schema)| (name.as_str(), schema)).collect(),
        required: required.filter_map(Value::as_str).collect(),
        rest,
    }
}

fn list_shape<'a>(other: &mut BTreeMap<&'a str, &'a Value>) -> Shape<'a> {
    let Some(items) = other.remove("prefixItems").and_then(Value::as_array) else {
        return Shape::List(other.remove("items"));
    };
    // What follows from the number of items.
    for word in ["minItems", "maxItems"] {
        if other.get(word).and_then(|count| count.as_u64()) == Some(items.len() as u64) {
            other.remove(word);
        }
    }
    if other.get("items") == Some(&&Value::Bool(false)) {
        other.remove("items");
    }
    Shape::Tuple(items.iter().collect())
}

fn plain_shape<'a>(name: &'a str, other: &mut BTreeMap<&'a str, &'a Value>) -> Shape<'a> {
    let format = other.remove("format").and_then(Value::as_str);
    if name != "integer" {
        return Shape::Plain {
            name,
            range: None,
            format: format.filter(|format| name != "number" || !matches!(*format, "float" | "double")),
        };
    }
    let (mut least, mut most) = match format {
        Some("int8") => (i8::MIN.into(), i8::MAX.into()),
        Some("int16") => (i16::MIN.into(), i16::MAX.into()),
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        Some("int64" | "int") => (i64::MIN.into(), i64::MAX.into()),
        Some("uint8") => (0, u8::MAX.into()),
        Some("uint16") => (0, u16::MAX.into()),
        Some("uint32") => (0, u32::MAX.into()),
        Some("uint64" | "uint") => (0, u64::MAX.into()),
        _ => (i128::MIN, i128::MAX),
    };
    let number =
        |value: Option<&Value>| value.and_then(|value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from)));
    least = number(other.remove("minimum")).map_or(least, |minimum| minimum.max(least));
    most = number(other.remove("maximum")).map_or(most, |maximum| maximum.min(most));
    Shape::Plain { name, range: Some((least, most)), format: None }
}
