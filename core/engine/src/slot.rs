//! What the engine keeps of one message.

use convoke_core::broker::Settle;
use convoke_core::{DeadReason, Epoch, Position};

use crate::list::{Link, NIL};
use crate::{End, Meta, Time};

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody's.
    Free,
    /// Behind others of its lane.
    Queued,
    /// Its turn; waits for a permit of its route.
    Ready,
    /// Its turn, but the local deadline of its partition has passed.
    Stalled,
    /// Not before [`Entry::until`]. With `hold` it locks its lane; without, it has left it for as long.
    Waiting { hold: bool },
    /// To be tried alone as soon as the mark is kept.
    Marking,
    /// The handler has it.
    Running,
    /// The handler has it, and what it says no longer counts.
    Fenced,
    /// A publish is under way.
    Publishing(Publish),
    /// A publish is repeated at [`Entry::until`].
    PublishWait(Publish),
    /// A settlement is under way.
    Settling(Settle, End),
    /// A settlement is repeated at [`Entry::until`].
    SettleWait(Settle, End),
    /// By watermark: not done, and left to the next owner; kept until the last commit has said so.
    Returned,
}

/// What a message waits to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publish {
    /// What its handler returned.
    Returned(End),
    /// What the handler of its batch returned; the first message of the batch stands for all.
    Batch,
    /// Itself, to the dead-letter topic.
    Dead(DeadReason),
    /// Itself, to the group's place for retries. Not before this moment.
    Retry(Time),
}

/// A row of the slot table.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) meta: Meta,
    pub(crate) state: State,
    pub(crate) part: u32,
    pub(crate) epoch: Epoch,
    /// Its lane in the lane table. A message without a lane has one only while it waits for a fenced one.
    pub(crate) lane: u32,
    /// Its batch in the batch table, while it runs or publishes.
    pub(crate) batch: u32,
    /// How many attempts failed.
    pub(crate) attempts: u32,
    /// How often the process died while it was tried alone.
    pub(crate) deaths: u32,
    /// How often the present publish or settlement failed.
    pub(crate) repairs: u32,
    /// Not to be tried before.
    pub(crate) due: Time,
    /// When the present state ends by itself; since when it is ready; when the attempt began.
    pub(crate) until: Time,
    /// When it was handed to the engine.
    pub(crate) since: Time,
    /// When its lease is to be extended.
    pub(crate) extend: Time,
    /// How many extensions are unanswered, and how many of those were asked for with a token that is out of date.
    pub(crate) extends: u16,
    pub(crate) outdated: u16,
    /// By watermark: what is done between this and the next message that is not.
    pub(crate) done: Option<(Position, Position)>,
    /// Whether it is in the list of its partition.
    pub(crate) listed: bool,
    /// Whether it is in the list of leases.
    pub(crate) leased: bool,
    /// Whether its epoch or lease ended while an answer was outstanding.
    pub(crate) lost: bool,
    /// Whether it came again while it was being given back, so that the new one goes on in its stead.
    pub(crate) superseded: bool,
    /// Whether its token changed while a settlement was outstanding.
    pub(crate) swapped: bool,
    /// Whether it is beyond the backlog of its lane.
    pub(crate) over: bool,
    /// Whether it may have killed the process.
    pub(crate) suspect: bool,
    /// Whether the mark of its lonely try is kept.
    pub(crate) marked: bool,
    /// Whether the commit of its partition has to mention it.
    pub(crate) noted: bool,
    /// Whether it keeps its place while it waits, whatever its route says.
    pub(crate) pinned: bool,
    /// Whether it goes before others of its route, because it was put back.
    pub(crate) first: bool,
    /// Whether observers know that it is stuck.
    pub(crate) stuck: bool,
    pub(crate) links: [Link; 4],
}

impl Entry {
    pub(crate) fn new(meta: Meta, part: u32, epoch: Epoch, now: Time) -> Self {
        Self {
            meta,
            state: State::Queued,
            part,
            epoch,
            lane: NIL,
            batch: NIL,
            attempts: meta.attempts,
            deaths: meta.deaths,
            repairs: 0,
            due: meta.due.unwrap_or_default(),
            until: now,
            since: now,
            extend: now,
            extends: 0,
            outdated: 0,
            done: None,
            listed: false,
            leased: false,
            lost: false,
            superseded: false,
            swapped: false,
            over: false,
            suspect: false,
            marked: false,
            noted: false,
            pinned: false,
            first: false,
            stuck: false,
            links: [Link::NONE; 4],
        }
    }

    /// Whether a handler has it.
    pub(crate) const fn runs(&self) -> bool {
        matches!(self.state, State::Running | State::Fenced)
    }
}
