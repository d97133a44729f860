//! The envelope of the CloudEvents JSON format.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::base64;
use crate::codec::json;
use crate::headers::Headers;
use crate::key::Key;
use crate::message::{Message, MessageBuilder};
use crate::names;

/// The message in the envelope that `message` is.
pub(super) fn open(message: &Message) -> Result<Message, String> {
    let Envelope(members) = serde_json::from_slice(message.payload()).map_err(|error| error.to_string())?;
    let mut opened = message.clone().into_builder();
    let mut data = Data::default();
    let headers = opened.headers_mut();
    headers.retain(|name| name != names::CONTENT_TYPE);
    for (index, (name, value)) in members.iter().enumerate() {
        if members[..index].iter().any(|(other, _)| other == name) {
            return Err(format!("`{name}` stands twice"));
        }
        match name.as_str() {
            // Unlike everywhere else, `null` is a value here.
            "data" => data.json = Some(value),
            "data_base64" => data.base64 = text(name, value)?,
            "datacontenttype" => data.content_type = text(name, value)?,
            _ => {
                if let Some(text) = text(name, value)? {
                    headers.set(format!("ce-{name}"), text);
                }
            }
        }
    }
    check(headers)?;
    let partition_key = headers.get(names::PARTITION_KEY).cloned().map(Key::new);
    let key = message.key().cloned().or(partition_key);
    Ok(data.put_into(opened, message.payload())?.maybe_key(key).build())
}

/// The envelope of `message`, an event in binary mode.
pub(super) fn seal(message: &Message) -> Result<Message, String> {
    let headers = message.headers();
    check(headers)?;
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut members = Vec::new();
    for (name, value) in headers.iter() {
        let Some(attribute) = name.strip_prefix("ce-") else { continue };
        let value = std::str::from_utf8(value).map_err(|_| format!("`{attribute}` is no text"))?;
        members.push(format!("{}:{}", quoted(attribute), quoted(value)));
    }
    let content_type = headers.get_str(names::CONTENT_TYPE);
    members.extend(content_type.map(|content_type| format!("\"datacontenttype\":{}", quoted(content_type))));
    let payload = message.payload();
    let is_json = content_type.is_none_or(json::is_json) && serde_json::from_slice::<&RawValue>(payload).is_ok();
    if is_json {
        members.push(format!("\"data\":{}", String::from_utf8_lossy(payload)));
    } else if !payload.is_empty() {
        members.push(format!("\"data_base64\":\"{}\"", base64::encode(payload)));
    }
    let mut sealed = message.clone().into_builder();
    sealed.headers_mut().retain(|name| !name.starts_with("ce-"));
    let sealed = sealed.header(names::CONTENT_TYPE, "application/cloudevents+json");
    Ok(sealed.payload(format!("{{{}}}", members.join(","))).build())
}

/// Whether what makes an event is there.
fn check(headers: &Headers) -> Result<(), String> {
    for (name, header) in
        [("specversion", names::SPEC_VERSION), ("id", names::ID), ("source", names::SOURCE), ("type", names::TYPE)]
    {
        if headers.get(header).is_none_or(Bytes::is_empty) {
            return Err(format!("`{name}` is missing"));
        }
    }
    match headers.get_str(names::SPEC_VERSION) {
        Some(names::SPEC_VERSION_1_0) => Ok(()),
        other => Err(format!("`specversion` is `{}`, and only `1.0` is understood", other.unwrap_or_default())),
    }
}

/// An attribute as the text that it is as a header. `None`: it is unset.
fn text(name: &str, value: &RawValue) -> Result<Option<String>, String> {
    let value = value.get();
    match value.as_bytes().first() {
        Some(b'"') => serde_json::from_str(value).map(Some).map_err(|error| format!("`{name}`: {error}")),
        Some(b'n') => Ok(None),
        Some(b'{' | b'[') => Err(format!("`{name}` is neither text, nor a number, nor a boolean")),
        _ => Ok(Some(value.to_owned())),
    }
}

/// What the envelope says of the payload.
#[derive(Default)]
struct Data<'m> {
    json: Option<&'m RawValue>,
    base64: Option<String>,
    content_type: Option<String>,
}

impl Data<'_> {
    fn put_into(self, opened: MessageBuilder, envelope: &Bytes) -> Result<MessageBuilder, String> {
        let mut content_type = self.content_type;
        let payload = match (self.json, self.base64) {
            (Some(_), Some(_)) => return Err("`data` and `data_base64` exclude each other".to_owned()),
            (None, Some(base64)) => base64::decode(&base64).ok_or("`data_base64` is not Base64")?.into(),
            (None, None) => Bytes::new(),
            (Some(data), None) => {
                let declared = content_type.get_or_insert_with(|| "application/json".to_owned());
                if json::is_json(declared) {
                    // As it was written, to the digit; and not copied.
                    envelope.slice_ref(data.get().as_bytes())
                } else {
                    let text = serde_json::from_str::<String>(data.get());
                    text.map_err(|_| format!("`data` of the type `{declared}` is no text"))?.into()
                }
            }
        };
        let opened = opened.payload(payload);
        Ok(match content_type {
            Some(content_type) => opened.header(names::CONTENT_TYPE, content_type),
            None => opened,
        })
    }
}

/// The members of a JSON object, in order.
struct Envelope<'m>(Vec<(String, &'m RawValue)>);

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Envelope(members))
    }
}
