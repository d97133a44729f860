//! The registry: what `#[event]` and `#[handler]` leave behind at compile time, collected at link time.

use std::fmt;

use crate::broker::BrokerFactory;
use crate::event::EventDef;
use crate::few::sort_by;
use crate::handler::HandlerDef;

/// A place in source code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// The file, as the compiler was given it.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
    /// The module path.
    pub module: &'static str,
}

impl Location {
    /// A place; written as `Location::here(file!(), line!(), module_path!())`.
    #[must_use]
    pub const fn here(file: &'static str, line: u32, module: &'static str) -> Self {
        Self { file, line, module }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One thing that was registered.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Entry {
    /// An event.
    Event(&'static EventDef),
    /// A handler.
    Handler(&'static HandlerDef),
    /// A kind of broker.
    Broker(&'static BrokerFactory),
    /// A handler with type parameters, which somebody has to choose.
    Generic(&'static GenericDef),
}

/// What the registry knows of a handler with type parameters: that it is there. `handlers![…]` makes it a handler.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct GenericDef {
    /// The name.
    pub name: &'static str,
    /// Where it was declared.
    pub location: Location,
}

impl GenericDef {
    /// A handler of this name, declared here.
    #[must_use]
    pub const fn new(name: &'static str, location: Location) -> Self {
        Self { name, location }
    }
}

inventory::collect!(Entry);

/// Everything that is linked into the program, sorted by name and place: the linker's order means nothing.
///
/// A crate that is named in `Cargo.toml` and nowhere else is not linked, and what it registers is not here; `use that_crate as
/// _;` brings it in.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Registry {
    /// The events.
    pub events: Vec<&'static EventDef>,
    /// The handlers.
    pub handlers: Vec<&'static HandlerDef>,
    /// The handlers with type parameters, with which nothing is called yet.
    pub generics: Vec<&'static GenericDef>,
    /// The kinds of broker.
    pub brokers: Vec<&'static BrokerFactory>,
}

impl Registry {
    /// Collects what was registered.
    #[must_use]
    pub fn collect() -> Self {
        let mut registry = Self::default();
        for entry in inventory::iter::<Entry> {
            match entry {
                Entry::Event(event) => registry.events.push(event),
                Entry::Handler(handler) => registry.handlers.push(handler),
                Entry::Broker(broker) => registry.brokers.push(broker),
                Entry::Generic(generic) => registry.generics.push(generic),
            }
        }
        let place = |event: &EventDef| (event.topic, event.name, event.version, event.location);
        sort_by(&mut registry.events, |a, b| place(a).cmp(&place(b)));
        sort_by(&mut registry.handlers, |a, b| (a.name, a.location).cmp(&(b.name, b.location)));
        sort_by(&mut registry.generics, |a, b| (a.name, a.location).cmp(&(b.name, b.location)));
        sort_by(&mut registry.brokers, |a, b| a.schemes.cmp(b.schemes));
        registry
    }
}
