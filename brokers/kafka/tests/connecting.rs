//! The first connection, and what it says when there is none.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use convoke_core::ErrorKind;
use convoke_core::broker::{BrokerConfig, BrokerUrl};
use convoke_kafka::Kafka;

async fn refused(url: &str) -> convoke_core::Error {
    let mut config = BrokerConfig::new(BrokerUrl::parse(url).unwrap(), "test");
    config.connect_within = Duration::from_secs(2);
    let begun = Instant::now();
    let error = Kafka::connect(&config).await.expect_err("no connection");
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    error
}

#[tokio::test]
async fn where_nothing_listens_the_error_says_so() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = refused(&format!("kafka://ada:hush@127.0.0.1:{free}")).await;
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(error.to_string().starts_with(&format!("nothing listens at 127.0.0.1:{free}")), "{error}");
    assert!(!format!("{error:?}").contains("hush"), "{error:?}");
}

#[tokio::test]
async fn where_something_else_listens_the_error_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = refused(&format!("kafka://{}", listener.local_addr().unwrap())).await;
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(error.to_string().contains("no Kafka server answers at"), "{error}");
}

#[tokio::test]
async fn a_setting_that_librdkafka_does_not_know_is_refused_without_its_value() {
    let error = refused("kafka://127.0.0.1:1?producer.lingre.ms=hush").await;
    assert_eq!(error.kind(), ErrorKind::InvalidUrl);
    assert!(error.to_string().contains("`lingre.ms`") && !format!("{error:?}").contains("hush"), "{error:?}");
}
