//! The contract of convoke: what applications, layers, codecs, brokers and the runtime agree on.
//!
//! Applications use the `convoke` crate, which re-exports what they need. This crate is for authors of adapters, codecs and
//! layers; it has no runtime and no client, and everything else stands on it.
//!
//! - What travels: [`Message`], [`Headers`], [`Key`], [`Position`]; [`names`] and [`cloudevents`] for what stands in headers.
//! - What an application declares: [`Event`], [`HandlerDef`], [`Registry`].
//! - What a handler is given and gives: [`Delivery`], [`FromDelivery`] and its extractors; [`Outcome`], [`IntoReply`],
//!   [`Classify`].
//! - What wraps it: [`BoxHandler`], a `tower` service.
//! - What carries it: [`broker`].

mod argument;
pub mod broker;
mod claim;
mod classify;
pub mod cloudevents;
mod codec;
mod delivery;
mod error;
mod escape;
mod event;
mod extract;
#[doc(hidden)]
pub mod few;
mod handler;
mod headers;
mod join;
mod key;
mod message;
pub mod names;
mod outcome;
mod pattern;
mod position;
mod publish;
mod registry;
mod reply;
mod schema;
mod service;
mod upcast;

pub use claim::{Claim, ClaimStore, Claimed, Claims, Holder, Word};
pub use classify::{Class, Classified, Classify, after, class_of, permanent, transient, unavailable};
#[cfg(feature = "cbor")]
pub use codec::Cbor;
#[cfg(feature = "json")]
pub use codec::Json;
#[cfg(feature = "msgpack")]
pub use codec::MsgPack;
#[cfg(feature = "protobuf")]
pub use codec::Protobuf;
pub use codec::{Codec, Raw, essence};
pub use delivery::{Delivered, Delivery, HandlerContext, Incoming, Rejected, StateMap};
pub use error::{BoxError, Error, ErrorKind};
pub use escape::{escape, unescape};
pub use event::{DecodeError, Event, EventDef, Recognised, decode, encode};
pub use extract::{Batch, BatchItem, FromDelivery, Meta, Rejection, Signature, State, TypeInfo};
pub use handler::{BatchOptions, HandlerDef, HandlerOptions, HeaderMatch, OnRetry, Order, RetryOptions, StartAt};
pub use headers::{HeaderName, Headers};
pub use join::join_all;
pub use key::{IntoKey, Key};
pub use message::{Message, MessageBuilder, Topic};
pub use outcome::{DeadReason, Outcome};
pub use pattern::TopicPattern;
pub use position::{Epoch, PartId, Position};
pub use publish::{BoxFuture, Outgoing, Publish, PublishSink, Publisher, Receipt};
pub use registry::{Entry, GenericDef, Location, Registry};
pub use reply::{BatchReply, ClassifiedReply, HandlerError, IntoOutgoing, IntoReply, PlainReply, Probe, Reply, Verdict};
pub use service::{BoxHandler, HandlerFn, HandlerFuture, handler_fn};
pub use upcast::{Accepted, decode_older};

/// What generated code names. Not public API: it changes without notice.
#[doc(hidden)]
pub mod __private;
