//! Deleting topics. Their places in the tables are used again, so that streams made for one run each leave nothing behind.

use convoke_core::{Error, ErrorKind, Topic};

use crate::log::TopicLog;
use crate::state::State;

/// Stands for no topic in a group's table.
const NONE: usize = usize::MAX;

impl State {
    /// Deletes a topic, with everything that groups know of it. A group that reads nothing else is gone, too.
    pub(crate) fn delete_topic(&mut self, name: &Topic) -> Result<(), Error> {
        self.connected()?;
        let t = self.topic(name)?;
        for (g, k) in &self.topics[t].groups {
            let Some(group) = self.groups.get(*g).and_then(Option::as_ref) else { continue };
            if !group.topics[*k].readers.is_empty() {
                let message = format!("topic `{name}` is being read by the group `{}`; end its subscriptions first", group.name);
                return Err(Error::new(ErrorKind::Rejected, message));
            }
        }
        self.names.remove(name);
        let mut deleted = std::mem::replace(&mut self.topics[t], TopicLog::new(Topic::from(""), 0));
        for p in 0..deleted.parts.len() {
            while let Some(stored) = deleted.pop(p) {
                self.trash.push(stored);
            }
        }
        for (g, k) in deleted.groups {
            let Some(place) = self.groups.get_mut(g) else { continue };
            let Some(group) = place else { continue };
            group.topics[k].topic = NONE;
            group.topics[k].parts.clear();
            if group.patterns.is_empty() && group.topics.iter().all(|topic| topic.topic == NONE) {
                *place = None;
            }
        }
        self.free_topics.push(t);
        Ok(())
    }

    /// The place for a new topic.
    pub(crate) fn put_topic(&mut self, name: &Topic, log: TopicLog) -> usize {
        let t = match self.free_topics.pop() {
            Some(t) => {
                self.topics[t] = log;
                t
            }
            None => {
                self.topics.push(log);
                self.topics.len() - 1
            }
        };
        self.names.insert(name.clone(), t);
        t
    }
}

impl crate::group::Group {
    /// The place for a topic that is read from now on.
    pub(crate) fn put_topic(&mut self, topic: crate::group::GroupTopic) -> usize {
        match self.topics.iter().position(|other| other.topic == NONE) {
            Some(k) => {
                self.topics[k] = topic;
                k
            }
            None => {
                self.topics.push(topic);
                self.topics.len() - 1
            }
        }
    }
}
