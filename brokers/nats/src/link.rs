//! The connection: opened within bounds, kept up for ever, and what is known of its state.

use std::error::Error as _;
use std::io::ErrorKind::ConnectionRefused;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, Subject};
use bytes::Bytes;
use convoke_broker_common::{Backoff, Tls};
use convoke_core::broker::{BrokerConfig, Health};
use convoke_core::{Error, ErrorKind};
use tokio::sync::{OnceCell, watch};

use crate::failure;
use crate::options::Options;

/// The longest wait between two attempts to connect.
const RECONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How large the headers of a message may be in a stream.
const MAX_HEADERS: usize = 0xffff;

/// A connection, and what it was opened with.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) jetstream: Context,
    pub(crate) options: Options,
    /// Counts how often the connection came up; odd while it is up.
    pub(crate) up: watch::Receiver<u64>,
    state: Arc<State>,
    config: BrokerConfig,
    second: OnceCell<Arc<Self>>,
}

#[derive(Debug)]
struct State {
    up: watch::Sender<u64>,
    health: Mutex<Health>,
}

impl State {
    fn set(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    fn failed(&self, why: String) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        *health = match &*health {
            Health::Closed => Health::Closed,
            Health::Down { failures, .. } => Health::Down { failures: failures + 1, reason: why },
            _ => Health::Down { failures: 1, reason: why },
        };
    }

    fn on(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.set(Health::Up);
                self.up.send_modify(|count| *count += 1 + *count % 2);
            }
            Event::Disconnected => {
                self.failed("the connection was lost".to_owned());
                self.up.send_modify(|count| *count += *count % 2);
            }
            Event::ClientError(error) => self.failed(error.to_string()),
            Event::ServerError(error) => tracing::warn!(%error, "the NATS server complains"),
            Event::SlowConsumer(_) => tracing::warn!("messages came faster than they were taken, and come again"),
            Event::LameDuckMode => tracing::info!("the NATS server is about to stop"),
            _ => {}
        }
    }
}

impl Link {
    pub(crate) async fn open(config: &BrokerConfig) -> Result<Self, Error> {
        let options = Options::from_url(&config.url)?;
        let (up, watched) = watch::channel(0);
        let down = Health::Down { failures: 0, reason: "not connected yet".to_owned() };
        let state = Arc::new(State { up, health: Mutex::new(down) });
        let connect = client_options(config, &options, &state).await?;
        let servers = options.servers.join(", ");
        let client = match tokio::time::timeout(config.connect_within, connect.connect(addresses(&options))).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(refused(&options, error)),
            Err(_) => return Err(silent(&servers, config.connect_within)),
        };
        state.on(&Event::Connected);
        let jetstream =
            jetstream::ContextBuilder::new().timeout(options.timeout).ack_timeout(options.timeout).build(client.clone());
        let link = Self { client, jetstream, options, up: watched, state, config: config.clone(), second: OnceCell::new() };
        link.check(&servers).await?;
        Ok(link)
    }

    /// Another connection like this one, for what may end it. It is opened when it is first needed.
    pub(crate) async fn second(&self) -> Result<Arc<Self>, Error> {
        self.second.get_or_try_init(|| async { Self::open(&self.config).await.map(Arc::new) }).await.cloned()
    }

    /// Sends what is to be sent, and ends the connections.
    pub(crate) async fn drain(&self) {
        for client in self.second.get().map(|second| &second.client).into_iter().chain([&self.client]) {
            if let Err(error) = client.drain().await {
                tracing::debug!(%error, "a connection has ended before");
            }
        }
    }

    /// Whether the server can do what the adapter stands on.
    async fn check(&self, servers: &str) -> Result<(), Error> {
        if !self.client.is_server_compatible(2, 10, 0) {
            let version = self.client.server_info().version;
            let text = format!("the server at {servers} is NATS {version}; the adapter needs 2.10 or newer");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        self.jetstream.query_account().await.map(drop).map_err(|error| {
            let text = format!(
                "the server at {servers} does not offer JetStream to this user; start it with `-js`, or enable it for the account"
            );
            Error::new(ErrorKind::Unsupported, text).with_source(error)
        })
    }

    /// Puts something onto the connection.
    pub(crate) async fn send(&self, subject: Subject, reply: Option<Subject>, payload: Bytes) -> Result<(), Error> {
        let text = "a word to the server did not get onto the connection";
        let sent = async {
            match reply {
                Some(reply) => self.client.publish_with_reply(subject, reply, payload).await,
                None => self.client.publish(subject, payload).await,
            }
        };
        match tokio::time::timeout(self.options.timeout, sent).await {
            Ok(sent) => sent.map_err(|error| failure::of(text, error)),
            // It is full while the connection is down.
            Err(_) => Err(Error::new(ErrorKind::Timeout, text)),
        }
    }

    /// The largest message: what the server takes, with room for names of headers, and for what grows when it is written as text.
    pub(crate) fn max_message(&self) -> usize {
        self.client.server_info().max_payload.saturating_sub(32 << 10)
    }

    /// Whether the server takes headers and payload of these sizes.
    pub(crate) fn takes(&self, headers: usize, payload: usize) -> bool {
        headers <= MAX_HEADERS && headers + payload <= self.client.max_payload()
    }

    /// Whether the server keeps messages until they are due: message schedules, since 2.12.
    pub(crate) fn keeps_schedules(&self) -> bool {
        self.client.is_server_compatible(2, 12, 0)
    }

    /// Whether the server discards a message when its time is over, since 2.11.
    pub(crate) fn lets_expire(&self) -> bool {
        self.client.is_server_compatible(2, 11, 0)
    }

    pub(crate) fn is_up(&self) -> bool {
        *self.up.borrow() % 2 == 1
    }

    pub(crate) fn health(&self) -> Health {
        self.state.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The connection is there, and yet nobody answers.
    pub(crate) fn unwell(&self, why: &str) {
        self.state.failed(why.to_owned());
    }

    /// Somebody answers.
    pub(crate) fn well(&self) {
        if self.is_up() && matches!(self.health(), Health::Down { .. }) {
            self.state.set(Health::Up);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.health() == Health::Closed
    }

    /// Nothing is sent from here on. `false` if it was closed before.
    pub(crate) fn closed(&self) -> bool {
        let first = !self.is_closed();
        self.state.set(Health::Closed);
        first
    }

    /// That the connection is gone, as a subscription says it.
    pub(crate) fn lost(&self) -> Error {
        let servers = self.options.servers.join(", ");
        Error::new(ErrorKind::Connection, format!("the connection to NATS at {servers} is gone; it is opened again by itself"))
    }
}

fn addresses(options: &Options) -> Vec<String> {
    let scheme = if options.tls.is_some() { "tls" } else { "nats" };
    options.servers.iter().map(|server| format!("{scheme}://{server}")).collect()
}

async fn client_options(config: &BrokerConfig, options: &Options, state: &Arc<State>) -> Result<ConnectOptions, Error> {
    let told = Arc::clone(state);
    let mut connect = ConnectOptions::new()
        .name(&config.app)
        .connection_timeout(config.connect_within.min(options.timeout))
        .request_timeout(Some(options.timeout))
        // Two pings without an answer end a connection.
        .ping_interval((options.lease / 2).max(Duration::from_secs(1)))
        .require_tls(options.tls.is_some())
        .reconnect_delay_callback(|attempts| {
            let failures = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
            // Chance is in the state of a fresh backoff.
            let mut backoff = Backoff::new(Duration::from_millis(50).saturating_mul(1 << failures.min(10)), RECONNECT_WITHIN);
            backoff.failed()
        })
        .event_callback(move |event| {
            told.on(&event);
            std::future::ready(())
        });
    match &options.user {
        Some((user, Some(password))) => connect = connect.user_and_password(user.clone(), password.reveal().to_owned()),
        Some((token, None)) => connect = connect.token(token.clone()),
        None => {}
    }
    if let Some(seed) = &options.nkey {
        connect = connect.nkey(seed.reveal().to_owned());
    }
    if let Some(file) = &options.credentials {
        let unreadable = |error| {
            let text = format!("the file of credentials {} cannot be read; correct `credentials` in the URL", file.display());
            Error::new(ErrorKind::Configuration, text).with_source(error)
        };
        connect = connect.credentials_file(file).await.map_err(unreadable)?;
    }
    if let Some(tls) = &options.tls {
        // The client reads them each time that it connects, and says less about it.
        tls.read()?;
        // It panics where a program has two kinds of cryptography and nobody has chosen one.
        if async_nats::rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = async_nats::rustls::crypto::ring::default_provider().install_default();
        }
        if let Some(file) = &tls.ca {
            connect = connect.add_root_certificates(file.clone());
        }
        if let Some((cert, key)) = &tls.identity {
            connect = connect.add_client_certificate(cert.clone(), key.clone());
        }
    }
    Ok(connect)
}

fn refused(options: &Options, error: async_nats::ConnectError) -> Error {
    let servers = options.servers.join(", ");
    let tls = options.tls.clone().unwrap_or(Tls::new("`tls=yes`"));
    if let Some(told) = tls.refused(&format!("NATS at {servers}"), &error) {
        let told = match options.tls {
            Some(_) => told,
            // The server demanded it.
            None => Error::new(
                ErrorKind::Configuration,
                format!(
                    "NATS at {servers} wants TLS, and is not trusted; write `tls=yes&ca=/path/to/ca.pem`, a file in PEM with its authority"
                ),
            ),
        };
        return told.with_source(error);
    }
    let nothing =
        error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>()).is_some_and(|io| io.kind() == ConnectionRefused);
    let (kind, text) = match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => (
            ErrorKind::Unauthorized,
            format!("NATS at {servers} refuses this user; correct user and password, token or credentials in the URL"),
        ),
        ConnectErrorKind::Io | ConnectErrorKind::Tls if options.tls.is_some() && !nothing => {
            (ErrorKind::Connection, format!("NATS at {servers} does not take the connection; {}", tls.perhaps()))
        }
        ConnectErrorKind::TimedOut => {
            (ErrorKind::Timeout, format!("NATS at {servers} does not answer; check the address, and that the server runs"))
        }
        ConnectErrorKind::Dns | ConnectErrorKind::ServerParse => {
            (ErrorKind::Connection, format!("the address of NATS at {servers} is not known; correct the host in the URL"))
        }
        _ => (ErrorKind::Connection, format!("nothing listens at {servers}; start NATS (`nats-server -js`), or correct the URL")),
    };
    Error::new(kind, text).with_source(error)
}

fn silent(servers: &str, within: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("NATS at {servers} did not answer within {within:?}; check the address, and that the server runs"),
    )
}
