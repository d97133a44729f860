//! The application's brokers: which it has, where each is, and what nobody can find.

use std::fmt;
use std::sync::Arc;

use convoke_core::broker::{Broker, BrokerFactory, BrokerUrl};
use convoke_core::few::Few;
use convoke_core::{Error, EventDef, HandlerDef};

use super::deploy::{self, Deployment};
use super::plan::Problems;
use super::{App, DEFAULT_URL, open};
use crate::words;

/// Where a broker is: a URL, or one that the program has opened.
#[derive(Clone)]
pub enum BrokerSource {
    /// At this URL.
    Url(String),
    /// Opened by the program.
    Open(Arc<dyn Broker>),
}

impl From<&str> for BrokerSource {
    fn from(url: &str) -> Self {
        Self::Url(url.to_owned())
    }
}

impl From<String> for BrokerSource {
    fn from(url: String) -> Self {
        Self::Url(url)
    }
}

impl From<Arc<dyn Broker>> for BrokerSource {
    fn from(broker: Arc<dyn Broker>) -> Self {
        Self::Open(broker)
    }
}

impl<B: Broker> From<Arc<B>> for BrokerSource {
    fn from(broker: Arc<B>) -> Self {
        Self::Open(broker)
    }
}

impl fmt::Debug for BrokerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl BrokerSource {
    /// For people: without passwords.
    fn shown(&self) -> String {
        match self {
            Self::Url(url) => BrokerUrl::parse(url).map_or_else(|_| "…".to_owned(), |url| url.to_string()),
            Self::Open(broker) => broker.capabilities().name.to_owned(),
        }
    }
}

/// The brokers by number: the first has no name, and is what is meant where none is named.
#[derive(Debug, Default)]
pub(crate) struct Brokers(Vec<(String, BrokerSource)>);

/// A broker that is open.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) shown: String,
    pub(crate) broker: Arc<dyn Broker>,
}

/// Their names, by number.
#[derive(Debug)]
pub(crate) struct BrokerNames(Vec<String>);

impl BrokerNames {
    pub(super) fn of_all(brokers: &[Named]) -> Self {
        Self(brokers.iter().map(|one| one.name.clone()).collect())
    }

    /// The number of the broker of this name.
    pub(crate) fn find(&self, name: Option<&str>) -> Option<usize> {
        name.map_or(Some(0), |name| self.0.iter().skip(1).position(|other| other == name).map(|index| index + 1))
    }

    /// The number of an event's broker.
    pub(crate) fn of(&self, event: &EventDef) -> Result<usize, &'static str> {
        self.find(event.broker).ok_or(event.broker.unwrap_or_default())
    }

    /// What is said of a broker that is not there; `who` asks for it.
    pub(crate) fn missing(&self, who: &str, name: &str) -> String {
        let known: Vec<_> = self.0.iter().skip(1).map(String::as_str).collect();
        format!(
            "{who} names the broker {} Say where it is with `.broker_named(\"{name}\", …)`, or in the variable {}",
            sentence(&words::unknown(name, known)),
            deploy::broker_variable(name)
        )
    }
}

impl Brokers {
    pub(super) fn names(&self) -> BrokerNames {
        BrokerNames(self.0.iter().map(|(name, _)| name.clone()).collect())
    }

    /// Opens all of them at the same time.
    pub(super) async fn open(self, app: &str, factories: &[&'static BrokerFactory]) -> Vec<Result<Named, Error>> {
        let open = |(name, source): (String, BrokerSource)| async move {
            let shown = source.shown();
            let broker = match source {
                BrokerSource::Open(broker) => broker,
                BrokerSource::Url(url) => open::open(&url, app, factories).await?,
            };
            Ok(Named { name, shown, broker })
        };
        convoke_core::join_all(self.0.into_iter().map(open)).await
    }
}

fn sentence(text: &str) -> String {
    if text.ends_with('?') { text.to_owned() } else { format!("{text}.") }
}

impl App {
    /// The brokers that the application has: those that it or its deployment names, as far as anybody asks for them.
    pub(super) fn brokers(
        &mut self,
        handlers: &[&'static HandlerDef],
        deployment: &Deployment,
        problems: &mut Problems,
    ) -> Brokers {
        let first = match self.broker.take() {
            Some(broker) => BrokerSource::Open(broker),
            None => BrokerSource::Url(self.url.clone().unwrap_or_else(|| DEFAULT_URL.to_owned())),
        };
        let mut brokers = vec![(String::new(), first)];
        let on_demand = self.registry.handlers.iter().filter(|handler| self.on_demand.iter().any(|name| name == handler.name));
        let of_handlers = handlers.iter().chain(on_demand).filter_map(|handler| handler.options.broker);
        let asked = of_handlers.chain(self.registry.events.iter().filter_map(|event| event.broker));
        let named: Few<String> = self.named.keys().cloned().chain(asked.map(str::to_owned)).collect();
        for name in named.into_vec() {
            let written = self.named.remove(&name);
            let source = match (deployment.url_of(&name), written) {
                (_, Some(source)) if self.isolated => Some(self.apart(&name, source)),
                (Some(_), None) if self.isolated => Some(self.apart(&name, BrokerSource::Url(String::new()))),
                (Some(said), Some(BrokerSource::Open(broker))) => {
                    problems.push(said.at.problem(format!(
                        "the program opens the broker `{name}` by itself (`App::broker_named`), so a URL means nothing here"
                    )));
                    Some(BrokerSource::Open(broker))
                }
                (Some(said), _) => Some(BrokerSource::Url(said.value.0.clone())),
                (None, written) => written,
            };
            // Of one that nobody says anything of, those complain that ask for it.
            brokers.extend(source.map(|source| (name, source)));
        }
        Brokers(brokers)
    }

    /// In a test: the broker that the program has opened, else one of its own beside the first. A server is one for all of them.
    fn apart(&self, name: &str, source: BrokerSource) -> BrokerSource {
        match (source, self.url.as_deref()) {
            (BrokerSource::Url(_), Some(url)) if !url.starts_with("memory://") => BrokerSource::Url(url.to_owned()),
            (BrokerSource::Url(_), Some(url)) => {
                let (place, options) = url.split_once('?').map_or((url, String::new()), |(place, o)| (place, format!("?{o}")));
                BrokerSource::Url(format!("{place}.{name}{options}"))
            }
            (source, _) => source,
        }
    }

    /// Names of brokers in the deployment that nobody in the program asks for.
    pub(super) fn check_brokers(&self, deployment: &Deployment, problems: &mut Problems) {
        let handlers = self.registry.handlers.iter().filter_map(|handler| handler.options.broker);
        let events = self.registry.events.iter().filter_map(|event| event.broker);
        let known: Few<&str> = self.named.keys().map(String::as_str).chain(handlers).chain(events).collect();
        for (name, said) in deployment.brokers.iter() {
            if !known.contains(&name.as_str()) {
                problems
                    .push(said.at.problem(format!("the program has no broker {}", words::unknown(name, known.iter().copied()))));
            }
        }
    }
}
