//! Descriptions: what an application is, for people, for tools, and for the file that holds its contract.

mod json;
mod text;

use convoke_core::{BatchOptions, Location, OnRetry, RetryOptions, StartAt};

use json::Json;

/// The environment variable that asks a program to describe itself, and to end: `json`.
pub const DESCRIBE_VARIABLE: &str = "CONVOKE_DESCRIBE";

/// The version of the form of descriptions and lock files.
const FORM: u32 = 1;

/// What an application is: see [`App::describe`](crate::App::describe).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Description {
    /// The application's name.
    pub application: String,
    /// Its events, sorted by name and version.
    pub events: Vec<EventDescription>,
    /// Its handlers, sorted by name.
    pub handlers: Vec<HandlerDescription>,
}

/// An event, as the program declares it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EventDescription {
    /// Its stable name.
    pub name: String,
    /// The version of its schema.
    pub version: u32,
    /// Where it is published.
    pub topic: String,
    /// The broker that its topic is on, where the application has several.
    pub broker: Option<String>,
    /// Its key, as the attribute has it.
    pub key: Option<String>,
    /// Whether it is written without headers.
    pub bare: bool,
    /// The codec's name.
    pub codec: String,
    /// The codec's content type.
    pub content_type: String,
    /// What it is read from beside its own name and version: `orders.paid.v1`.
    pub accepts: Vec<String>,
    /// The JSON schema of its payload as one line of JSON, with the feature `schema`, if the type derives `schemars::JsonSchema`.
    /// An event of the codecs `protobuf` or `raw` has none.
    pub schema: Option<String>,
    /// Where it was declared.
    pub location: Location,
}

/// A handler, as the program declares it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HandlerDescription {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// The event that it takes, by its type on the wire; `None` if it takes whole messages.
    pub event: Option<String>,
    /// The broker that it reads from, if it says so; else that of its event.
    pub broker: Option<String>,
    /// What it reads.
    pub topics: Vec<String>,
    /// Where messages go that it gives up.
    pub dead_letters: Vec<String>,
    /// Whether messages of one key are handled in order.
    pub ordered: bool,
    /// The lane that it shares.
    pub lane: Option<String>,
    /// The header that it takes messages by: `kind = express`.
    pub matches: Option<String>,
    /// How failed attempts are repeated.
    pub retry: RetryOptions,
    /// What later messages of a key do meanwhile.
    pub on_retry: OnRetry,
    /// How batches are collected, if it takes batches.
    pub batch: Option<BatchOptions>,
    /// Where its group begins when it is new.
    pub start: StartAt,
    /// Whether every instance gets every message.
    pub broadcast: bool,
    /// The events that it returns, by their types on the wire.
    pub returns: Vec<String>,
    /// Where it was declared.
    pub location: Location,
}

impl Description {
    /// The text of the lock file: JSON that is the same for the same contract, with a line for each thing. What is only of use to
    /// whoever runs it, such as concurrency, is not in it, nor are places in the source.
    #[must_use]
    pub fn lock(&self) -> String {
        let mut text = json::pretty(&self.json(false).to_string());
        text.push('\n');
        text
    }

    /// The same as one line, with the places in the source: what a program writes that is asked by `CONVOKE_DESCRIBE=json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.json(true).to_string()
    }

    fn json(&self, places: bool) -> Json {
        let events = self.events.iter().map(|event| (event.wire_type(), event.json(places)));
        let handlers = self.handlers.iter().map(|handler| (handler.name.clone(), handler.json(places)));
        Json::object([
            ("application", Json::text(&self.application)),
            ("convoke_lock", Json::Number(FORM)),
            ("events", Json::Object(events.collect())),
            ("handlers", Json::Object(handlers.collect())),
        ])
    }
}

fn place(location: Location, places: bool) -> Json {
    if places { Json::text(&location.to_string()) } else { Json::Nothing }
}

impl EventDescription {
    /// What stands in the CloudEvents attribute `type`: `orders.paid.v1`.
    #[must_use]
    pub fn wire_type(&self) -> String {
        format!("{}.v{}", self.name, self.version)
    }

    fn json(&self, places: bool) -> Json {
        Json::object([
            ("accepts", Json::texts(&self.accepts)),
            ("at", place(self.location, places)),
            ("bare", Json::flag(self.bare)),
            ("broker", Json::maybe(self.broker.as_deref())),
            ("codec", Json::text(&self.codec)),
            ("content_type", Json::text(&self.content_type)),
            ("key", Json::maybe(self.key.as_deref())),
            ("name", Json::text(&self.name)),
            ("schema", self.schema.clone().map_or(Json::Nothing, Json::Ready)),
            ("topic", Json::text(&self.topic)),
            ("version", Json::Number(self.version)),
        ])
    }
}

impl HandlerDescription {
    fn json(&self, places: bool) -> Json {
        let RetryOptions { attempts, min, max, jitter, .. } = self.retry;
        let retry = Json::object([
            ("attempts", Json::Number(attempts)),
            ("backoff", Json::text(&format!("{min:?}..{max:?}"))),
            ("jitter", Json::Number(jitter)),
        ]);
        let batch = self.batch.map(|BatchOptions { size, wait, .. }| {
            Json::object([("size", Json::Number(size)), ("wait", Json::text(&format!("{wait:?}")))])
        });
        Json::object([
            ("at", place(self.location, places)),
            ("batch", batch.unwrap_or(Json::Nothing)),
            ("broadcast", Json::flag(self.broadcast)),
            ("broker", Json::maybe(self.broker.as_deref())),
            ("dead_letters", Json::texts(&self.dead_letters)),
            ("event", Json::maybe(self.event.as_deref())),
            ("group", Json::text(&self.group)),
            ("lane", Json::maybe(self.lane.as_deref())),
            ("match", Json::maybe(self.matches.as_deref())),
            ("on_retry", Json::text(if self.on_retry == OnRetry::Pass { "pass" } else { "hold" })),
            ("order", Json::text(if self.ordered { "key" } else { "none" })),
            ("retry", retry),
            ("returns", Json::texts(&self.returns)),
            ("start", Json::text(if self.start == StartAt::New { "new" } else { "earliest" })),
            ("topics", Json::texts(&self.topics)),
        ])
    }
}
