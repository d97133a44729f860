//! The harness of the conformance suite on real servers: the same for all kinds, so that adapters differ in nothing but how they are
//! opened.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use convoke_conformance::{Foreign, Harness, Side, Stop, Time, Trouble};
use convoke_core::broker::{Broker, BrokerConfig, BrokerUrl, OpenBroker};
use convoke_core::{Error, ErrorKind};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::proxy::RUNTIME;
use crate::wire::{dressed, spelled, undressed};
use crate::{Kind, Proxy, Server};

/// How an adapter is tried on a real server, for one case.
///
/// All cases share a server, but for those that make it suffer, which have one each. Every connection leads through a proxy of its
/// own, so that a process can die without a word, whatever threads its client has.
///
/// [`conform`] runs them all.
pub struct Real {
    kind: Kind,
    alone: bool,
    open: OpenBroker,
    options: Vec<String>,
    variables: Vec<(&'static str, &'static str)>,
    stretch: u32,
    confirms: bool,
    server: OnceCell<Server>,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    all: Vec<(Weak<dyn Broker>, Arc<Proxy>)>,
    /// Of those whose process was killed. Their clients may have threads that still try.
    dead: Vec<Arc<Proxy>>,
    /// Until when nobody gets through.
    cut: Option<Instant>,
}

/// Runs the conformance suite on real servers of this kind: no promise is broken, and what cannot be tried is this and nothing else.
///
/// ```no_run
/// # fn open(_: convoke_core::broker::BrokerConfig) -> convoke_core::BoxFuture<'static, Result<std::sync::Arc<dyn convoke_core::broker::Broker>, convoke_core::Error>> { todo!() }
/// use convoke_servers::{Kind, Real, conform};
///
/// /// This broker lets every lease be extended.
/// const LACKING: [&str; 1] = ["d10_where_no_lease_can_be_extended_a_longer_timeout_is_refused"];
///
/// fn main() { // a #[test]
///     conform(Kind::Nats, &LACKING, |case| Real::new(Kind::Nats, case, open).option("lease=2s"));
/// }
/// ```
///
/// # Panics
/// If it is not so. On a server that is not ours more may be lacking.
pub fn conform(kind: Kind, lacking: &[&str], make: impl Fn(&str) -> Real + Sync) {
    let report = convoke_conformance::run(make);
    report.assert();
    if std::env::var_os(kind.variable()).is_none() {
        report.assert_lacking(lacking);
    }
}

impl Real {
    /// Opens the broker of this kind by this function, for the case of this name.
    #[must_use]
    pub fn new(kind: Kind, case: &str, open: OpenBroker) -> Self {
        Self {
            kind,
            alone: convoke_conformance::needs_the_server_alone(case),
            open,
            options: Vec::new(),
            variables: Vec::new(),
            stretch: 1,
            confirms: true,
            server: OnceCell::new(),
            connections: Mutex::default(),
        }
    }

    /// Opens it with this option in the URL, as in `lease=2s`: leases and time-outs should be short.
    #[must_use]
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Has the case run on a server of its own that is started with this variable, see [`Server::launch_with`].
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// Multiplies what the cases wait, see [`Time::Real`].
    #[must_use]
    pub fn stretch(mut self, stretch: u32) -> Self {
        self.stretch = stretch;
        self
    }

    /// The server does not confirm what is settled, see [`Harness::confirms_settlements`].
    #[must_use]
    pub fn unconfirmed(mut self) -> Self {
        self.confirms = false;
        self
    }

    /// The server of this case.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    ///
    /// # Cancel safety
    /// As [`Server::launch`].
    pub async fn server(&self) -> Result<&Server, Stop> {
        let launch = || async {
            match self.alone || !self.variables.is_empty() {
                true => Server::launch_with(self.kind, &self.variables).await,
                false => Server::shared(self.kind).await,
            }
        };
        let listening = || async {
            let server = launch().await?;
            // An exchange keeps nothing: its client reads what was published since it listens.
            if self.kind == Kind::RabbitMq {
                server.client().await?;
            }
            Ok(server)
        };
        self.server.get_or_try_init(listening).await
    }

    fn with_connections<T>(&self, act: impl FnOnce(&mut Connections) -> T) -> T {
        act(&mut self.connections.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn connect(&self) -> Result<Arc<dyn Broker>, Error> {
        let failed = |stop: Stop| Error::new(ErrorKind::Connection, stop.to_string());
        let cut = self.with_connections(|connections| {
            // What nobody has any more needs no proxy.
            connections.all.retain(|(broker, _)| broker.strong_count() > 0);
            connections.cut
        });
        let server = self.server().await.map_err(failed)?;
        let proxy = match server.proxy().await {
            Ok(proxy) => Some(Arc::new(proxy)),
            Err(Stop::Lacking(_)) => None,
            Err(stop) => return Err(failed(stop)),
        };
        if let (Some(proxy), Some(left)) = (&proxy, cut.and_then(|cut| cut.checked_duration_since(Instant::now()))) {
            proxy.cut(left).await;
        }
        let through = proxy.as_ref().map_or(server.url(), |proxy| proxy.url());
        let between = if through.contains('?') { '&' } else { '?' };
        let url = BrokerUrl::parse(&format!("{through}{between}{}", self.options.join("&")))?;
        let broker = (self.open)(BrokerConfig::new(url, "conformance")).await?;
        if let Some(proxy) = proxy {
            self.with_connections(|connections| connections.all.push((Arc::downgrade(&broker), proxy)));
        }
        Ok(broker)
    }
}

#[async_trait::async_trait]
impl Harness for Real {
    fn name(&self) -> String {
        static NAMES: [OnceLock<String>; 4] = [const { OnceLock::new() }; 4];
        NAMES[self.kind as usize]
            .get_or_init(|| self.kind.version().unwrap_or_else(|stop| format!("{}: {stop}", self.kind)))
            .clone()
    }

    fn time(&self) -> Time {
        Time::Real { stretch: self.stretch }
    }

    fn confirms_settlements(&self) -> bool {
        self.confirms
    }

    async fn open(&self) -> Result<Arc<dyn Broker>, Error> {
        self.connect().await
    }

    async fn bury(&self, broker: Arc<dyn Broker>) {
        let this = Arc::downgrade(&broker);
        let proxy = self.with_connections(|connections| {
            let index = connections.all.iter().position(|(other, _)| other.ptr_eq(&this))?;
            let (_, proxy) = connections.all.swap_remove(index);
            connections.dead.push(Arc::clone(&proxy));
            Some(proxy)
        });
        if let Some(proxy) = proxy {
            proxy.cut(Duration::from_secs(3600)).await;
        }
        // A client may wait for its threads, and these for a server that they do not reach.
        std::thread::spawn(move || drop(broker));
    }

    async fn kill(&self) -> Result<(), Stop> {
        self.server().await?.kill().await
    }

    async fn start(&self) -> Result<(), Stop> {
        self.server().await?.start().await
    }

    async fn cut(&self, down: Duration) -> Result<(), Stop> {
        // Says so if none can stand before this server.
        self.server().await?.proxy().await?;
        let proxies: Vec<_> = self.with_connections(|connections| {
            connections.cut = Some(Instant::now() + down);
            connections.all.iter().map(|(_, proxy)| Arc::clone(proxy)).collect()
        });
        for proxy in proxies {
            proxy.cut(down).await;
        }
        Ok(())
    }

    async fn disturb(&self, side: Side, trouble: Trouble, down: Duration) -> Result<(), Stop> {
        // Says so if none can stand before this server.
        self.server().await?.proxy().await?;
        let proxies: Vec<_> =
            self.with_connections(|connections| connections.all.iter().map(|(_, proxy)| Arc::clone(proxy)).collect());
        for proxy in &proxies {
            match trouble {
                Trouble::Stall => proxy.stall(side),
                Trouble::Delay(by) => proxy.delay(side, by),
                Trouble::Swallow => proxy.swallow(side),
            }
        }
        RUNTIME.spawn(async move {
            tokio::time::sleep(down).await;
            proxies.iter().for_each(|proxy| proxy.ease(side));
        });
        Ok(())
    }

    async fn freeze(&self, down: Duration) -> Result<(), Stop> {
        self.server().await?.freeze_for(down).await
    }

    async fn discard(&self, topic: &str) -> Result<(), Stop> {
        self.server().await?.client().await?.ask(&json!({ "do": "discard", "topic": topic })).await.map(drop)
    }

    async fn produce_foreign(&self, topic: &str, message: Foreign) -> Result<(), Stop> {
        self.server().await?.client().await?.produce(topic, &dressed(self.kind, message)).await
    }

    async fn produce_careless(&self, topic: &str, message: Foreign) -> Result<(), Stop> {
        self.server().await?.client().await?.produce(topic, &spelled(self.kind, message)).await
    }

    async fn read_all_foreign(&self, topic: &str) -> Result<Vec<Foreign>, Stop> {
        let read = self.server().await?.client().await?.read(topic).await?;
        Ok(read.into_iter().map(|message| undressed(self.kind, message)).collect())
    }
}

impl std::fmt::Debug for Real {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Real").field("kind", &self.kind).field("alone", &self.alone).finish_non_exhaustive()
    }
}
