//! A partition of a subscription: what was asked for, what waits, and what is in hand.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use async_nats::Subject;
use convoke_broker_common::Credit;
use convoke_core::broker::Token;
use convoke_core::{Epoch, Incoming, PartId, Position, Topic};

use crate::arrival::{Arrived, Word};
use crate::aside::Doubt;
use crate::hands::Hands;
use crate::store::Kept;
use crate::{names, store};

/// The most that one pull asks for.
const BATCH: u32 = 256;

/// A partition that the subscription may have.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) topic: Topic,
    pub(crate) partition: u32,
    /// Where pulls for it are sent.
    pub(crate) pull: Subject,
    /// Where what is kept of its messages is.
    pub(crate) place: String,
    /// The last message that is read, if there is to be an end.
    pub(crate) mark: Option<u64>,
    pub(crate) held: Option<Held>,
    /// What is in hand, for whoever asks how far the group is behind.
    pub(crate) hands: Arc<Hands>,
    /// Up to where it was seen when it was given back or lost.
    pub(crate) left_at: Option<(u64, u64)>,
    /// What may be out that cannot be sent to us.
    pub(crate) doubt: Doubt,
}

impl Part {
    pub(crate) fn new(group: &str, topic: Topic, partition: u32, mark: Option<u64>) -> Self {
        let pull = names::pull(&names::stream(topic.as_str()), &names::consumer(group, partition)).into();
        let place = store::place(group, topic.as_str(), partition);
        Self { topic, partition, pull, place, mark, held: None, hands: Hands::new(), left_at: None, doubt: Doubt::Nothing }
    }
}

impl Part {
    /// Says how much is in hand.
    pub(crate) fn count_hands(&self) {
        match &self.held {
            Some(held) => self.hands.set(held.hand.len()),
            None => self.hands.not_ours(),
        }
    }

    /// It is being taken: what is out is with nobody.
    pub(crate) fn no_hands(&self) {
        self.hands.set(0);
    }

    /// The connection was lost: of what was sent to us not all may have arrived.
    pub(crate) fn interrupted(&mut self) {
        if let Some(held) = &self.held {
            self.doubt = Doubt::From(held.seen.0);
        }
        self.let_go();
    }

    /// Whether something up to the mark is not done, and the server takes it for done: it was set aside, or has expired in hand.
    pub(crate) fn is_busy(&self) -> bool {
        let mark = self.mark.unwrap_or(u64::MAX);
        self.held.as_ref().is_some_and(|held| !held.hand.is_empty() || held.kept.range(..=mark).any(|(_, kept)| kept.aside))
    }

    /// It is not ours any more.
    pub(crate) fn let_go(&mut self) {
        if let Some(held) = self.held.take() {
            self.left_at = Some(held.seen);
        }
        self.count_hands();
    }
}

/// A partition that is ours.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) epoch: Epoch,
    /// Answers to pulls come to this subject and the number of the pull.
    pub(crate) inbox: String,
    pub(crate) credit: Credit,
    /// The most that was ever allowed at once.
    window: u32,
    pulls: Vec<Pull>,
    last_pull: u64,
    /// What is here and waits for credit, in order.
    pub(crate) ready: BTreeMap<u64, Arrived>,
    /// What was delivered and is not settled.
    pub(crate) hand: HashMap<u64, Arrived>,
    pub(crate) kept: BTreeMap<u64, Kept>,
    /// Nothing below was missed, after so many deliveries.
    pub(crate) seen: (u64, u64),
    /// Until when it has to be given back, if another is to have it.
    pub(crate) revoking: Option<Instant>,
    pub(crate) mending: Mending,
    /// Whether everything up to the mark is here.
    finished: bool,
}

/// Whether it is found out what was sent and did not arrive. Nothing is asked for meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mending {
    Not,
    Once,
    /// And once more when that is done.
    Again,
}

/// A question for messages that is not answered yet.
#[derive(Debug)]
struct Pull {
    number: u64,
    left: u32,
    /// When something is to be heard of it.
    due: Instant,
}

/// What is to be done with a message that came.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It waits for credit, or was known already.
    Kept,
    /// It came before its time, and is to wait on the server.
    Early(Arrived),
}

impl Held {
    pub(crate) fn new(epoch: Epoch, inbox: String, kept: BTreeMap<u64, Kept>) -> Self {
        Self {
            epoch,
            inbox,
            credit: Credit::default(),
            window: 0,
            pulls: Vec::new(),
            last_pull: 0,
            ready: BTreeMap::new(),
            hand: HashMap::new(),
            kept,
            seen: (0, 0),
            revoking: None,
            mending: Mending::Not,
            finished: false,
        }
    }

    /// Whether the server sends at once whatever comes.
    pub(crate) fn waits(&self) -> bool {
        !self.pulls.is_empty()
    }

    pub(crate) fn grant(&mut self, messages: u32) {
        self.credit.grant(messages);
        let out = u32::try_from(self.hand.len()).unwrap_or(u32::MAX);
        self.window = self.window.max(self.credit.granted().saturating_add(self.credit.asked()).saturating_add(out));
    }

    /// Something came to a pull.
    pub(crate) fn heard(&mut self, pull: u64, due: Instant) {
        if let Some(pull) = self.pulls.iter_mut().find(|other| other.number == pull) {
            pull.due = due;
        }
    }

    /// A word came about a pull.
    pub(crate) fn word(&mut self, pull: u64, word: Word, due: Instant) {
        match word {
            Word::Alive => self.heard(pull, due),
            Word::Over | Word::Gone => {
                if let Some(index) = self.pulls.iter().position(|other| other.number == pull) {
                    let pull = self.pulls.remove(index);
                    self.credit.unasked(pull.left);
                }
            }
        }
    }

    /// A message came. Pulls are answered one after the other, and a message does not say which one it answers.
    pub(crate) fn arrived(&mut self, arrived: Arrived, due: Instant) -> Taken {
        if let Some(pull) = self.pulls.first_mut() {
            (pull.left, pull.due) = (pull.left - 1, due);
            if pull.left == 0 {
                self.pulls.remove(0);
            }
            // It is counted again when it is delivered.
            self.credit.unasked(1);
        }
        self.take(arrived)
    }

    /// Puts a message with what waits.
    pub(crate) fn take(&mut self, arrived: Arrived) -> Taken {
        let sequence = arrived.sequence;
        self.seen = (self.seen.0.max(sequence + 1), self.seen.1.max(arrived.count));
        if let Some(known) = self.hand.get_mut(&sequence) {
            // The server did not hear of it for long and gave it to us once more. It is in hand, and one of it is enough.
            known.reply = arrived.reply;
            return Taken::Kept;
        }
        if self.kept.get(&sequence).is_some_and(Kept::waits) {
            return Taken::Early(arrived);
        }
        self.ready.insert(sequence, arrived);
        Taken::Kept
    }

    /// What was given back comes again at once and in its place: it is ours, and waits here.
    pub(crate) fn back(&mut self, mut arrived: Arrived) {
        arrived.deliveries += 1;
        self.ready.insert(arrived.sequence, arrived);
    }

    /// What may be delivered now.
    pub(crate) fn deliverable(&mut self, id: PartId, partition: u32, mark: Option<u64>) -> Vec<Incoming> {
        let mut messages = Vec::new();
        if self.revoking.is_some() {
            return messages;
        }
        while self.credit.granted() > 0 {
            let Some(entry) = self.ready.first_entry() else { break };
            if mark.is_some_and(|mark| *entry.key() > mark) {
                self.finished = true;
                break;
            }
            let arrived = entry.remove();
            self.credit.ask(1);
            self.credit.delivered();
            let sequence = arrived.sequence;
            let position = Position::Offset(sequence);
            let mut incoming = Incoming::new(arrived.message.clone(), partition, position, Token::new(id, self.epoch, position));
            incoming.deliveries = arrived.deliveries;
            incoming.published_at = Some(arrived.published);
            self.hand.insert(sequence, arrived);
            if let Some(kept) = self.kept.get(&sequence) {
                (incoming.attempts, incoming.deaths) = (kept.attempts, kept.deaths);
                incoming.due_in = Some(kept.due_in()).filter(|rest| !rest.is_zero());
            }
            messages.push(incoming);
        }
        messages
    }

    /// How much to ask for now, and as which pull; nothing while there is enough under way, or no room.
    pub(crate) fn ask(&mut self, due: Instant) -> Option<(u64, u32)> {
        if self.finished || !self.ready.is_empty() {
            return None;
        }
        self.ask_for(BATCH, due)
    }

    /// Behind the mark nothing is read, but what was given back may come again, and comes before what is new: one at a time.
    pub(crate) fn ask_again(&mut self, due: Instant) -> Option<(u64, u32)> {
        let again = self.finished && self.pulls.is_empty();
        if again { self.ask_for(1, due) } else { None }
    }

    fn ask_for(&mut self, most: u32, due: Instant) -> Option<(u64, u32)> {
        let room = self.credit.granted();
        if room == 0 || self.revoking.is_some() || self.mending != Mending::Not {
            return None;
        }
        // A pull costs a message each way: not one for each message that was settled.
        if !self.pulls.is_empty() && (self.pulls.len() > 3 || room.saturating_mul(4) < self.window) {
            return None;
        }
        let left = self.credit.ask(most);
        self.last_pull += 1;
        self.pulls.push(Pull { number: self.last_pull, left, due });
        Some((self.last_pull, left))
    }

    /// Gives up all pulls.
    pub(crate) fn forget_pulls(&mut self) {
        for pull in self.pulls.drain(..) {
            self.credit.unasked(pull.left);
        }
    }

    /// Gives up pulls of which nothing was heard in time: the server loses one now and then. `true` if there were any.
    pub(crate) fn give_up(&mut self, now: Instant) -> bool {
        let (before, credit) = (self.pulls.len(), &mut self.credit);
        self.pulls.retain(|pull| {
            let keep = pull.due > now;
            if !keep {
                credit.unasked(pull.left);
            }
            keep
        });
        before != self.pulls.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn arrived(sequence: u64) -> Arrived {
        let message = convoke_core::Message::builder("t").payload("p").build();
        Arrived { message, reply: Some(format!("r{sequence}").into()), sequence, deliveries: 1, count: 1, published: UNIX_EPOCH }
    }

    fn sequences(held: &mut Held, mark: Option<u64>) -> Vec<Position> {
        held.deliverable(PartId(0), 0, mark).iter().map(|incoming| incoming.position).collect()
    }

    fn offsets(sequences: impl IntoIterator<Item = u64>) -> Vec<Position> {
        sequences.into_iter().map(Position::Offset).collect()
    }

    #[test]
    fn what_was_granted_is_asked_for_once_and_delivered_in_order() {
        let (mut held, due) = (Held::new(Epoch(1), "i".to_owned(), BTreeMap::new()), Instant::now());
        held.grant(4);
        assert_eq!(held.ask(due), Some((1, 4)));
        assert_eq!(held.ask(due), None, "asked for already");
        for sequence in [7, 9] {
            assert!(matches!(held.arrived(arrived(sequence), due), Taken::Kept));
        }
        assert_eq!(sequences(&mut held, None), offsets([7, 9]));
        held.word(1, Word::Over, due);
        assert_eq!(held.ask(due), Some((2, 2)), "what did not come is asked for anew");
        assert!(!held.give_up(due - Duration::from_secs(1)));
        assert!(held.give_up(due), "nothing was heard");
        assert_eq!(held.ask(due), Some((3, 2)));
        held.arrived(arrived(10), due);
        held.arrived(arrived(11), due);
        held.arrived(arrived(12), due);
        assert_eq!(sequences(&mut held, None), offsets([10, 11]), "a late answer takes no more than what was granted");
        assert_eq!(held.ask(due), None);
        held.grant(1);
        assert_eq!(held.ask(due), None, "what is here comes first");
        assert_eq!(sequences(&mut held, None), offsets([12]));
    }

    #[test]
    fn what_is_in_hand_is_not_delivered_again_and_its_newest_reply_counts() {
        let (mut held, due) = (Held::new(Epoch(1), "i".to_owned(), BTreeMap::new()), Instant::now());
        held.grant(4);
        held.ask(due);
        held.arrived(arrived(7), due);
        assert_eq!(sequences(&mut held, None).len(), 1);
        let mut again = arrived(7);
        again.reply = Some("newer".into());
        held.arrived(again, due);
        assert!(sequences(&mut held, None).is_empty());
        assert_eq!(held.hand[&7].reply.as_deref(), Some("newer"));
        assert_eq!(held.credit.granted() + held.credit.asked(), 3);
    }

    #[test]
    fn what_comes_before_its_time_waits_on_the_server_unless_it_keeps_its_place() {
        let later = Kept { attempts: 2, due: store::now_millis() + 60_000, ..Kept::default() };
        let kept = BTreeMap::from([(7, later), (8, Kept { hold: true, ..later })]);
        let (mut held, due) = (Held::new(Epoch(1), "i".to_owned(), kept), Instant::now());
        held.grant(4);
        held.ask(due);
        assert!(matches!(held.arrived(arrived(7), due), Taken::Early(_)));
        held.arrived(arrived(8), due);
        let delivered = held.deliverable(PartId(0), 0, None);
        assert_eq!(delivered.iter().map(|one| one.attempts).collect::<Vec<_>>(), [2]);
        assert!(delivered[0].due_in.is_some_and(|rest| rest > Duration::from_secs(50)));
    }

    #[test]
    fn nothing_behind_the_mark_is_delivered_or_asked_for() {
        let (mut held, due) = (Held::new(Epoch(1), "i".to_owned(), BTreeMap::new()), Instant::now());
        held.grant(8);
        held.ask(due);
        for sequence in [1, 2, 3] {
            held.arrived(arrived(sequence), due);
        }
        held.word(1, Word::Over, due);
        assert_eq!(sequences(&mut held, Some(2)), offsets([1, 2]));
        assert_eq!(held.ask(due), None);
        assert_eq!(held.ask_again(due), Some((2, 1)), "what was given back");
        assert_eq!(held.ask_again(due), None);
    }
}
