//! What publishing, reading and topology have in common.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use convoke_core::{Error, ErrorKind, Topic};
use lapin::Channel;

use crate::failure;
use crate::link::Link;
use crate::options::Options;
use crate::read::Reader;

/// Two connections, and what is known of the topology. RabbitMQ blocks connections that publish when it is short of memory, and the
/// client then writes nothing on them: acknowledgements have to go elsewhere, so that the memory comes free.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Arc<Options>,
    pub(crate) publishing: Arc<Link>,
    /// Reading, and everything that is asked of the server.
    pub(crate) reading: Arc<Link>,
    known: Mutex<Known>,
    readers: Mutex<Vec<Reader>>,
    /// How many messages were in hand when their partitions ended.
    unsettled: AtomicU64,
    closing: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    topics: HashMap<Topic, u32>,
    /// Groups whose queues were made over this generation of the connection.
    groups: HashSet<(Topic, String)>,
    generation: u64,
}

impl Shared {
    pub(crate) fn new(publishing: Arc<Link>, reading: Arc<Link>) -> Self {
        let options = Arc::clone(reading.options());
        Self {
            options,
            publishing,
            reading,
            known: Mutex::default(),
            readers: Mutex::default(),
            unsettled: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn known_partitions(&self, topic: &Topic) -> Option<u32> {
        self.known().topics.get(topic).copied()
    }

    pub(crate) fn learn_topic(&self, topic: &Topic, partitions: u32) {
        self.known().topics.insert(topic.clone(), partitions);
    }

    pub(crate) fn forget_topics<'t>(&self, topics: impl Iterator<Item = &'t Topic>) {
        let mut known = self.known();
        for topic in topics {
            known.topics.remove(topic);
        }
    }

    pub(crate) fn knows_group(&self, topic: &Topic, group: &str, generation: u64) -> bool {
        let known = self.known();
        known.generation == generation && known.groups.contains(&(topic.clone(), group.to_owned()))
    }

    pub(crate) fn learn_group(&self, topic: &Topic, group: &str, generation: u64) {
        let mut known = self.known();
        if known.generation != generation {
            known.groups.clear();
            known.generation = generation;
        }
        known.groups.insert((topic.clone(), group.to_owned()));
    }

    /// The subscriptions that are open.
    pub(crate) fn readers(&self) -> MutexGuard<'_, Vec<Reader>> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| reader.parts.strong_count() > 0);
        readers
    }

    pub(crate) fn add_reader(&self, reader: Reader) {
        self.readers().push(reader);
    }

    /// A partition has ended with so many messages in hand.
    pub(crate) fn ended_with(&self, unsettled: usize) {
        self.unsettled.fetch_add(unsettled as u64, SeqCst);
    }

    pub(crate) fn unsettled(&self) -> u64 {
        self.unsettled.load(SeqCst)
    }

    pub(crate) fn open(&self) -> Result<(), Error> {
        if self.closing.load(SeqCst) { Err(failure::closed()) } else { Ok(()) }
    }

    /// Nothing is taken from here on. Whether that is new.
    pub(crate) fn begin_to_close(&self) -> bool {
        !self.closing.swap(true, SeqCst)
    }

    /// A channel for what is asked of the server, with the generation of its connection.
    pub(crate) async fn channel(&self) -> Result<(u64, Channel), Error> {
        let (generation, connection) = self.reading.connection()?;
        let channel = self.ask("open a channel", connection.create_channel()).await?;
        Ok((generation, channel))
    }

    /// Waits for an answer, and not for ever.
    pub(crate) async fn ask<T>(&self, what: &str, asked: impl Future<Output = lapin::Result<T>>) -> Result<T, Error> {
        match tokio::time::timeout(self.options.confirm, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failure::asked(what, error)),
            Err(_) => {
                let text = format!("RabbitMQ did not {what} within {:?}; try again", self.options.confirm);
                Err(Error::new(ErrorKind::Timeout, text))
            }
        }
    }
}
