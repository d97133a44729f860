//! Headers that the client cannot read, though the server takes and keeps them: what is not UTF-8, lines without a colon, names that
//! are none, other versions. The client ends its connection where it meets one.

use std::str;

use async_nats::StatusCode;
use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use convoke_core::{Message, Topic};

use crate::wire;

/// Under this name a line is kept that is no header.
const LINE: &str = "nats-unreadable";

/// The first line of all headers.
const VERSION: &str = "NATS/1.0";

/// Whether the client reads these headers. It is as strict as the client, or stricter.
pub(crate) fn is_readable(block: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(block) else { return false };
    let mut lines = text.lines().peekable();
    if !lines.next().is_some_and(is_version) {
        return false;
    }
    while let Some(line) = lines.next() {
        if !line.is_empty() && name(line.as_bytes()).is_none() {
            return false;
        }
        while lines.next_if(|next| next.starts_with(char::is_whitespace)).is_some() {}
    }
    true
}

/// The message, with the bytes of all headers that have a name, and the lines that are none.
pub(crate) fn message(topic: &Topic, block: &[u8], payload: Bytes) -> Message {
    let headers = headers(block);
    let each = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    wire::message_of(topic, headers.len(), each, payload)
}

/// The text of a header, under this very name.
pub(crate) fn value(block: &[u8], name: &str) -> Option<String> {
    let (_, value) = headers(block).into_iter().find(|(other, _)| other == name)?;
    String::from_utf8(value).ok()
}

/// The headers as they came, for a message that is written again; without those of the server, which would tell it something once more.
/// `None` if the client cannot write them.
pub(crate) fn as_they_came(block: &[u8]) -> Option<HeaderMap> {
    if !is_readable(block) {
        return None;
    }
    let mut map = HeaderMap::new();
    for (name, value) in headers(block).into_iter().filter(|(name, _)| !name.starts_with("Nats-")) {
        let value: HeaderValue = str::from_utf8(&value).ok()?.parse().ok()?;
        map.append(name.parse::<HeaderName>().ok()?, value);
    }
    Some(map)
}

fn headers(block: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
    let mut lines = block.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).peekable();
    if lines.peek().is_some_and(|first| str::from_utf8(first).is_ok_and(is_version)) {
        lines.next();
    }
    for line in lines.filter(|line| !line.is_empty()) {
        match (name(line), headers.last_mut()) {
            // It goes on in the next line.
            (_, Some((_, value))) if line[0].is_ascii_whitespace() => value.extend_from_slice(line.trim_ascii_end()),
            (Some(name), _) => headers.push((name.to_owned(), line[name.len() + 1..].trim_ascii().to_vec())),
            (None, _) => headers.push((LINE.to_owned(), line.to_vec())),
        }
    }
    headers
}

/// Whether headers begin like this: with the version, and perhaps a status.
fn is_version(line: &str) -> bool {
    let Some(rest) = line.strip_prefix(VERSION) else { return false };
    let status = rest.trim().split(' ').next().unwrap_or_default();
    status.is_empty() || status.parse::<StatusCode>().is_ok()
}

/// The name of the header in this line, if it has one.
fn name(line: &[u8]) -> Option<&str> {
    let end = line.iter().position(|byte| *byte == b':')?;
    str::from_utf8(&line[..end]).ok().filter(|name| name.parse::<HeaderName>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_cannot_read_is_known() {
        for block in
            ["NATS/1.0\r\n\r\n", "NATS/1.0\r\na: b\r\nA:\r\n  c\r\n\r\n", "NATS/1.0 503 None\r\na: ä\r\n\r\n", "NATS/1.0"]
        {
            assert!(is_readable(block.as_bytes()), "{block:?}");
        }
        let garbage: [&[u8]; 8] = [
            b"",
            b"garbage",
            b"NATS/2.0\r\na: b\r\n\r\n",
            b"NATS/1.0 xyz\r\n\r\n",
            b"NATS/1.0\r\na: \xff\r\n\r\n",
            b"NATS/1.0\r\nno colon\r\n\r\n",
            b"NATS/1.0\r\na b: c\r\n\r\n",
            b"NATS/1.0\r\n a: b\r\n\r\n",
        ];
        for block in garbage {
            assert!(!is_readable(block), "{:?}", block.escape_ascii().to_string());
        }
    }

    #[test]
    fn every_byte_of_a_header_is_kept_and_so_is_a_line_that_is_none() {
        let block =
            b"NATS/1.0\r\nce-id: 7\r\nx: \xff\xfe\r\nno colon\r\nx:  2 \r\n\t3\r\nce-partitionkey: ada\r\nNats-Msg-Id: 7\r\n\r\n";
        let message = message(&"t".into(), block, Bytes::from_static(b"p"));
        let headers: Vec<_> = message.headers().iter().map(|(name, value)| (name, &value[..])).collect();
        let expected: [(&str, &[u8]); 4] = [("ce-id", b"7"), ("x", b"\xff\xfe"), (LINE, b"no colon"), ("x", b"2\t3")];
        assert_eq!(headers, expected, "what is the server's is not told");
        assert_eq!((message.id(), message.key().map(convoke_core::Key::as_bytes)), (Some("7"), Some(&b"ada"[..])));
        assert_eq!(super::headers(b"NATS/2.0\r\na: b")[0], (LINE.to_owned(), b"NATS/2.0".to_vec()));
    }
}
