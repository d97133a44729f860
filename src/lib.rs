//! convoke: event-driven applications in Rust, on the broker of your choice.
//!
//! An application annotates its types and functions, names a broker by a URL, and runs. On every broker the same is promised:
//! nothing lost, nothing stuck, ordered per key, bounded.
//!
//! ```
//! use convoke::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! /// An order was paid.
//! #[event(topic = "orders.paid", key = customer)]
//! #[derive(Debug, Clone, Serialize, Deserialize)]
//! struct OrderPaid { order: u64, customer: String }
//!
//! #[event(topic = "stock.reserved", key = order)]
//! #[derive(Debug, Clone, Serialize, Deserialize)]
//! struct StockReserved { order: u64 }
//!
//! /// What is returned is published, and confirmed, before the input is acknowledged.
//! #[handler(group = "warehouse", concurrency = 16, timeout = "30s", retry(attempts = 5, backoff = "200ms..30s"))]
//! async fn reserve(paid: OrderPaid) -> StockReserved {
//!     StockReserved { order: paid.order }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> TestResult {
//! let app = App::new("shop").from_env()?.start().await?;
//! app.publisher().publish(&OrderPaid { order: 7, customer: "ada".into() }).await?;
//! app.settled().await;
//! assert!(app.drain().await.clean);
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! Without any feature, convoke is 34 crates, its own included; with the defaults it is 41. How many a feature adds to the defaults, or
//! would take from them, is its cost.
//!
//! | feature | default | crates | what it brings |
//! |---|---|---:|---|
//! | `json` | yes | 4 | the JSON codec, and the default codec of events |
//! | `msgpack` | no | 4 | the MessagePack codec |
//! | `cbor` | no | 1 | the CBOR codec |
//! | `protobuf` | no | 1 | the Protocol Buffers codec, for types of `prost`; without `protoc` |
//! | `macros` | yes | 2 | `#[event]`, `#[handler]`, `#[convoke::test]` |
//! | `memory` | yes | 1 | the embedded broker, `memory://` |
//! | `kafka` | no | 29 | Apache Kafka, `kafka://` |
//! | `kafka-tls` | no | 30 | the same with TLS and SCRAM |
//! | `redis` | no | 44 | Redis Streams, `redis://` |
//! | `redis-tls` | no | 59 | the same with TLS, `rediss://` |
//! | `nats` | no | 106 | NATS JetStream, `nats://` |
//! | `rabbitmq` | no | 133 | RabbitMQ, `amqp://` and `amqps://` |
//! | `config` | no | 5 | configuration files: `App::config_file`, `CONVOKE_CONFIG` |
//! | `redrive` | no | 0 | dead letters from code, in `convoke::dead`: looked at, sent back, thrown away; the command-line tool has it |
//! | `schema` | no | 4 | the schemas of payloads in `App::describe` and in lock files, for types that derive `schemars::JsonSchema` |
//! | `testkit` | yes | 0 | `TestApp` and virtual time |

mod brokers;

#[cfg(feature = "cbor")]
pub use convoke_core::Cbor;
#[cfg(feature = "json")]
pub use convoke_core::Json;
#[cfg(feature = "msgpack")]
pub use convoke_core::MsgPack;
#[cfg(feature = "protobuf")]
pub use convoke_core::Protobuf;
pub use convoke_core::{
    Accepted, Batch, BatchItem, BatchOptions, BatchReply, BoxError, BoxFuture, BoxHandler, Claim, ClaimStore, Claimed, Claims,
    Class, Classified, Classify, Codec, DeadReason, DecodeError, Delivered, Delivery, Entry, Epoch, Error, ErrorKind, Event,
    EventDef, FromDelivery, GenericDef, HandlerContext, HandlerDef, HandlerError, HandlerOptions, HeaderMatch, HeaderName,
    Headers, Holder, Incoming, IntoKey, IntoOutgoing, IntoReply, Key, Location, Message, MessageBuilder, Meta, OnRetry, Order,
    Outcome, Outgoing, PartId, Position, Publish, PublishSink, Publisher, Raw, Receipt, Recognised, Registry, Rejected,
    Rejection, Reply, RetryOptions, Signature, StartAt, State, StateMap, Topic, TopicPattern, TypeInfo, Verdict, Word, after,
    broker, class_of, cloudevents, decode, decode_older, encode, essence, handler_fn, names, permanent, transient, unavailable,
};
#[cfg(feature = "kafka")]
#[doc(inline)]
pub use convoke_kafka as kafka;
#[doc(inline)]
pub use convoke_layers as layers;
#[cfg(all(feature = "macros", feature = "testkit"))]
pub use convoke_macros::test;
#[cfg(feature = "macros")]
pub use convoke_macros::{event, handler, handlers};
#[cfg(feature = "memory")]
#[doc(inline)]
pub use convoke_memory as memory;
#[cfg(feature = "nats")]
#[doc(no_inline)]
pub use convoke_nats as nats;
#[cfg(feature = "rabbitmq")]
#[doc(no_inline)]
pub use convoke_rabbitmq as rabbitmq;
#[cfg(feature = "redis")]
#[doc(no_inline)]
pub use convoke_redis as redis;
#[doc(inline)]
#[cfg(feature = "redrive")]
pub use convoke_runtime::dead;
#[cfg(feature = "testkit")]
pub use convoke_runtime::testkit::{ByHand, Events, MakeApp, Settled, TEST_BROKER_VARIABLE, TestApp, TestResult};
pub use convoke_runtime::{
    App, AppHandle, AppStatus, BROKER_VARIABLE, BrokerSource, CONFIG_VARIABLE, DEFAULT_URL, DESCRIBE_VARIABLE, Description,
    DrainReport, End, EventDescription, ExpectedHandlers, GROUPS_VARIABLE, HandlerDescription, HandlerRef, HandlerStatus,
    Happening, Observer, OnGap, ReadyApp, RunningSubscription, STALLED, StopReason, Stopped, Subscribe, TOPICS_VARIABLE,
    UnknownEvents, What,
};

/// What most programs use: `use convoke::prelude::*;`.
pub mod prelude {
    pub use convoke_core::{
        Batch, BatchReply, BoxError, Class, Classify, Event, Message, Meta, Outcome, Publisher, State, after, permanent,
        transient, unavailable,
    };
    #[cfg(feature = "macros")]
    pub use convoke_macros::{event, handler, handlers};
    #[cfg(feature = "testkit")]
    pub use convoke_runtime::testkit::{TestApp, TestResult};
    pub use convoke_runtime::{App, AppHandle};
}

/// What generated code names. Not public API: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::brokers::native;
    pub use convoke_core::__private::*;
    pub use convoke_core::*;
    pub use convoke_runtime::App;
    #[cfg(feature = "testkit")]
    pub use convoke_runtime::testkit;
}
