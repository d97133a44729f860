//! The conformance suite on a real Redis: killed, frozen, and cut off.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use convoke_conformance::{Foreign, Harness, Stop};
use convoke_core::broker::{Broker, BrokerConfig, BrokerUrl};
use convoke_core::cloudevents::Spelling;
use convoke_core::{Error, ErrorKind};
use convoke_redis::client::{Client, Cmd, FromRedisValue, cmd};
use convoke_servers::{Kind, Proxy, Server};
use tokio::sync::OnceCell;

/// A server of its own for each case that hurts it, and one for all others; a proxy for each.
struct Redis {
    hurts: bool,
    server: OnceCell<Server>,
    proxy: OnceCell<Proxy>,
}

impl Redis {
    fn new(case: &str) -> Self {
        let hurts = ["restart_of_the_server", "frozen_server"].iter().any(|word| case.contains(word));
        Self { hurts, server: OnceCell::new(), proxy: OnceCell::new() }
    }

    async fn server(&self) -> Result<&Server, Stop> {
        let start = || async { if self.hurts { Server::launch(Kind::Redis).await } else { Server::shared(Kind::Redis).await } };
        self.server.get_or_try_init(start).await
    }

    async fn proxy(&self) -> Result<&Proxy, Stop> {
        self.proxy.get_or_try_init(|| async { self.server().await?.proxy().await }).await
    }

    /// Asks the server, past the proxy and the adapter.
    async fn ask<T: FromRedisValue>(&self, question: &Cmd) -> Result<T, Stop> {
        let client = Client::open(self.server().await?.url());
        let answered = async { question.query_async(&mut client?.get_multiplexed_async_connection().await?).await };
        answered.await.map_err(|error| Stop::failed(error.to_string()))
    }
}

#[async_trait]
impl Harness for Redis {
    fn name(&self) -> String {
        "Redis Streams".to_owned()
    }

    async fn open(&self) -> Result<Arc<dyn Broker>, Error> {
        let proxy = self.proxy().await.map_err(|stop| Error::new(ErrorKind::Connection, format!("{stop:?}")))?;
        let url = BrokerUrl::parse(&format!("{}?lease=3s", proxy.url()))?;
        convoke_redis::open(BrokerConfig::new(url, "conformance")).await
    }

    async fn kill(&self) -> Result<(), Stop> {
        self.server().await?.kill().await
    }

    async fn start(&self) -> Result<(), Stop> {
        self.server().await?.start().await
    }

    async fn cut(&self, down: Duration) -> Result<(), Stop> {
        self.proxy().await?.cut(down).await;
        Ok(())
    }

    async fn freeze(&self, down: Duration) -> Result<(), Stop> {
        let server = self.server().await?.clone();
        server.freeze().await?;
        std::thread::spawn(move || {
            std::thread::sleep(down);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(server.thaw()).expect("thawed");
        });
        Ok(())
    }

    /// What trimming by hand does, or a bound that is too tight.
    async fn discard(&self, topic: &str) -> Result<(), Stop> {
        for partition in 0..8 {
            self.ask::<u64>(cmd("XTRIM").arg(format!("{{{topic}}}:{partition}")).arg("MAXLEN").arg(0)).await?;
        }
        Ok(())
    }

    async fn produce_foreign(&self, topic: &str, mut message: Foreign) -> Result<(), Stop> {
        for (name, _) in &mut message.headers {
            *name = Spelling::Underscore.write(name).into_owned();
        }
        let client = self.server().await?.client().await?;
        client.produce(topic, &message).await?;
        // Where somebody reads, a plain message takes its place as soon as it is moved to its partition.
        for _ in 0..50 {
            if self.ask::<u64>(cmd("XLEN").arg(topic)).await? == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn read_all_foreign(&self, topic: &str) -> Result<Vec<Foreign>, Stop> {
        let mut messages = self.server().await?.client().await?.read(topic).await?;
        for message in &mut messages {
            for (name, _) in &mut message.headers {
                *name = Spelling::Underscore.read(name).into_owned();
            }
            message.headers.retain(|(name, _)| name != "ce-partitionkey");
        }
        Ok(messages)
    }
}

/// What this broker does not have, or declares not to need.
const LACKING: [&str; 0] = [];

#[test]
fn redis_keeps_the_delivery_contract() {
    convoke_conformance::run(Redis::new).assert().assert_lacking(&LACKING);
}
