//! What becomes of those who wait when the connection does not go on.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use convoke_conformance::Stop;
use convoke_core::broker::{
    Broker, BrokerUrl, EnsureMode, GroupSpec, Health, PublishOutcome, SubscribeSpec, SubscriptionEvent, TopicSpec, Topology,
};
use convoke_core::{Error, ErrorKind, Message, Outgoing};
use convoke_rabbitmq::{Options, RabbitMq};
use convoke_servers::{Kind, Proxy, Server, Side};

const WITHIN: Duration = Duration::from_secs(10);

async fn server() -> Result<Server, Stop> {
    let server = Server::shared(Kind::RabbitMq).await?;
    server.start().await?;
    Ok(server)
}

async fn connect(url: &str) -> Result<RabbitMq, Error> {
    RabbitMq::connect(Options::from_url(&BrokerUrl::parse(url)?)?, "tests", WITHIN).await
}

async fn with_topic(proxy: &Proxy, topic: &str) -> Result<RabbitMq, Stop> {
    let broker = connect(proxy.url()).await?;
    let mut topology = Topology::default();
    topology.topics.push(TopicSpec::new(topic));
    topology.groups.push(GroupSpec::new("all", vec![topic.into()]));
    broker.ensure(&topology, EnsureMode::Create).await?;
    Ok(broker)
}

/// A connection with this option to a topic that is there, and the proxy through which it goes.
async fn opened_with(option: &str, topic: &str) -> Result<(Proxy, RabbitMq), Stop> {
    let proxy = server().await?.proxy().await?;
    with_topic(&proxy, topic).await?.close(WITHIN).await;
    let broker = connect(&format!("{}?{option}", proxy.url())).await?;
    Ok((proxy, broker))
}

async fn publish(broker: &RabbitMq, topic: &str, payload: &str) -> PublishOutcome {
    let message = Message::builder(topic).key("k").payload(payload.to_owned()).build();
    broker.publish(vec![Outgoing::new(message)]).await.pop().unwrap()
}

#[tokio::test]
async fn a_publish_is_answered_soon_after_the_connection_is_cut_and_taken_when_it_is_back() -> Result<(), Stop> {
    let proxy = server().await?.proxy().await?;
    let broker = with_topic(&proxy, "connection.cut").await?;
    assert!(matches!(publish(&broker, "connection.cut", "1").await, PublishOutcome::Confirmed(_)));
    proxy.cut(Duration::from_secs(4)).await;
    let begun = Instant::now();
    let outcome = publish(&broker, "connection.cut", "2").await;
    assert!(matches!(outcome, PublishOutcome::Rejected { retryable: true, .. } | PublishOutcome::Unknown(_)), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(matches!(broker.health(), Health::Down { .. }));
    while !matches!(publish(&broker, "connection.cut", "3").await, PublishOutcome::Confirmed(_)) {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not come back: {:?}", broker.health());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The connection that reads comes back by itself, too.
    while broker.health() != Health::Up {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", broker.health());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    broker.close(WITHIN).await;
    Ok(())
}

#[tokio::test]
async fn a_publish_whose_confirmation_does_not_come_is_unknown_and_never_a_guess() -> Result<(), Stop> {
    let topic = "connection.silence";
    let (proxy, broker) = opened_with("confirm=2s", topic).await?;
    assert!(matches!(publish(&broker, topic, "1").await, PublishOutcome::Confirmed(_)));
    proxy.stall(Side::Answers);
    let begun = Instant::now();
    let outcome = publish(&broker, topic, "2").await;
    assert!(matches!(&outcome, PublishOutcome::Unknown(error) if error.kind() == ErrorKind::Unknown), "{outcome:?}");
    assert!(begun.elapsed() >= Duration::from_secs(2) && begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    proxy.recover();
    Ok(())
}

#[tokio::test]
async fn a_start_that_cannot_be_says_why() -> Result<(), Stop> {
    let server = server().await?;
    for (url, kind, says) in [
        ("amqp://guest:guest@127.0.0.1:1".to_owned(), ErrorKind::Connection, "nothing listens at 127.0.0.1:1"),
        (server.url().replace("guest:guest", "guest:hush"), ErrorKind::Unauthorized, "refuses the user `guest`"),
        (format!("{}/nowhere", server.url()), ErrorKind::Unauthorized, "no virtual host `nowhere`"),
    ] {
        let error = connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
    // Where one server is not there, the next one is asked.
    let two = server.url().replace("@", "@127.0.0.1:1,");
    connect(&two).await?.close(WITHIN).await;
    Ok(())
}

/// What was published is answered for; only the farewell is left, and nobody is there to answer it.
#[tokio::test]
async fn closing_does_not_wait_for_the_farewell_of_a_server_that_says_nothing() -> Result<(), Stop> {
    let topic = "connection.farewell";
    let (proxy, broker) = opened_with("heartbeat=1s", topic).await?;
    assert!(matches!(publish(&broker, topic, "1").await, PublishOutcome::Confirmed(_)));
    proxy.stall(Side::Answers);
    let (begun, within) = (Instant::now(), Duration::from_secs(60));
    let report = broker.close(within).await;
    assert_eq!(report.unconfirmed, 0);
    assert!(begun.elapsed() < within / 4, "{:?}", begun.elapsed());
    proxy.recover();
    Ok(())
}

/// The client would close the channel of a word that is given up before it sends the word, and the server then ends the connection.
#[tokio::test]
async fn a_flood_that_holds_up_what_a_member_says_loses_no_connection() -> Result<(), Stop> {
    let topic = "connection.flood";
    let (proxy, broker) = opened_with("member=1s", topic).await?;
    let mut subscription = broker.subscribe(SubscribeSpec::new("all", vec![topic.into()])).await?;
    let event = poll_fn(|cx| subscription.events.as_mut().poll_next(cx)).await;
    assert!(matches!(event, Some(SubscriptionEvent::Assigned { .. })), "{event:?}");
    assert!(matches!(publish(&broker, topic, "1").await, PublishOutcome::Confirmed(_)));
    proxy.stall(Side::Requests);
    proxy.stall(Side::Answers);
    // More than the system takes in for a wire that stands still.
    let payload = "x".repeat(32 << 10);
    let message = || Message::builder(topic).key("k").payload(payload.clone()).build();
    let published = broker.publish((0..1000).map(|_| Outgoing::new(message())).collect());
    // A member speaks three times in its term.
    let recover = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        proxy.ease(Side::Requests);
        // Until everything is sent, whatever the server says to it.
        tokio::time::sleep(Duration::from_secs(4)).await;
        proxy.recover();
    };
    let (outcomes, ()) = tokio::join!(published, recover);
    let failed = outcomes.iter().find(|outcome| !matches!(outcome, PublishOutcome::Confirmed(_)));
    assert!(failed.is_none(), "{failed:?}");
    broker.close(WITHIN).await;
    Ok(())
}
