//! A proxy of TCP that makes connections suffer.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use convoke_conformance::{Side, Stop};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// A proxy before a server. It ends, and its connections with it, when it is dropped.
pub struct Proxy {
    url: String,
    weather: watch::Sender<Weather>,
    open: Open,
    give_back: Option<Box<dyn FnOnce() + Send + Sync>>,
}

/// What happens to connections.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    /// Connections that were made before the latest cut are gone.
    cuts: u64,
    refuses: bool,
    over: bool,
    requests: Flow,
    answers: Flow,
}

/// What happens to bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    stalls: bool,
    swallows: bool,
    delay: Duration,
}

/// How many listen or pass something on, by the number of cuts before they began.
type Open = Arc<watch::Sender<BTreeMap<u64, usize>>>;

/// One of those.
struct Mark(Open, u64);

impl Mark {
    fn new(open: &Open, cuts: u64) -> Self {
        open.send_modify(|open| *open.entry(cuts).or_default() += 1);
        Self(Arc::clone(open), cuts)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.0.send_modify(|open| {
            if let Entry::Occupied(mut count) = open.entry(self.1) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        });
    }
}

impl Weather {
    fn flow(&mut self, side: Side) -> &mut Flow {
        match side {
            Side::Requests => &mut self.requests,
            Side::Answers => &mut self.answers,
        }
    }
}

/// Proxies, and what else goes on behind the back of a test, outlive its runtime.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("proxies").enable_all().build().expect("a runtime for the proxies")
});

impl Proxy {
    pub(crate) async fn start(
        to: String,
        at: u16,
        url: impl Fn(u16) -> String,
        give_back: Box<dyn FnOnce() + Send + Sync>,
    ) -> Result<Self, Stop> {
        let (weather, seen) = watch::channel(Weather::default());
        let bound = RUNTIME.spawn(bind_soon(at)).await.map_err(|error| Stop::failed(error.to_string()))?;
        let listener = bound.map_err(|error| Stop::failed(format!("no proxy can stand at port {at}: {error}")))?;
        let at = listener.local_addr().map_err(|error| Stop::failed(error.to_string()))?.port();
        let open = Open::default();
        let listener = (listener, Mark::new(&open, 0));
        RUNTIME.spawn(accept(Some(listener), at, to.into(), seen, Arc::clone(&open)));
        Ok(Self { url: url(at), weather, open, give_back: Some(give_back) })
    }

    /// The server's URL, through this proxy.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Cuts every connection (`RST`), and refuses new ones for this long. Returns as soon as they are cut.
    ///
    /// # Cancel safety
    /// They are cut, and the proxy recovers, all the same.
    pub async fn cut(&self, down: Duration) {
        let mut cuts = 0;
        self.weather.send_modify(|weather| {
            (weather.cuts, weather.refuses) = (weather.cuts + 1, true);
            cuts = weather.cuts;
        });
        let weather = self.weather.clone();
        RUNTIME.spawn(async move {
            tokio::time::sleep(down).await;
            // A later cut has an end of its own.
            weather.send_if_modified(|weather| weather.cuts == cuts && std::mem::take(&mut weather.refuses));
        });
        // Whoever listens or passes on what came before this cut holds a mark of an earlier one.
        let mut open = self.open.subscribe();
        let _ = open.wait_for(|open| open.range(..cuts).next().is_none()).await;
    }

    /// Nothing gets through this way, until [`recover`](Self::recover); nothing is lost.
    pub fn stall(&self, side: Side) {
        self.weather.send_modify(|weather| weather.flow(side).stalls = true);
    }

    /// Everything gets through this way later by so much, until [`recover`](Self::recover).
    pub fn delay(&self, side: Side, delay: Duration) {
        self.weather.send_modify(|weather| weather.flow(side).delay = delay);
    }

    /// What goes this way vanishes, until [`recover`](Self::recover), which cuts the connections that lost something.
    pub fn swallow(&self, side: Side) {
        self.weather.send_modify(|weather| weather.flow(side).swallows = true);
    }

    /// All is well again this way.
    pub fn ease(&self, side: Side) {
        self.weather.send_modify(|weather| *weather.flow(side) = Flow::default());
    }

    /// All is well again.
    pub fn recover(&self) {
        self.weather.send_modify(|weather| *weather = Weather { cuts: weather.cuts, ..Weather::default() });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.weather.send_modify(|weather| weather.over = true);
        let (give_back, weather) = (self.give_back.take(), self.weather.clone());
        RUNTIME.spawn(async move {
            // Another may stand here when nobody listens any more, and nobody passes anything on.
            weather.closed().await;
            give_back.into_iter().for_each(|give_back| give_back());
        });
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("weather", &*self.weather.borrow()).finish_non_exhaustive()
    }
}

async fn bind(at: u16) -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", at)).await
}

/// A program that is just being started has, until it runs, all that was open here: the listener too that stood at this port before.
async fn bind_soon(at: u16) -> io::Result<TcpListener> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        match bind(at).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            bound => return bound,
        }
    }
}

async fn accept(
    mut listener: Option<(TcpListener, Mark)>,
    at: u16,
    to: Arc<str>,
    mut weather: watch::Receiver<Weather>,
    open: Open,
) {
    loop {
        let now = *weather.borrow_and_update();
        if now.over {
            return;
        }
        listener = listener.filter(|(_, mark)| mark.1 == now.cuts);
        if now.refuses {
            let _ = weather.changed().await;
            continue;
        }
        let Some((listening, _)) = &listener else {
            // Whoever had the port in the meantime is about to go, or the tests fail by their time.
            match bind(at).await {
                Ok(bound) => listener = Some((bound, Mark::new(&open, now.cuts))),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
            continue;
        };
        tokio::select! {
            _ = weather.changed() => {}
            Ok((client, _)) = listening.accept() => {
                tokio::spawn(pass(Mark::new(&open, now.cuts), client, Arc::clone(&to), weather.clone()));
            }
        }
    }
}

/// Passes on what both sides say, until both have ended, or one is reset, which resets the other.
async fn pass(mark: Mark, mut client: TcpStream, to: Arc<str>, mut weather: watch::Receiver<Weather>) {
    let both = weather.clone();
    let cut = weather.wait_for(|weather| weather.over || weather.cuts > mark.1);
    let passed = async {
        let mut server = TcpStream::connect(&*to).await?;
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ended = {
            let ((requests, to_client), (answers, to_server)) = (client.split(), server.split());
            let requests = pump(requests, to_server, both.clone(), |weather| weather.requests);
            tokio::try_join!(requests, pump(answers, to_client, both, |weather| weather.answers))
        };
        if ended.is_err() {
            server.set_zero_linger()?;
        }
        ended
    };
    let ended = tokio::select! {
        _ = cut => Err(io::ErrorKind::ConnectionReset.into()),
        ended = passed => ended,
    };
    if ended.is_err() {
        let _ = client.set_zero_linger();
    }
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut weather: watch::Receiver<Weather>,
    flow: fn(&Weather) -> Flow,
) -> io::Result<()> {
    let over = |_| io::Error::from(io::ErrorKind::ConnectionReset);
    let mut buffer = vec![0; 16 << 10];
    let mut lost = false;
    loop {
        weather.wait_for(|weather| !flow(weather).stalls).await.map_err(over)?;
        let read = tokio::select! {
            read = from.read(&mut buffer) => read?,
            changed = weather.changed() => {
                changed.map_err(over)?;
                if lost && !flow(&weather.borrow()).swallows {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                continue;
            }
        };
        if read == 0 {
            return to.shutdown().await;
        }
        let flow = flow(&*weather.wait_for(|weather| !flow(weather).stalls).await.map_err(over)?);
        match flow.swallows {
            true => lost = true,
            false if lost => return Err(io::ErrorKind::ConnectionReset.into()),
            false => {
                tokio::time::sleep(flow.delay).await;
                to.write_all(&buffer[..read]).await?;
            }
        }
    }
}
