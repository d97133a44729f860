//! From what is stored to what is delivered.

use std::time::Duration;

use convoke_core::broker::Token;
use convoke_core::{Epoch, Incoming, PartId};

use crate::clock::{self, Moment, NEVER};
use crate::log::Stored;
use crate::options::Positions;
use crate::position;

/// The credit of an owner.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Credit {
    pub(super) messages: u64,
    /// Below zero once the last message went over.
    bytes: i64,
}

impl Credit {
    pub(crate) fn add(&mut self, messages: u32, bytes: u64) {
        self.messages = self.messages.saturating_add(u64::from(messages));
        self.bytes = self.bytes.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(crate) fn any(self) -> bool {
        self.messages > 0 && self.bytes > 0
    }

    pub(super) fn spend(&mut self, stored: &Stored) {
        self.messages -= 1;
        self.bytes = self.bytes.saturating_sub(i64::try_from(stored.size).unwrap_or(i64::MAX));
    }
}

/// What is the same for all deliveries of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handing {
    pub(crate) part: PartId,
    pub(crate) partition: u32,
    pub(crate) epoch: Epoch,
    pub(crate) now: Moment,
    pub(crate) lease: Duration,
    pub(crate) positions: Positions,
    /// Whether header values were escaped.
    pub(crate) text: bool,
    /// Nothing is handed out from here on.
    pub(crate) end: u64,
}

impl Handing {
    pub(super) fn incoming(&self, stored: &Stored, offset: u64, tag: u64) -> Incoming {
        let position = position::shown(self.positions, offset, tag);
        let mut token = Token::new(self.part, self.epoch, position);
        if self.positions == Positions::Tag {
            token = token.with_tag(offset.to_be_bytes().to_vec());
        }
        let mut message = stored.message.clone();
        if self.text {
            let mut builder = message.into_builder();
            let headers = builder.headers_mut();
            *headers = convoke_core::unescape(std::mem::take(headers));
            message = builder.build();
        }
        let mut incoming = Incoming::new(message, self.partition, position, token);
        incoming.published_at = Some(clock::time_of(stored.wall));
        incoming
    }

    pub(super) fn until(&self) -> Moment {
        if self.lease == Duration::MAX { NEVER } else { clock::after(self.now, self.lease) }
    }
}
