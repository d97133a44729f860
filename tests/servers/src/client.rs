//! A client that others wrote: `foreign/client.py`, which runs as long as the server does.

use std::process::Command;

use convoke_conformance::{Foreign, Stop};
use serde_json::{Value, json};

use crate::Kind;
use crate::held::Held;
use crate::server::folder;

/// A client that knows nothing of convoke. Names of headers are as this broker's clients spell them.
#[derive(Debug)]
pub struct Client(Held);

impl Client {
    /// Starts a client of the server at this URL. That of a [`Server`](crate::Server) is [`Server::client`](crate::Server::client).
    ///
    /// # Errors
    /// It is not installed.
    ///
    /// # Cancel safety
    /// It ends again.
    pub async fn start(kind: Kind, url: &str) -> Result<Self, Stop> {
        let python = folder().join("../../target/servers/python/bin/python");
        if !python.exists() {
            return Err(Stop::failed("the foreign clients are not installed: run `tests/servers.sh install`"));
        }
        let client =
            Self(Held::start(Command::new(python).arg("-u").arg(folder().join("foreign/client.py")).args([kind.name(), url]))?);
        client.0.say(None).await?;
        Ok(client)
    }

    /// Publishes a message, and returns when the server has it.
    ///
    /// # Errors
    /// The server has it not, or it cannot be written this way.
    ///
    /// # Cancel safety
    /// It is published all the same.
    pub async fn produce(&self, topic: &str, message: &Foreign) -> Result<(), Stop> {
        let headers: Vec<_> = message.headers.iter().map(|(name, value)| (name, text(value))).collect();
        let (key, payload) = (message.key.as_deref().map(text), message.payload.as_deref().map(text));
        self.ask(&json!({ "do": "produce", "topic": topic, "key": key, "headers": headers, "payload": payload })).await?;
        Ok(())
    }

    /// Reads all that a topic holds, the oldest first.
    ///
    /// # Errors
    /// It cannot be read.
    ///
    /// # Cancel safety
    /// Nothing is changed by it.
    pub async fn read(&self, topic: &str) -> Result<Vec<Foreign>, Stop> {
        let read = self.ask(&json!({ "do": "read", "topic": topic })).await?;
        let messages = read.as_array().and_then(|messages| messages.iter().map(foreign).collect());
        messages.ok_or_else(|| Stop::failed(format!("the foreign client answers {read}")))
    }

    /// Asks something else of `foreign/client.py`: what a test of one broker needs and no other.
    ///
    /// # Errors
    /// It cannot be done.
    ///
    /// # Cancel safety
    /// It is done all the same.
    pub async fn ask(&self, request: &Value) -> Result<Value, Stop> {
        let said = self.0.say(Some(request.to_string())).await?;
        let mut said: Value = serde_json::from_str(&said).map_err(|error| Stop::failed(format!("{error}: {said}")))?;
        match (said["lacking"].as_str(), said["error"].as_str()) {
            (Some(why), _) => Err(Stop::lacking(why)),
            (_, Some(why)) => Err(Stop::failed(format!("the foreign client: {why}"))),
            _ => Ok(said["ok"].take()),
        }
    }
}

/// Bytes as the characters of these numbers, since JSON has no bytes.
fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn bytes(text: &Value) -> Option<Vec<u8>> {
    text.as_str()?.chars().map(|character| u8::try_from(character).ok()).collect()
}

fn foreign(message: &Value) -> Option<Foreign> {
    let header = |header: &Value| Some((header[0].as_str()?.to_owned(), bytes(&header[1])?));
    let headers = message["headers"].as_array()?.iter().map(header).collect::<Option<_>>()?;
    Some(Foreign { key: bytes(&message["key"]), headers, payload: bytes(&message["payload"]) })
}
