//! What every adapter promises of servers that let in only some, that speak TLS, and of several in a URL. An adapter's tests are calls of
//! these.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_core::broker::{
    Broker, BrokerConfig, BrokerUrl, Commit, EnsureMode, GroupSpec, OpenBroker, Progress, PublishOutcome, Settle, SettleBy,
    Settled, Settlement, SubscribeSpec, SubscriptionEvent, TopicSpec, Topology,
};
use convoke_core::{Error, ErrorKind, Message, Outgoing};

use crate::logs::logs;
use crate::{Kind, Server};

/// With all that means something in a URL.
const PASSWORD: &str = "p@ss:w/rd%";
const ENCODED: &str = "p%40ss%3Aw%2Frd%25";
/// For what cannot be: whoever waits until it is over does so in silence.
const LONG: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(30);

async fn open(with: OpenBroker, url: &str, within: Duration) -> Result<Arc<dyn Broker>, Error> {
    let mut config = BrokerConfig::new(BrokerUrl::parse(url)?, "secured");
    config.connect_within = within;
    with(config).await
}

/// A message goes there, is read, and is acknowledged.
async fn works(with: OpenBroker, url: &str) {
    let broker = open(with, url, BrokerConfig::new(BrokerUrl::parse(url).unwrap(), "").connect_within).await;
    let broker = broker.unwrap_or_else(|error| panic!("{url}: {error:?}"));
    let topic = format!("secured.n{:x}", now());
    let mut topology = Topology::default();
    topology.topics.push(TopicSpec::new(topic.as_str()));
    topology.groups.push(GroupSpec::new("all", vec![topic.as_str().into()]));
    broker.ensure(&topology, EnsureMode::Create).await.unwrap();
    let message = Message::builder(topic.as_str()).key("k").payload("seen").build();
    let outcome = broker.publish(vec![Outgoing::new(message)]).await.pop();
    assert!(matches!(outcome, Some(PublishOutcome::Confirmed(_))), "{outcome:?}");
    let mut read = broker.subscribe(SubscribeSpec::new("all", vec![topic.as_str().into()])).await.unwrap();
    let seen = async {
        loop {
            match poll_fn(|cx| read.events.as_mut().poll_next(cx)).await.expect("it goes on") {
                SubscriptionEvent::Assigned { part, epoch, .. } => read.control.grant(part, epoch, 1, u64::MAX),
                SubscriptionEvent::Deliveries(deliveries) => break deliveries.messages,
                _ => {}
            }
        }
    };
    let seen = tokio::time::timeout(LONG, seen).await.expect("it is delivered");
    assert_eq!(&**seen[0].message.payload(), b"seen");
    let token = seen[0].token.clone();
    let settled = match broker.capabilities().settle {
        SettleBy::Watermark => {
            let commit = Commit::new(token.part, token.epoch, token.position.next(), Progress::default());
            read.control.commit(vec![commit]).await
        }
        _ => read.control.settle(vec![Settlement::new(token, Settle::Ack)]).await,
    };
    assert!(matches!(settled[..], [Settled::Applied]), "{settled:?}");
    read.control.close().await;
    broker.close(SOON).await;
}

/// Names of one test are nobody else's.
fn now() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos()
}

/// There is no connection, which is told soon, by an error of this kind that says all of this.
async fn refused(with: OpenBroker, url: &str, kind: ErrorKind, says: &[&str]) -> Error {
    let begun = Instant::now();
    let Err(error) = open(with, url, LONG).await else { panic!("{url} is let in") };
    assert!(begun.elapsed() < SOON, "{url}: it took {:?}: {error:?}", begun.elapsed());
    assert_eq!(error.kind(), kind, "{url}: {error:?}");
    assert!(says.iter().all(|says| error.to_string().contains(says)), "{url}: has to say {says:?}: {error:?}");
    keeps_secrets(&format!("{error}\n{error:?}"));
    error
}

fn keeps_secrets(text: &str) {
    for secret in [PASSWORD, ENCODED, "wr0ng"] {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "a password is shown: {line:?}");
    }
}

/// The right password opens a server, a wrong or missing one gets an error that says so and comes soon; and no password is shown, neither
/// by errors nor in any log.
///
/// # Panics
/// If it is not so.
pub async fn passwords(kind: Kind, with: OpenBroker) {
    logs();
    let server = Server::launch_with(kind, &[("PASSWORD", PASSWORD)]).await.unwrap();
    let url = server.url();
    assert!(url.contains(ENCODED), "{url}");
    works(with, url).await;
    refused(with, &url.replace(ENCODED, "wr0ng"), ErrorKind::Unauthorized, &["user", "password", "URL"]).await;
    refused(with, &url.replace(&format!("ada:{ENCODED}@"), ""), ErrorKind::Unauthorized, &["user", "password", "URL"]).await;
    keeps_secrets(&format!("{:?} {}", BrokerUrl::parse(url).unwrap(), BrokerUrl::parse(url).unwrap()));
    let logs = logs();
    assert!(logs.contains("convoke"), "it is logged what is done: {logs}");
    keeps_secrets(&logs);
}

/// The first server of a URL may be dead: nothing listens, or what listens says nothing.
///
/// # Panics
/// If no connection comes about.
pub async fn several(kind: Kind, with: OpenBroker) {
    let server = Server::shared(kind).await.unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for dead in [gone, silent.local_addr().unwrap()] {
        works(with, &server.url().replacen("127.0.0.1", &format!("{dead},127.0.0.1"), 1)).await;
    }
}

/// A server that speaks TLS is reached by who knows its authority, and nobody else; what is wrong is told soon, and with the option.
///
/// # Panics
/// If it is not so.
pub async fn tls(kind: Kind, with: OpenBroker) {
    let server = Server::launch_with(kind, &[("TLS", "yes"), ("PASSWORD", PASSWORD)]).await.unwrap();
    let url = server.url();
    works(with, url).await;
    let (without, ca) = url.split_once("ca=").unwrap();
    let configuration = ErrorKind::Configuration;
    refused(with, without, configuration, &["127.0.0.1", "authority that nobody here knows", "`ca="]).await;
    let stranger = url.replace("/ca.pem", "/stranger.pem");
    refused(with, &stranger, configuration, &["127.0.0.1", "not in the file that `ca` names"]).await;
    refused(with, &format!("{url}.not"), configuration, &["cannot be read", "`ca`", ca]).await;
    refused(with, &url.replace("/ca.pem", "/ca.key"), configuration, &["is not PEM", "`ca`"]).await;
    let plain = without.trim_end_matches('?').replace("?tls=yes&", "").replace("rediss:", "redis:").replace("amqps:", "amqp:");
    let (asked, error) = match kind {
        Kind::Redis => ("`rediss://`", ErrorKind::Connection),
        Kind::RabbitMq => ("`amqps://`", ErrorKind::Connection),
        // What the server says first is not secret, and says that it wants TLS.
        Kind::Nats => ("`tls=yes&ca=", configuration),
        _ => ("`tls=yes`", ErrorKind::Connection),
    };
    not_in_time(with, &plain, error, asked).await;
}

/// It may be only for now, and is tried again; but when its time is over, it is told what may be wrong.
async fn not_in_time(with: OpenBroker, url: &str, kind: ErrorKind, says: &str) {
    let begun = Instant::now();
    let Err(error) = open(with, url, Duration::from_secs(3)).await else { panic!("{url} is let in") };
    assert!(begun.elapsed() < SOON, "{url}: it took {:?}: {error:?}", begun.elapsed());
    assert!(error.kind() == kind && error.to_string().contains(says), "{url}: has to say {says}: {error:?}");
    keeps_secrets(&format!("{error}\n{error:?}"));
}

/// Where a server speaks no TLS, who asks for it learns that.
///
/// # Panics
/// If it is not so.
pub async fn no_tls(kind: Kind, with: OpenBroker) {
    let plain = Server::shared(kind).await.unwrap();
    let url = match kind {
        Kind::Kafka | Kind::Nats => format!("{}?tls=yes", plain.url()),
        _ => plain.url().replacen("://", "s://", 1),
    };
    match kind {
        // It waits for more of what it does not understand.
        Kind::Redis => {
            not_in_time(with, &url, ErrorKind::Connection, "perhaps it speaks no TLS, which `rediss://` asks for").await
        }
        // A server that is about to stop hangs up as this one does.
        Kind::Kafka => not_in_time(with, &url, ErrorKind::Connection, "perhaps it speaks no TLS, which `tls=yes` asks for").await,
        _ => drop(refused(with, &url, ErrorKind::Configuration, &["127.0.0.1", "does not speak TLS"]).await),
    }
}

/// A server that knows its clients by certificates lets in who has one.
///
/// # Panics
/// If it is not so.
pub async fn certificates(kind: Kind, with: OpenBroker) {
    let server = Server::launch_with(kind, &[("TLS", "mutual")]).await.unwrap();
    let url = server.url();
    let file = |name: &str| url.split_once("ca=").unwrap().1.replace("ca.pem", name);
    works(with, &format!("{url}&cert={}&key={}", file("client.pem"), file("client.key"))).await;
    let other = format!("{url}&cert={}&key={}", file("stranger.pem"), file("stranger.key"));
    for (url, says) in
        [(url, "lets in only clients with a certificate"), (&other, "does not accept the certificate that `cert` names")]
    {
        let Err(error) = open(with, url, Duration::from_secs(3)).await else { panic!("{url} is let in") };
        // The server says so and hangs up at once: what it said may be lost.
        assert!(matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Connection), "{url}: {error:?}");
        assert!(error.to_string().contains(says), "{url}: has to say {says}: {error:?}");
    }
}
