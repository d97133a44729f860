//! What the oracle keeps of a message, a partition and a handler.

use std::collections::BTreeMap;

use convoke_core::broker::{Progress, Settle};
use convoke_engine::{End, Meta, Time, Verdict};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Publish {
    Returned,
    Dead,
    Retry,
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) meta: Meta,
    pub(super) epoch: u64,
    pub(super) part: usize,
    pub(super) attempts: u32,
    pub(super) deaths: u32,
    pub(super) suspect: bool,
    pub(super) marked: bool,
    pub(super) running: bool,
    pub(super) batch: Option<usize>,
    pub(super) started: bool,
    pub(super) lost: bool,
    /// Waits for a retry, holding its lane.
    pub(super) holds: bool,
    /// May only be given up.
    pub(super) dying: bool,
    pub(super) not_before: Time,
    /// What its handler returned still has to be confirmed, or the verdict stands for a batch that waits for that.
    pub(super) owes: bool,
    pub(super) verdict: Option<Verdict>,
    pub(super) publish: Option<Publish>,
    /// How it may be acknowledged.
    pub(super) end: Option<End>,
    pub(super) settling: Option<Settle>,
    /// How it is to be freed.
    pub(super) answered: Option<End>,
    pub(super) marking: bool,
    pub(super) given_back: bool,
    pub(super) began: Time,
    pub(super) extended: Time,
    /// How many extensions are unanswered, and how many of those belong to a token that was replaced.
    pub(super) extends: u32,
    pub(super) outdated: u32,
    /// Whether it is the same as one that is held, or as one that is done.
    pub(super) repeat: bool,
}

#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) epoch: u64,
    pub(super) ours: bool,
    pub(super) over: bool,
    pub(super) by: Option<Time>,
    pub(super) until: Option<Time>,
    pub(super) unclean: bool,
    pub(super) suspects: u32,
    /// Whether anything has come; and whether it was lost before all suspects had come and were tried.
    pub(super) came: bool,
    pub(super) untried: bool,
    pub(super) horizon: Option<u64>,
    pub(super) resume: Progress,
    pub(super) since: Time,
    pub(super) waits: bool,
    /// By watermark: what was delivered, and whether it is done.
    pub(super) delivered: BTreeMap<u64, bool>,
    pub(super) held: i64,
    pub(super) held_bytes: i64,
    pub(super) unused: i64,
    pub(super) unused_bytes: i64,
}

#[derive(Debug, Default)]
pub(super) struct Handler {
    pub(super) concurrency: u32,
    pub(super) running: u32,
    pub(super) paused: bool,
    pub(super) blocked: Time,
    pub(super) probe: Option<Time>,
    pub(super) probing: bool,
}
