//! Making a connection, and what the server says of itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use convoke_core::broker::Durability;
use convoke_core::{Error, ErrorKind};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, Value, cmd};

use crate::failure;
use crate::options::Options;
use crate::reply::{list, text};
use crate::script;

/// Beyond what a read may wait for.
const MARGIN: Duration = Duration::from_secs(2);

/// What a server says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) version: String,
    pub(crate) durability: Durability,
    persistence: String,
    eviction: String,
}

impl Server {
    /// Says in the log what it means for messages.
    pub(crate) fn tell(&self, options: &Options) {
        let Self { version, persistence, eviction, .. } = self;
        tracing::info!(version, persistence, keep = ?options.keep, "connected to Redis");
        if self.durability == Durability::Memory {
            tracing::warn!("Redis stores nothing on disk: a restart loses every message; turn `appendonly` on");
        }
        if eviction.starts_with("allkeys") {
            tracing::warn!(
                eviction,
                "Redis evicts keys when its memory is full, streams included: set `maxmemory-policy noeviction`"
            );
        }
    }
}

/// Tries the servers in turn, from the one at this place on, and says which it was.
async fn connect_from(
    options: &Options,
    app: &str,
    place: &AtomicUsize,
    response: Duration,
) -> Result<(MultiplexedConnection, Server), Error> {
    let (mut first, count) = (None, options.servers.len());
    let from = place.load(Relaxed);
    for at in (from..from + count).map(|at| at % count) {
        match connect_to(options, &options.servers[at], app, response).await {
            Ok(connected) => {
                place.store(at, Relaxed);
                return Ok(connected);
            }
            Err(error) => first = Some(first.unwrap_or(error)),
        }
    }
    Err(first.unwrap_or_else(|| Error::new(ErrorKind::InvalidUrl, "the URL names no server of Redis")))
}

/// Connects to the first server that will do, beginning with the one at this place.
pub(crate) async fn connect(options: &Options, app: &str, place: &AtomicUsize) -> Result<(MultiplexedConnection, Server), Error> {
    connect_from(options, app, place, options.timeout).await
}

/// A connection whose answers may take as long as `blocks`, and its id.
pub(crate) async fn connect_for_waiting(
    options: &Options,
    app: &str,
    place: &AtomicUsize,
    blocks: Duration,
) -> Result<(MultiplexedConnection, i64), Error> {
    let (mut connection, _) = connect_from(options, app, place, blocks + MARGIN.max(options.timeout)).await?;
    let id: i64 = cmd("CLIENT").arg("ID").query_async(&mut connection).await.unwrap_or(0);
    Ok((connection, id))
}

fn client(options: &Options, server: &str) -> Result<Client, Error> {
    let invalid = |error: redis::RedisError| {
        Error::new(ErrorKind::InvalidUrl, format!("`{server}` cannot be connected to")).with_source(error)
    };
    let (host, port) = server.rsplit_once(':').unwrap_or((server, "6379"));
    let (host, port) = (host.trim_matches(['[', ']']).to_owned(), port.parse().unwrap_or(6379));
    let mut settings = RedisConnectionInfo::default().set_db(options.database);
    if let Some((user, password)) = options.user() {
        if !user.is_empty() {
            settings = settings.set_username(user);
        }
        settings = settings.set_password(password.unwrap_or_default());
    }
    let address = match options.tls() {
        None => ConnectionAddr::Tcp(host, port),
        Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
    };
    let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
    let info: ConnectionInfo =
        address.into_connection_info().map_err(invalid)?.set_redis_settings(settings).set_tcp_settings(tcp);
    #[cfg(feature = "tls")]
    if let Some(tls) = options.tls() {
        return Client::build_with_tls(info, certificates(tls)?).map_err(invalid);
    }
    Client::open(info).map_err(invalid)
}

#[cfg(feature = "tls")]
fn certificates(tls: &convoke_broker_common::Tls) -> Result<redis::TlsCertificates, Error> {
    let files = tls.read()?;
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let client_tls = files.identity.map(|(client_cert, client_key)| redis::ClientTlsConfig { client_cert, client_key });
    Ok(redis::TlsCertificates { client_tls, root_cert: files.ca })
}

async fn connect_to(
    options: &Options,
    server: &str,
    app: &str,
    response: Duration,
) -> Result<(MultiplexedConnection, Server), Error> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(options.timeout))
        .set_response_timeout(Some(response))
        .set_pipeline_buffer_size(1024);
    let unreachable = |error: redis::RedisError| {
        if failure::is_said(&error) && !failure::passes(&error) {
            return failure::refused(&format!("Redis at {server} cannot be used"), &error);
        }
        if let Some(told) = options.tls().and_then(|tls| tls.refused(&format!("Redis at {server}"), &error)) {
            return told.with_source(error);
        }
        let text = match error.is_connection_refusal() {
            true => format!("nothing listens at {server}; is Redis running there?"),
            false => format!("no connection to Redis at {server}; is Redis running there? Or {}", options.perhaps()),
        };
        Error::new(ErrorKind::Connection, text).with_source(error)
    };
    let asked = async {
        let mut connection =
            client(options, server)?.get_multiplexed_async_connection_with_config(&config).await.map_err(unreachable)?;
        let mut hello = redis::pipe();
        hello.cmd("INFO").arg("server");
        hello.cmd("INFO").arg("replication");
        hello.cmd("INFO").arg("cluster");
        hello.cmd("INFO").arg("persistence");
        hello.cmd("CONFIG").arg("GET").arg("appendfsync");
        hello.cmd("CONFIG").arg("GET").arg("save");
        hello.cmd("CONFIG").arg("GET").arg("maxmemory-policy");
        hello.cmd("CLIENT").arg("SETNAME").arg(app.replace(|c: char| !c.is_ascii_graphic(), "-"));
        let informs = hello.len();
        for load in script::load() {
            hello.add_command(load);
        }
        let answers: Vec<redis::RedisResult<Value>> =
            hello.ignore_errors().query_async(&mut connection).await.map_err(unreachable)?;
        let (informed, loaded) = answers.split_at(informs);
        if let Some(Err(error)) = loaded.iter().find(|answer| answer.is_err()) {
            return Err(unreachable(error.clone()));
        }
        let server = judge(server, informed)?;
        Ok((connection, server))
    };
    let timeout = options.timeout * 2;
    tokio::time::timeout(timeout, asked).await.map_err(|_| late(options, server, timeout))?
}

pub(crate) fn late(options: &Options, servers: &str, within: Duration) -> Error {
    let text =
        format!("Redis at {servers} does not answer within {within:?}; is it Redis, and reachable? Or {}", options.perhaps());
    Error::new(ErrorKind::Connection, text)
}

/// Whether such a server will do, and what it does with what it is given.
fn judge(address: &str, answers: &[redis::RedisResult<Value>]) -> Result<Server, Error> {
    // What may not be asked is not known.
    let mut lines = HashMap::new();
    for answer in answers.iter().take(4).flatten() {
        for line in text(answer.clone()).lines() {
            if let Some((name, value)) = line.split_once(':') {
                lines.insert(name.to_owned(), value.trim().to_owned());
            }
        }
    }
    let said = |name: &str| lines.get(name).map_or("", String::as_str);
    let configured = |index: usize| {
        let answer = answers.get(index)?.as_ref().ok()?;
        list(answer.clone()).nth(1).map(text)
    };
    let version = said("redis_version").to_owned();
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major < 7) {
        let text = format!("Redis at {address} is version {version}; version 7.0 or later is needed");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    if said("cluster_enabled") == "1" {
        let text = format!(
            "Redis at {address} is a node of a cluster, which this version does not speak to; use a server, or a primary with \
             replicas"
        );
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    if matches!(said("role"), "slave" | "replica") {
        let text = format!("Redis at {address} is a replica; name the primary in the URL as well");
        return Err(Error::new(ErrorKind::Connection, text));
    }
    let (aof, fsync, save) = (said("aof_enabled") == "1", configured(4), configured(5));
    let (durability, persistence) = match (aof, fsync.as_deref(), save.as_deref()) {
        (true, Some("always"), _) => (Durability::Stored, "appendonly, appendfsync always".to_owned()),
        (true, fsync, _) => (Durability::Accepted, format!("appendonly, appendfsync {}", fsync.unwrap_or("not known"))),
        (false, _, Some("")) => (Durability::Memory, "none".to_owned()),
        (false, _, _) => (Durability::Accepted, "snapshots".to_owned()),
    };
    Ok(Server { version, durability, persistence, eviction: configured(6).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(server: &str, rest: [&str; 3]) -> Vec<redis::RedisResult<Value>> {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let empty = || Ok(bulk(""));
        let mut answers = vec![Ok(bulk(server)), empty(), empty(), empty()];
        answers.extend(rest.map(|value| Ok(Value::Array(vec![bulk("name"), bulk(value)]))));
        answers
    }

    #[test]
    fn what_a_server_stores_is_told() {
        for (info, rest, durability) in [
            ("redis_version:7.0.15\r\naof_enabled:1", ["always", "", "noeviction"], Durability::Stored),
            ("redis_version:7.0.15\r\naof_enabled:1", ["everysec", "", "noeviction"], Durability::Accepted),
            ("redis_version:8.0.2\r\naof_enabled:0", ["everysec", "3600 1", "noeviction"], Durability::Accepted),
            ("redis_version:8.0.2\r\naof_enabled:0", ["everysec", "", "noeviction"], Durability::Memory),
        ] {
            assert_eq!(judge("a:1", &answers(info, rest)).unwrap().durability, durability, "{info} {rest:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_reason() {
        for (info, says, retryable) in [
            ("redis_version:6.2.1", "7.0 or later", false),
            ("redis_version:7.2.1\r\ncluster_enabled:1", "cluster", false),
            ("redis_version:7.2.1\r\nrole:slave", "replica", true),
        ] {
            let error = judge("a:1", &answers(info, ["always", "", ""])).unwrap_err();
            assert!(error.to_string().contains(says) && error.is_retryable() == retryable, "{error}");
        }
    }
}
