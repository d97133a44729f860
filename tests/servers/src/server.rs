//! A server: its life is that of `tests/servers.sh hold`, which does what it is told and ends with us.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use convoke_conformance::Stop;
use tokio::sync::OnceCell;

use crate::held::Held;
use crate::proxy::RUNTIME;
use crate::{Client, Kind, Proxy};

/// A server that runs on this machine, with data and ports of its own; or one that a variable names.
///
/// It ends when the last clone is dropped, or with the program. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Server(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    url: String,
    /// None if it is not ours.
    held: Option<Held>,
    /// The ports that a proxy leads to, and where that proxy stands.
    places: Mutex<Vec<(u16, u16)>>,
    client: OnceCell<Client>,
}

/// The folder of this crate.
pub(crate) fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The script that does all of it, beside the folder.
pub(crate) fn script() -> PathBuf {
    folder().with_extension("sh")
}

impl Server {
    /// Starts a server that nobody else uses.
    ///
    /// # Errors
    /// It is not installed, or does not start; the text says what to do.
    ///
    /// # Cancel safety
    /// A server that is about to start ends again.
    pub async fn launch(kind: Kind) -> Result<Self, Stop> {
        Self::launch_with(kind, &[]).await
    }

    /// The same, with variables that `tests/servers.sh` knows: `CONSUMER_TIMEOUT` of RabbitMQ, in milliseconds; `PASSWORD` of the user
    /// `ada`, and `TLS`, which is `yes` or `mutual`. A server with these two is always ours.
    ///
    /// # Errors
    /// As [`launch`](Self::launch).
    ///
    /// # Cancel safety
    /// As [`launch`](Self::launch).
    pub async fn launch_with(kind: Kind, variables: &[(&str, &str)]) -> Result<Self, Stop> {
        static COUNT: AtomicUsize = AtomicUsize::new(1);
        let secured = variables.iter().any(|(name, _)| ["PASSWORD", "TLS"].contains(name));
        if let Ok(url) = std::env::var(kind.variable())
            && !secured
        {
            return Ok(Self::new(kind, url, None, Vec::new()));
        }
        let name = format!("{kind}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let held = Held::start(Command::new(script()).args(["hold", &name]).envs(variables.iter().copied()))?;
        let said = held.say(None).await?;
        let mut words = said.split(' ');
        let url = words.next().unwrap_or_default().to_owned();
        let places = words.filter_map(|place| place.split_once(':'));
        let places = places.filter_map(|(to, at)| Some((to.parse().ok()?, at.parse().ok()?))).collect();
        let server = Self::new(kind, url, Some(held), places);
        server.start().await?;
        Ok(server)
    }

    /// The server of this kind that all tests of this program share. It is started for the first that asks.
    ///
    /// # Errors
    /// As [`launch`](Self::launch).
    ///
    /// # Cancel safety
    /// The next that asks starts it anew.
    pub async fn shared(kind: Kind) -> Result<Self, Stop> {
        static SHARED: [OnceCell<Server>; 5] = [const { OnceCell::const_new() }; 5];
        SHARED[kind as usize].get_or_try_init(|| Self::launch(kind)).await.cloned()
    }

    fn new(kind: Kind, url: String, held: Option<Held>, places: Vec<(u16, u16)>) -> Self {
        Self(Arc::new(Inner { kind, url, held, places: Mutex::new(places), client: OnceCell::new() }))
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Its URL, as applications give it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Starts it on the data that it left, and returns when it answers. If it runs, nothing happens.
    ///
    /// # Errors
    /// It does not start.
    ///
    /// # Cancel safety
    /// It starts all the same.
    pub async fn start(&self) -> Result<(), Stop> {
        self.command("start").await
    }

    /// Kills it as a power failure does, and returns when it is dead.
    ///
    /// # Errors
    /// It is not ours.
    ///
    /// # Cancel safety
    /// It is killed all the same. So it is with the following.
    pub async fn kill(&self) -> Result<(), Stop> {
        self.command("kill").await
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// It is not ours.
    pub async fn stop(&self) -> Result<(), Stop> {
        self.command("stop").await
    }

    /// Kills it, and starts it on its data.
    ///
    /// # Errors
    /// It is not ours, or does not start.
    pub async fn restart(&self) -> Result<(), Stop> {
        self.command("restart").await
    }

    /// Lets it stand still: its connections stay open, and nothing is answered.
    ///
    /// # Errors
    /// It is not ours.
    pub async fn freeze(&self) -> Result<(), Stop> {
        self.command("freeze").await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It is not ours.
    pub async fn thaw(&self) -> Result<(), Stop> {
        self.command("thaw").await
    }

    /// Lets it stand still for this long. Returns as soon as it does.
    ///
    /// # Errors
    /// It is not ours.
    ///
    /// # Cancel safety
    /// It goes on all the same.
    pub async fn freeze_for(&self, down: Duration) -> Result<(), Stop> {
        let server = self.clone();
        let frozen = RUNTIME.spawn(async move {
            server.freeze().await?;
            RUNTIME.spawn(async move {
                tokio::time::sleep(down).await;
                server.thaw().await
            });
            Ok(())
        });
        frozen.await.map_err(|error| Stop::failed(error.to_string()))?
    }

    /// A proxy before it, with a URL of its own through which all connections lead, those included to which the server refers
    /// its clients.
    ///
    /// # Errors
    /// All places for proxies are taken, of which a server has twenty-four, and none becomes free; or it is a Kafka that is not ours, which refers its clients
    /// to itself.
    ///
    /// # Cancel safety
    /// There is no proxy.
    pub async fn proxy(&self) -> Result<Proxy, Stop> {
        let Inner { kind, url, held, places, .. } = &*self.0;
        let (before, rest) = url.split_once("://").ok_or_else(|| Stop::failed(format!("`{url}` is no URL")))?;
        let (user, rest) = rest.split_once('@').map_or(("", rest), |(user, rest)| (user, rest));
        let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
        let begun = Instant::now();
        let place = loop {
            let place = places.lock().unwrap_or_else(PoisonError::into_inner).pop();
            if place.is_some() || held.is_none() || begun.elapsed() > Duration::from_secs(30) {
                break place;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let (to, at) = match (held, place) {
            (Some(_), Some((to, at))) => (format!("127.0.0.1:{to}"), at),
            (Some(_), None) => return Err(Stop::failed(format!("all places for proxies before this {kind} are taken"))),
            (None, _) if *kind == Kind::Kafka => {
                return Err(Stop::lacking(format!("{} refers its clients to itself, past a proxy", kind.variable())));
            }
            (None, _) => (host.to_owned(), 0),
        };
        let server = self.clone();
        let give_back = move || server.0.places.lock().unwrap_or_else(PoisonError::into_inner).extend(place);
        let url = |at| {
            let at_sign = if user.is_empty() { "" } else { "@" };
            let slash = if path.is_empty() { "" } else { "/" };
            format!("{before}://{user}{at_sign}127.0.0.1:{at}{slash}{path}")
        };
        Proxy::start(to, at, url, Box::new(give_back)).await
    }

    /// A client of this server that others wrote. All that ask share it.
    ///
    /// # Errors
    /// It is not installed.
    ///
    /// # Cancel safety
    /// The next that asks starts it anew.
    pub async fn client(&self) -> Result<&Client, Stop> {
        self.0.client.get_or_try_init(|| Client::start(self.0.kind, &self.0.url)).await
    }

    async fn command(&self, command: &str) -> Result<(), Stop> {
        let Inner { kind, held, .. } = &*self.0;
        let Some(held) = held else {
            return Err(Stop::lacking(format!("the server of {} is not ours to {command}", kind.variable())));
        };
        match held.say(Some(command.to_owned())).await?.as_str() {
            "ok" => Ok(()),
            said => Err(Stop::failed(format!("cannot {command} {kind}: {said}"))),
        }
    }
}
