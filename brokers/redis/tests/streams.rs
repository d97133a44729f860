//! What Redis Streams are used for, and what nobody else's words say: keys, plain messages, trimming, schedules, fencing.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use convoke_core::broker::{
    Broker, BrokerConfig, BrokerUrl, EnsureMode, GroupSpec, PublishOutcome, Settle, Settled, Settlement, Start, SubscribeSpec,
    Subscription, SubscriptionEvent, TopicSpec, Topology,
};
use convoke_core::{ErrorKind, Incoming, Key, Message, Outgoing, Position};
use convoke_memory::{Guise, MemoryBroker, Options as MemoryOptions};
use convoke_redis::client::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, cmd};
use convoke_servers::{Kind, Server};

type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

struct Bench {
    server: Server,
    broker: Arc<dyn Broker>,
}

impl Bench {
    async fn new(options: &str) -> Result<Self> {
        let server = Server::launch(Kind::Redis).await.map_err(|stop| format!("{stop:?}"))?;
        let broker = open(&server, options).await?;
        Ok(Self { server, broker })
    }

    async fn ask<T: FromRedisValue>(&self, question: &Cmd) -> Result<T> {
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(20)));
        let mut connection = Client::open(self.server.url())?.get_multiplexed_async_connection_with_config(&patient).await?;
        Ok(question.query_async(&mut connection).await?)
    }

    async fn publish(&self, messages: impl IntoIterator<Item = Message>) -> Result {
        for outcome in self.broker.publish(messages.into_iter().map(Outgoing::new).collect()).await {
            assert!(matches!(outcome, PublishOutcome::Confirmed(_)), "{outcome:?}");
        }
        Ok(())
    }
}

async fn open(server: &Server, options: &str) -> Result<Arc<dyn Broker>> {
    let url = BrokerUrl::parse(&format!("{}?lease=2s{options}", server.url()))?;
    Ok(convoke_redis::open(BrokerConfig::new(url, "streams")).await?)
}

fn topology(topic: &str, groups: &[&str]) -> Topology {
    let mut topology = Topology::default();
    topology.topics.push(TopicSpec::new(topic));
    topology.groups = groups.iter().map(|group| GroupSpec::new(*group, vec![topic.into()])).collect();
    topology
}

fn numbered(topic: &str, key: &str, numbers: std::ops::Range<u32>) -> impl Iterator<Item = Message> {
    numbers.map(move |number| Message::builder(topic.to_owned()).key(key.to_owned()).payload(number.to_string()).build())
}

/// The next messages; `grant` for whatever is assigned.
async fn next(subscription: &mut Subscription, grant: u32) -> Option<Vec<Incoming>> {
    loop {
        let event = poll_fn(|cx| subscription.events.as_mut().poll_next(cx));
        match tokio::time::timeout(Duration::from_secs(20), event).await.expect("something happens")? {
            SubscriptionEvent::Assigned { part, epoch, .. } => subscription.control.grant(part, epoch, grant, 1 << 20),
            SubscriptionEvent::Deliveries(deliveries) => return Some(deliveries.messages),
            _ => {}
        }
    }
}

/// So many messages, in the order in which they came.
async fn take(subscription: &mut Subscription, count: usize) -> Vec<Incoming> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(next(subscription, 1000).await.expect("it goes on"));
    }
    all
}

fn payloads(messages: &[Incoming]) -> Vec<String> {
    messages.iter().map(|incoming| String::from_utf8_lossy(incoming.message.payload()).into_owned()).collect()
}

async fn ack(subscription: &Subscription, messages: &[Incoming]) {
    let batch = messages.iter().map(|incoming| Settlement::new(incoming.token.clone(), Settle::Ack)).collect();
    for settled in subscription.control.settle(batch).await {
        assert!(matches!(settled, Settled::Applied), "{settled:?}");
    }
}

fn counted(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn plain_messages_are_moved_once_to_the_partition_of_their_key_and_keep_their_order() -> Result {
    let bench = Bench::new("").await?;
    bench.broker.ensure(&topology("orders", &["work"]), EnsureMode::Create).await?;
    for number in 0..250 {
        let mut add = cmd("XADD");
        add.arg("orders").arg("*").arg("tenant").arg("acme").arg("ce_partitionkey").arg("ada").arg("data").arg(number);
        bench.ask::<String>(&add).await?;
    }
    // Several that move at the same time: each message is moved once.
    let mut others = Vec::new();
    for _ in 0..3 {
        let other = open(&bench.server, "").await?;
        let mut spec = SubscribeSpec::new("tap", vec!["orders".into()]);
        spec.broadcast = true;
        others.push((other.subscribe(spec).await?, other));
    }
    let mut subscription = bench.broker.subscribe(SubscribeSpec::new("work", vec!["orders".into()])).await?;
    let messages = take(&mut subscription, 250).await;
    assert_eq!(payloads(&messages), counted(0..250));
    let first = &messages[0];
    assert_eq!(first.message.headers().get_str("tenant"), Some("acme"));
    let ada = Key::new("ada");
    assert_eq!((first.message.key(), first.partition), (Some(&ada), ada.partition(8)));
    assert_eq!(bench.ask::<u64>(cmd("XLEN").arg("orders")).await?, 0);
    assert_eq!(bench.ask::<u64>(cmd("XLEN").arg(format!("{{orders}}:{}", ada.partition(8)))).await?, 250);
    ack(&subscription, &messages).await;
    assert!(bench.broker.lag("work", &["orders".into()]).await?.is_zero());
    Ok(())
}

#[tokio::test]
async fn nothing_is_discarded_that_a_group_has_not_read_or_not_settled() -> Result {
    let bench = Bench::new("&keep=0s&partitions=1").await?;
    bench.broker.ensure(&topology("orders", &["fast", "slow"]), EnsureMode::Create).await?;
    bench.publish(numbered("orders", "k", 0..1000)).await?;
    let mut fast = bench.broker.subscribe(SubscribeSpec::new("fast", vec!["orders".into()])).await?;
    let messages = take(&mut fast, 1000).await;
    ack(&fast, &messages).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.ask::<u64>(cmd("XLEN").arg("{orders}:0")).await?, 1000, "`slow` has read nothing");
    let mut slow = bench.broker.subscribe(SubscribeSpec::new("slow", vec!["orders".into()])).await?;
    let messages = take(&mut slow, 1000).await;
    ack(&slow, &messages[..500]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let left = bench.ask::<u64>(cmd("XLEN").arg("{orders}:0")).await?;
    assert!((500..700).contains(&left), "{left} are left: 500 are settled by nobody but `fast`");
    // What is pending is there, and comes again.
    fast.control.close().await;
    slow.control.close().await;
    let mut slow = bench.broker.subscribe(SubscribeSpec::new("slow", vec!["orders".into()])).await?;
    let again = take(&mut slow, 500).await;
    assert_eq!(payloads(&again), counted(500..1000));
    assert!(again.iter().all(|incoming| incoming.deliveries == 2));
    ack(&slow, &again).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let left = bench.ask::<u64>(cmd("XLEN").arg("{orders}:0")).await?;
    assert!(left < 200, "{left} are left of what both have settled");
    Ok(())
}

#[tokio::test]
async fn what_is_scheduled_comes_when_it_is_due_and_not_before() -> Result {
    let bench = Bench::new("").await?;
    bench.broker.ensure(&topology("orders", &["work"]), EnsureMode::Create).await?;
    let mut subscription = bench.broker.subscribe(SubscribeSpec::new("work", vec!["orders".into()])).await?;
    let due = |millis| SystemTime::now() + Duration::from_millis(millis);
    for (number, millis) in [(2, 1500), (1, 500), (0, 0)] {
        let mut outgoing = Outgoing::new(numbered("orders", "k", number..number + 1).next().expect("one"));
        outgoing.deliver_at = (millis > 0).then(|| due(millis));
        assert!(matches!(bench.broker.publish(vec![outgoing]).await[..], [PublishOutcome::Confirmed(_)]));
    }
    let lag = bench.broker.lag("work", &["orders".into()]).await?;
    assert_eq!((lag.backlog.is_some(), lag.delayed), (true, Some(2)));
    let begun = SystemTime::now();
    let mut came = Vec::new();
    for number in 0..3 {
        let messages = take(&mut subscription, 1).await;
        assert_eq!(payloads(&messages), counted(number..number + 1));
        came.push(begun.elapsed()?.as_millis());
        ack(&subscription, &messages).await;
    }
    assert!(came[0] < 400 && (400..1200).contains(&came[1]) && (1400..2200).contains(&came[2]), "{came:?}");
    Ok(())
}

/// An owner whose lease has run out and went to another neither settles nor reads, whatever it believes.
#[tokio::test]
async fn who_lost_its_lease_settles_nothing() -> Result {
    let bench = Bench::new("&partitions=1").await?;
    bench.broker.ensure(&topology("orders", &["work"]), EnsureMode::Create).await?;
    bench.publish(numbered("orders", "k", 0..10)).await?;
    let mut first = bench.broker.subscribe(SubscribeSpec::new("work", vec!["orders".into()])).await?;
    let messages = take(&mut first, 10).await;
    // As if another had taken it: the lease is somebody else's.
    bench.ask::<()>(cmd("SET").arg("{orders}:work:lease:0").arg("somebody:1").arg("PX").arg(1000)).await?;
    let batch = messages.iter().map(|incoming| Settlement::new(incoming.token.clone(), Settle::Ack)).collect();
    let settled = first.control.settle(batch).await;
    assert!(settled.iter().all(|settled| matches!(settled, Settled::Stale)), "{settled:?}");
    let again = take(&mut first, 10).await;
    assert_eq!(payloads(&again), counted(0..10), "they come again, to whoever has it then");
    assert!(again[0].token.epoch > messages[0].token.epoch);
    ack(&first, &again).await;
    // Whoever settles when all is over is answered too.
    first.control.close().await;
    let late = first.control.settle(vec![Settlement::new(again[0].token.clone(), Settle::Ack)]);
    let late = tokio::time::timeout(Duration::from_secs(5), late).await?;
    assert!(!matches!(late[..], [Settled::Applied]), "{late:?}");
    Ok(())
}

/// The connection may break when a partition was taken and nobody heard of it: what the answer said of the last owner is said again.
#[tokio::test]
async fn a_death_is_told_until_the_next_owner_has_heard_of_it() -> Result {
    let bench = Bench::new("&partitions=1").await?;
    bench.broker.ensure(&topology("orders", &["work"]), EnsureMode::Create).await?;
    let of = |what: &str| format!("{{orders}}:work:{what}");
    let run = |code: &str, keys: &[String], arguments: &[&str]| {
        let mut eval = cmd("EVAL");
        eval.arg(include_str!("../src/lua/now.lua").to_owned() + code).arg(keys.len()).arg(keys).arg(arguments);
        eval
    };
    let keys = [of("lease:0"), of("epoch"), of("open"), "{orders}:0".to_owned(), of("due:0")];
    let take = async |me| -> Result<(String, String)> {
        let call = run(include_str!("../src/lua/acquire.lua"), &keys, &[me, "60000", "0", "work"]);
        let (epoch, dead, ..) = bench.ask::<(String, String, String, String)>(&call).await?;
        Ok((format!("{me}:{epoch}"), dead))
    };
    let lives = async |me, token: &str| -> Result {
        let keys = [of("members"), of("news"), of("open"), of("lease:0")];
        bench.ask(&run(include_str!("../src/lua/beat.lua"), &keys, &[me, "60000", token])).await
    };
    let is_gone = async || bench.ask::<()>(cmd("DEL").arg(of("lease:0"))).await;
    assert_eq!(take("ada").await?.1, "", "nobody had it");
    is_gone().await?;
    let (unheard, dead) = take("bob").await?;
    assert_eq!(dead, "ada");
    let (token, dead) = take("bob").await?;
    assert_eq!(dead, "ada", "the answer was lost");
    lives("bob", &unheard).await?;
    assert_eq!(take("bob").await?.1, "ada", "that is the token of the answer that was lost");
    lives("bob", &take("bob").await?.0).await?;
    assert_ne!(token, unheard);
    assert_eq!(take("bob").await?.1, "", "it has heard");
    is_gone().await?;
    assert_eq!(take("cleo").await?.1, "bob");
    is_gone().await?;
    assert_eq!(take("dan").await?.1, "cleo", "who died last");
    Ok(())
}

#[tokio::test]
async fn attempts_deaths_and_delays_are_handed_back_by_the_next_owner() -> Result {
    let bench = Bench::new("&partitions=1").await?;
    bench.broker.ensure(&topology("orders", &["work"]), EnsureMode::Create).await?;
    bench.publish(numbered("orders", "k", 0..4)).await?;
    let spec = || SubscribeSpec::new("work", vec!["orders".into()]);
    let mut first = bench.broker.subscribe(spec()).await?;
    let messages = take(&mut first, 4).await;
    let nack = |attempts, hold| Settle::Nack { delay: Duration::from_secs(2), attempts, hold };
    let settles = [Settle::Mark { deaths: 2 }, nack(3, true), nack(1, false), Settle::Ack];
    let batch = messages.iter().zip(settles).map(|(incoming, settle)| Settlement::new(incoming.token.clone(), settle)).collect();
    assert!(first.control.settle(batch).await.iter().all(|settled| matches!(settled, Settled::Applied)));
    first.control.close().await;
    let mut second = open(&bench.server, "").await?.subscribe(spec()).await?;
    let again = take(&mut second, 2).await;
    assert_eq!(payloads(&again), ["0", "1"], "what waits and may be passed is not there yet");
    assert_eq!((again[0].deaths, again[0].attempts, again[0].due_in), (2, 0, None));
    let wait = again[1].due_in.expect("it waits");
    assert!(again[1].attempts == 3 && wait > Duration::from_millis(500) && wait <= Duration::from_secs(2), "{:?}", again[1]);
    let passed = take(&mut second, 1).await;
    assert_eq!((payloads(&passed), passed[0].attempts), (vec!["2".to_owned()], 1));
    ack(&second, &[again, passed].concat()).await;
    assert_eq!(
        bench.ask::<u64>(cmd("EXISTS").arg("{orders}:work:kept:0").arg("{orders}:work:due:0")).await?,
        0,
        "nothing is left of it"
    );
    Ok(())
}

#[tokio::test]
async fn groups_begin_where_they_are_told_to() -> Result {
    let bench = Bench::new("&partitions=1").await?;
    bench.broker.ensure(&topology("orders", &[]), EnsureMode::Create).await?;
    bench.publish(numbered("orders", "k", 0..3)).await?;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (middle, third) = (SystemTime::now(), {
        let mut reader = bench.broker.subscribe(SubscribeSpec::new("look", vec!["orders".into()])).await?;
        take(&mut reader, 3).await[2].position
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.publish(numbered("orders", "k", 3..6)).await?;
    for (group, start, first) in [("time", Start::Time(middle), 3), ("at", Start::At(third), 2), ("earliest", Start::Earliest, 0)]
    {
        let mut spec = SubscribeSpec::new(group, vec!["orders".into()]);
        spec.start = start;
        let mut subscription = bench.broker.subscribe(spec).await?;
        assert_eq!(payloads(&take(&mut subscription, 6 - first as usize).await), counted(first..6), "{group}");
    }
    let mut spec = SubscribeSpec::new("offset", vec!["orders".into()]);
    spec.start = Start::At(Position::Offset(1));
    assert_eq!(bench.broker.subscribe(spec).await.expect_err("refused").kind(), ErrorKind::Unsupported);
    Ok(())
}

#[tokio::test]
async fn topics_are_checked_listed_and_deleted() -> Result {
    let bench = Bench::new("&partitions=3").await?;
    let missing = bench.broker.ensure(&topology("orders", &["work"]), EnsureMode::Check).await.expect_err("it is not there");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let report = bench.broker.ensure(&topology("orders", &["work"]), EnsureMode::Create).await?;
    assert_eq!((report.created, report.partitions), (vec!["orders".to_owned(), "work".to_owned()], vec![("orders".into(), 3)]));
    assert!(bench.broker.ensure(&topology("orders", &["work"]), EnsureMode::Check).await?.created.is_empty());
    let mut other = topology("orders", &[]);
    other.topics[0].partitions = Some(4);
    let differs = bench.broker.ensure(&other, EnsureMode::Create).await.expect_err("it has 3");
    assert!(differs.to_string().contains("has 3 partitions, not 4"), "{differs}");
    let braces = bench.broker.ensure(&topology("a{b", &[]), EnsureMode::Create).await.expect_err("it has a brace");
    assert_eq!(braces.kind(), ErrorKind::Configuration);
    assert_eq!(bench.broker.topics().await?, [("orders".into(), 3)]);
    let subscription = bench.broker.subscribe(SubscribeSpec::new("work", vec!["orders".into()])).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let read = bench.broker.delete_topic(&"orders".into()).await.expect_err("it is read");
    assert_eq!(read.kind(), ErrorKind::Configuration);
    subscription.control.close().await;
    bench.broker.delete_topic(&"orders".into()).await?;
    assert_eq!(bench.broker.topics().await?, []);
    assert_eq!(bench.ask::<Vec<String>>(cmd("KEYS").arg("*")).await?, Vec::<String>::new(), "nothing is left");
    let outcome = bench.broker.publish(numbered("orders", "k", 0..1).map(Outgoing::new).collect()).await;
    assert!(
        matches!(&outcome[..], [PublishOutcome::Rejected { retryable: false, error }] if error.kind() == ErrorKind::NotFound)
    );
    Ok(())
}

#[tokio::test]
async fn who_cannot_connect_is_told_why_at_once() -> Result {
    let server = Server::launch(Kind::Redis).await.map_err(|stop| format!("{stop:?}"))?;
    let (scheme, host) = server.url().split_once("://").expect("a URL");
    let refused = |url: String, within: u64| async move {
        let mut config = BrokerConfig::new(BrokerUrl::parse(&url).expect("a URL"), "streams");
        config.connect_within = Duration::from_secs(within);
        convoke_redis::open(config).await.map(drop).expect_err("it cannot be opened")
    };
    let wrong = refused(format!("{scheme}://ada:hush@{host}"), 5).await;
    assert_eq!(wrong.kind(), ErrorKind::Unauthorized, "{wrong}");
    assert!(!format!("{wrong:?}").contains("hush"), "{wrong:?}");
    let nobody = refused("redis://127.0.0.1:1".to_owned(), 1).await;
    assert!(nobody.to_string().contains("nothing listens at 127.0.0.1:1"), "{nobody}");
    let (_, second) = (open(&server, "").await?, BrokerUrl::parse(&format!("{scheme}://127.0.0.1:1,{host}"))?);
    convoke_redis::open(BrokerConfig::new(second, "streams")).await?;
    Ok(())
}

/// A partition that nobody has anything from is waited for on the server: who writes to it wakes its owner at once.
#[tokio::test]
async fn a_message_is_there_at_once() -> Result {
    let bench = Bench::new("").await?;
    bench.broker.ensure(&topology("orders", &["work"]), EnsureMode::Create).await?;
    let mut subscription = bench.broker.subscribe(SubscribeSpec::new("work", vec!["orders".into()])).await?;
    let mut took = Vec::new();
    for number in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let begun = std::time::Instant::now();
        bench.publish(numbered("orders", &format!("k{number}"), number..number + 1)).await?;
        let messages = take(&mut subscription, 1).await;
        took.push(begun.elapsed());
        ack(&subscription, &messages).await;
    }
    took.sort_unstable();
    assert!(took[10] < Duration::from_millis(100), "{took:?}");
    Ok(())
}

/// What is tried in the guise is what is there: but for what is measured in time or bytes, and where it is stored.
#[tokio::test]
async fn the_guise_declares_what_redis_declares() -> Result {
    let bench = Bench::new("").await?;
    let guise = MemoryBroker::with(MemoryOptions::default().guise(Guise::Redis))?;
    let (real, guise) = (bench.broker.capabilities().clone(), guise.capabilities().clone());
    let mut same = guise;
    (same.name, same.durability, same.max_message) = (real.name, real.durability, real.max_message);
    assert_eq!(format!("{same:?}"), format!("{real:?}"));
    Ok(())
}
