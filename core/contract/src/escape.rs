//! Header values on brokers whose headers are text.

use std::borrow::Cow;

use bytes::Bytes;

use crate::headers::{HeaderName, Headers};
use crate::names;

/// What headers look like on a broker whose values are printable text ([`HeaderValues::Text`](crate::broker::HeaderValues::Text)).
///
/// CloudEvents attributes (`ce-…`) are percent-encoded where they have to be, as the bindings of CloudEvents say, and whoever knows
/// those reads them. Any other value that is not printable ASCII is percent-encoded too, with all of its name, and the name is
/// listed in the header [`ENCODED`](names::ENCODED). [`unescape`] takes it all back.
#[must_use]
pub fn escape(headers: &Headers) -> Cow<'_, Headers> {
    let attribute = |name: &str| name.starts_with("ce-");
    let plain = |(name, value): (&str, &Bytes)| if attribute(name) { encode(value).is_none() } else { is_text(value) };
    if headers.iter().all(plain) {
        return Cow::Borrowed(headers);
    }
    let mut marked: Vec<&str> = Vec::new();
    for (name, value) in headers.iter() {
        if !attribute(name) && !is_text(value) && !marked.contains(&name) {
            marked.push(name);
        }
    }
    let mut escaped = Headers::with_capacity(headers.iter().count() + 1);
    for (name, value) in headers.iter() {
        let encoded = if attribute(name) || marked.contains(&name) { encode(value).map(Bytes::from) } else { None };
        escaped.append(name.to_owned(), encoded.unwrap_or_else(|| value.clone()));
    }
    if !marked.is_empty() {
        escaped.append(names::ENCODED, marked.join(","));
    }
    Cow::Owned(escaped)
}

/// Takes back what [`escape`] has done, and what other clients did to CloudEvents attributes. What is not well encoded stays as it is.
#[must_use]
pub fn unescape(headers: Headers) -> Headers {
    if !headers.iter().any(|(name, value)| name == names::ENCODED || (name.starts_with("ce-") && value.contains(&b'%'))) {
        return headers;
    }
    let marked = headers.get_str(names::ENCODED).unwrap_or_default().to_owned();
    let mut plain = Headers::with_capacity(headers.iter().count());
    for (name, value) in headers.iter().filter(|(name, _)| *name != names::ENCODED) {
        let encoded = name.starts_with("ce-") || marked.split(',').any(|other| other == name);
        let value = if encoded { decode(value).map_or_else(|| value.clone(), Bytes::from) } else { value.clone() };
        plain.append(HeaderName::from(name.to_owned()), value);
    }
    plain
}

fn is_text(value: &[u8]) -> bool {
    let edge = |byte: Option<&u8>| byte.is_none_or(|byte| *byte != b' ');
    value.iter().all(|byte| (0x20..=0x7e).contains(byte)) && edge(value.first()) && edge(value.last())
}

/// The value with everything encoded that CloudEvents wants to be; `None` if there is nothing.
fn encode(value: &[u8]) -> Option<String> {
    let plain = |byte: &u8| (0x21..=0x7e).contains(byte) && !matches!(byte, b'"' | b'%');
    if value.iter().all(plain) {
        return None;
    }
    let mut text = String::with_capacity(value.len() * 3);
    for byte in value {
        if plain(byte) {
            text.push(char::from(*byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            text.extend(['%', char::from(HEX[usize::from(byte >> 4)]), char::from(HEX[usize::from(byte & 15)])]);
        }
    }
    Some(text)
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut value = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        value.push(match byte {
            b'%' => u8::try_from(digit(bytes.next())? << 4 | digit(bytes.next())?).ok()?,
            other => *other,
        });
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_and_travels_as_text() {
        let every_byte: Vec<u8> = (0..=255).collect();
        let mut headers = Headers::new();
        headers.append(names::ID, "id with spaces & 100% ☃");
        for value in [&b"plain"[..], b"", b" edge", b"100%", &every_byte, b"in the midst"] {
            headers.append("x-repeated", value.to_vec());
        }
        headers.append("x-percent", "100%25 as it is");
        let escaped = escape(&headers).into_owned();
        assert!(escaped.iter().all(|(_, value)| is_text(value)), "{escaped:?}");
        assert_eq!(escaped.get_str(names::ID), Some("id%20with%20spaces%20&%20100%25%20%E2%98%83"));
        assert_eq!(escaped.get_str("x-percent"), Some("100%25 as it is"));
        assert_eq!(escaped.get_str(names::ENCODED), Some("x-repeated"));
        assert_eq!(unescape(escaped), headers);
    }

    #[test]
    fn what_is_text_stays_as_it_is() {
        let mut headers = Headers::new();
        headers.append(names::TYPE, "orders.paid.v1");
        headers.append("x", "two words");
        assert!(matches!(escape(&headers), Cow::Borrowed(_)));
        assert_eq!(unescape(headers.clone()), headers);
        headers.append(names::SOURCE, "50%");
        assert_eq!(unescape(headers.clone()), headers, "not well encoded: left alone");
    }
}
