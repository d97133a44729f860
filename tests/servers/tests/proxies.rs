//! The proxy: what it does to connections, and that they are well afterwards.

use std::time::{Duration, Instant};

use convoke_conformance::Foreign;
use convoke_servers::{Client, Kind, Proxy, Server, Side};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);

/// A connection to Redis, which answers `+PONG` to a line.
struct Line(TcpStream);

impl Line {
    async fn to(proxy: &Proxy) -> std::io::Result<Self> {
        Ok(Self(TcpStream::connect(proxy.url().trim_start_matches("redis://")).await?))
    }

    async fn ask(&mut self) -> std::io::Result<()> {
        self.0.write_all(b"PING\r\n").await
    }

    async fn hear(&mut self) -> std::io::Result<()> {
        let mut answer = [0; 7];
        self.0.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"+PONG\r\n");
        Ok(())
    }

    async fn ping(&mut self) -> std::io::Result<()> {
        self.ask().await?;
        self.hear().await
    }
}

async fn proxy() -> Proxy {
    Server::shared(Kind::Redis).await.unwrap().proxy().await.unwrap()
}

#[tokio::test]
async fn a_cut_resets_connections_and_refuses_new_ones_for_its_time() {
    let proxy = proxy().await;
    let mut line = Line::to(&proxy).await.unwrap();
    line.ping().await.unwrap();
    let begun = Instant::now();
    proxy.cut(Duration::from_millis(700)).await;
    let error = timeout(SOON, line.hear()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let refused = Line::to(&proxy).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let again = async {
        loop {
            match Line::to(&proxy).await {
                Ok(line) => break line,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let mut again = timeout(SOON, again).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(700));
    again.ping().await.unwrap();
}

#[tokio::test]
async fn what_is_stalled_arrives_after_all() {
    let proxy = proxy().await;
    for side in [Side::Requests, Side::Answers] {
        let mut line = Line::to(&proxy).await.unwrap();
        line.ping().await.unwrap();
        proxy.stall(side);
        line.ask().await.unwrap();
        assert!(timeout(Duration::from_millis(200), line.hear()).await.is_err(), "nothing gets through: {side:?}");
        proxy.recover();
        timeout(SOON, line.hear()).await.unwrap().unwrap();
        line.ping().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_delayed_arrives_later() {
    let proxy = proxy().await;
    for side in [Side::Requests, Side::Answers] {
        let mut line = Line::to(&proxy).await.unwrap();
        proxy.delay(side, Duration::from_millis(300));
        let begun = Instant::now();
        line.ping().await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(300), "{side:?}");
        proxy.recover();
        line.ping().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_swallowed_is_gone_and_the_connection_with_it() {
    let server = Server::shared(Kind::Redis).await.unwrap();
    let proxy = server.proxy().await.unwrap();
    let mut line = Line::to(&proxy).await.unwrap();
    line.ping().await.unwrap();
    proxy.swallow(Side::Answers);
    line.0.write_all(b"XADD swallowed * data 1\r\n").await.unwrap();
    // The server has it, and nobody hears of it.
    let arrives = async { while server.client().await.unwrap().read("swallowed").await.unwrap().is_empty() {} };
    timeout(SOON, arrives).await.unwrap();
    assert!(timeout(Duration::from_millis(100), line.hear()).await.is_err());
    proxy.recover();
    assert!(timeout(SOON, line.hear()).await.unwrap().is_err(), "what lost something cannot go on");
    Line::to(&proxy).await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn a_proxy_that_is_dropped_lets_nobody_through_and_leaves_its_place() {
    let server = Server::launch(Kind::Redis).await.unwrap();
    for _ in 0..30 {
        let proxy = server.proxy().await.unwrap();
        let mut line = Line::to(&proxy).await.unwrap();
        line.ping().await.unwrap();
        drop(proxy);
        assert!(timeout(SOON, line.hear()).await.unwrap().is_err());
    }
}

/// Brokers of Kafka tell their clients where they are; even so everything leads through the proxy.
#[tokio::test]
async fn no_client_gets_past_a_proxy() {
    for kind in Kind::BROKERS {
        let server = Server::shared(kind).await.unwrap();
        let proxy = server.proxy().await.unwrap();
        let client = Client::start(kind, proxy.url()).await.unwrap();
        let topic = format!("through.{kind}");
        client.ask(&json!({ "do": "create", "topic": topic, "partitions": 1 })).await.unwrap();
        client.produce(&topic, &Foreign::of("one")).await.unwrap();
        assert_eq!(client.read(&topic).await.unwrap().len(), 1, "{kind}");
        proxy.cut(Duration::from_secs(60)).await;
        assert!(client.produce(&topic, &Foreign::of("two")).await.is_err(), "{kind}");
    }
}
