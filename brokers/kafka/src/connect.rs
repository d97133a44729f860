//! The first connection: bounded, and clear when it fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_broker_common::Tls;
use convoke_core::{Error, ErrorKind};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::client::{Link, Plain};
use crate::config;
use crate::options::Options;
use crate::stranded::{self, Answer};

/// How long one question waits: what the client says of itself is looked at in between.
const STEP: Duration = Duration::from_millis(500);

/// What was learnt of the cluster.
pub(crate) struct Cluster {
    pub(crate) client: BaseConsumer<Plain>,
    pub(crate) brokers: usize,
    /// One of them.
    pub(crate) id: i32,
}

/// Connects, within a time. Blocks.
pub(crate) fn connect(options: &Options, app: &str, link: &Arc<Link>, within: Duration) -> Result<Cluster, Error> {
    config::check(options)?;
    // librdkafka says no more than that it could not.
    options.tls.as_ref().map(Tls::read).transpose()?;
    let mut config = config::asking(options, app, None);
    config.set("log.connection.close", "true");
    let client: BaseConsumer<Plain> =
        config.create_with_context(Plain(Arc::clone(link))).map_err(|error| config::refused(&error))?;
    let deadline = Instant::now() + within;
    loop {
        match stranded::ask(client.client(), STEP) {
            Answer::Servers(brokers, id) => {
                link.up();
                return Ok(Cluster { client, brokers, id });
            }
            // It knows no others that it could forget.
            Answer::Nobody if Instant::now() < deadline => std::thread::sleep(STEP / 10),
            Answer::Nobody => return Err(unreachable(options, "it says that there is no server")),
            Answer::Unreachable(error) | Answer::Silence(error) => {
                // Its words wait in a queue.
                drop(client.poll(Duration::from_millis(50)));
                let (reason, refused) = link.said();
                if options.user.is_none() && link.is_hung_up() {
                    return Err(unauthorized(options, &reason));
                }
                if let Some(refused) = refused {
                    let because = if options.user.is_some() { unauthorized } else { unreachable };
                    return Err(because(options, &refused));
                }
                if Instant::now() >= deadline {
                    let reason = if reason.is_empty() { error } else { reason };
                    return Err(unreachable(options, &reason));
                }
            }
        }
    }
}

/// What a broker keeps with a commit, unless its settings say otherwise, or cannot be read.
const METADATA: usize = 4096;

/// How many characters the text of a commit may have.
pub(crate) async fn metadata_limit(options: &Options, app: &str, link: &Arc<Link>, broker: i32) -> Result<usize, Error> {
    let config = config::asking(options, app, None);
    let admin: AdminClient<Plain> =
        config.create_with_context(Plain(Arc::clone(link))).map_err(|error| config::refused(&error))?;
    let patience = AdminOptions::new().request_timeout(Some(Duration::from_secs(3)));
    let said = admin.describe_configs(&[ResourceSpecifier::Broker(broker)], &patience).await;
    // Its thread is waited for.
    drop(tokio::task::spawn_blocking(move || drop(admin)));
    let settings = said.ok().and_then(|all| all.into_iter().next()).and_then(Result::ok);
    let limit = settings.as_ref().and_then(|all| all.get("offset.metadata.max.bytes")?.value.as_deref()?.parse().ok());
    Ok(limit.unwrap_or(METADATA))
}

/// What it means if it is about TLS.
fn untrusted(options: &Options, reason: &str) -> Option<Error> {
    let said = Said(reason.to_owned());
    let told = options.tls.as_ref()?.refused(&format!("Kafka at {}", options.servers), &said)?;
    Some(told.with_source(said))
}

fn unauthorized(options: &Options, reason: &str) -> Error {
    if let Some(told) = untrusted(options, reason) {
        return told;
    }
    let who = match &options.user {
        Some((user, _)) => {
            format!("the Kafka servers at {} refuse the user `{user}`; correct user and password in the URL", options.servers)
        }
        None => format!(
            "the Kafka servers at {} want to know who connects; name a user with a password in the URL: `kafka://user:password@host`",
            options.servers
        ),
    };
    Error::new(ErrorKind::Unauthorized, who).with_source(Said(reason.to_owned()))
}

fn unreachable(options: &Options, reason: &str) -> Error {
    if let Some(told) = untrusted(options, reason) {
        return told;
    }
    let text = if reason.contains("refused") {
        format!("nothing listens at {}; start Kafka there, or correct the URL", options.servers)
    } else if reason.contains("resolve") {
        format!("the name of a server in {} is not known; correct the URL", options.servers)
    } else {
        let perhaps = options.tls.as_ref().map_or_else(|| "perhaps it speaks TLS: write `tls=yes`".to_owned(), Tls::perhaps);
        format!("no Kafka server answers at {}; see that it is one; {perhaps}", options.servers)
    };
    Error::new(ErrorKind::Connection, text).with_source(Said(reason.to_owned()))
}

/// What librdkafka said.
#[derive(Debug)]
struct Said(String);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Said {}
