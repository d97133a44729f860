//! `App::describe`: what an application is, without a broker.

use std::io::Write as _;

use convoke_core::few::sort_by;
use convoke_core::{Error, ErrorKind, EventDef, HandlerDef, Order, StartAt, names};

use super::plan::{self, Problems};
use super::{App, DEFAULT_URL};
use crate::describe::{DESCRIBE_VARIABLE, Description, EventDescription, HandlerDescription};

impl App {
    /// Describes the application: its events, handlers and groups, as the program names them, whatever the deployment calls them.
    ///
    /// No broker is opened. With [`Description::lock`], a test in the application's repository holds its contract fixed.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`], as [`App::build`], with everything that can be found out without a broker.
    ///
    /// # Examples
    /// ```
    /// use convoke_runtime::App;
    ///
    /// // Nothing is linked into this program, and that is an error.
    /// assert!(App::new("shop").describe().unwrap_err().to_string().contains("no handler is linked"));
    /// ```
    pub fn describe(mut self) -> Result<Description, Error> {
        let mut problems = Problems::new();
        // Where a broker is, only a deployment has to know: none is opened here.
        let handlers = self.registry.handlers.iter().filter_map(|handler| handler.options.broker);
        for name in handlers.chain(self.registry.events.iter().filter_map(|event| event.broker)) {
            self.named.get_or_insert_with(name.to_owned(), || DEFAULT_URL.into());
        }
        let handlers = self.planned(&mut problems).handlers;
        self.refuse(&problems)?;
        let mut description = Description { application: self.name.clone(), events: Vec::new(), handlers: Vec::new() };
        let signatures = handlers.iter().map(|handler| handler.signature());
        let of_handlers: Vec<_> = signatures.flat_map(|signature| [signature.inputs, signature.outputs].concat()).collect();
        for event in self.registry.events.iter().chain(&of_handlers) {
            let described = event_description(event);
            if !description.events.iter().any(|other| other.wire_type() == described.wire_type()) {
                description.events.push(described);
            }
        }
        description.handlers = handlers.iter().map(|handler| handler_description(&self.name, handler)).collect();
        sort_by(&mut description.events, |a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        sort_by(&mut description.handlers, |a, b| a.name.cmp(&b.name));
        Ok(description)
    }

    /// Describes the application on standard output and ends the process, if the environment asks for it. A test's application is
    /// not asked.
    pub(super) fn tell_if_asked(&mut self) -> Result<(), Error> {
        let asked = std::env::var_os(DESCRIBE_VARIABLE).filter(|asked| !asked.is_empty() && !self.isolated);
        let Some(asked) = asked else { return Ok(()) };
        if asked != "json" {
            let text = format!("the variable {DESCRIBE_VARIABLE} knows one word: `json`");
            return Err(Error::new(ErrorKind::Configuration, text));
        }
        let app = std::mem::replace(self, Self::new(""));
        let description = app.describe()?.to_json();
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{description}").and_then(|()| out.flush());
        written.map_err(|error| Error::new(ErrorKind::Internal, "the description cannot be written").with_source(error))?;
        std::process::exit(0)
    }
}

fn event_description(event: &EventDef) -> EventDescription {
    // What is not of serde's shapes has no JSON schema, whatever its type derives.
    let of_serde = !matches!(event.codec, "protobuf" | "raw");
    EventDescription {
        name: event.name.to_owned(),
        version: event.version,
        topic: event.topic.to_owned(),
        broker: event.broker.map(str::to_owned),
        key: event.keyed.then(|| event.key_text.unwrap_or("self.key()").to_owned()),
        bare: event.bare,
        codec: event.codec.to_owned(),
        content_type: event.content_type.to_owned(),
        accepts: event.accepts.iter().map(|old| format!("{}.v{}", old.name, old.version)).collect(),
        schema: if of_serde { (event.schema)() } else { None },
        location: event.location,
    }
}

fn handler_description(app: &str, handler: &HandlerDef) -> HandlerDescription {
    let (options, signature) = (handler.options, handler.signature());
    let event = signature.inputs.first();
    let topics: Vec<_> = match (options.topics, event) {
        ([], Some(event)) => vec![event.topic.to_owned()],
        (topics, _) => topics.iter().map(|&topic| topic.to_owned()).collect(),
    };
    let group = plan::group_of(app, handler);
    let dead = |topic: &String| options.dead_letter.map_or_else(|| names::dead_topic(topic, &group), str::to_owned);
    let mut dead_letters: Vec<_> = topics.iter().map(dead).collect();
    dead_letters.dedup();
    HandlerDescription {
        name: handler.name.to_owned(),
        broker: options.broker.map(str::to_owned),
        event: event.map(|event| event.type_name_on_wire()),
        dead_letters,
        ordered: options.order.map_or_else(|| event.is_some_and(|event| event.keyed), |order| order == Order::Key),
        lane: options.lane.map(str::to_owned),
        matches: options.matches.map(|matches| format!("{} = {}", matches.header, matches.value)),
        retry: options.retry,
        on_retry: options.on_retry,
        batch: options.batch,
        start: options.start.unwrap_or(if options.broadcast { StartAt::New } else { StartAt::Earliest }),
        broadcast: options.broadcast,
        returns: signature.outputs.iter().map(|event| event.type_name_on_wire()).collect(),
        location: handler.location,
        topics,
        group,
    }
}
