//! The names of keys. All of a topic stand in one slot of a cluster: `{<topic>}:…`.

use convoke_core::{Error, ErrorKind, Topic};

/// The names of every topic that was made: for tools.
pub(crate) const TOPICS: &str = "convoke:topics";

/// What all keys of a topic begin with.
pub(crate) fn prefix(topic: &Topic) -> String {
    format!("{{{topic}}}:")
}

/// The keys of a topic.
#[derive(Debug, Clone)]
pub(crate) struct TopicKeys {
    /// `{<topic>}:`
    pub(crate) prefix: String,
    pub(crate) meta: String,
    /// Messages that are not due, and when they are.
    pub(crate) later: String,
    pub(crate) scheduled: String,
}

impl TopicKeys {
    pub(crate) fn new(topic: &Topic) -> Self {
        let prefix = prefix(topic);
        let of = |what: &str| format!("{prefix}{what}");
        Self { meta: of("meta"), later: of("later"), scheduled: of("scheduled"), prefix }
    }

    pub(crate) fn stream(&self, partition: u32) -> String {
        format!("{}{partition}", self.prefix)
    }
}

/// The keys of a group on a topic.
#[derive(Debug, Clone)]
pub(crate) struct GroupKeys {
    pub(crate) members: String,
    pub(crate) news: String,
    pub(crate) epoch: String,
    pub(crate) open: String,
}

impl GroupKeys {
    pub(crate) fn new(topic: &TopicKeys, group: &str) -> Self {
        let of = |what: &str| format!("{}{group}:{what}", topic.prefix);
        Self { members: of("members"), news: of("news"), epoch: of("epoch"), open: of("open") }
    }
}

/// The keys of a group on a partition.
#[derive(Debug, Clone)]
pub(crate) struct PartKeys {
    pub(crate) stream: String,
    pub(crate) lease: String,
    /// What is known of messages that are out of the ordinary.
    pub(crate) kept: String,
    /// Those of them that wait, by their time.
    pub(crate) due: String,
}

impl PartKeys {
    pub(crate) fn new(topic: &TopicKeys, group: &str, partition: u32) -> Self {
        let of = |what: &str| format!("{}{group}:{what}:{partition}", topic.prefix);
        Self { stream: topic.stream(partition), lease: of("lease"), kept: of("kept"), due: of("due") }
    }
}

/// # Errors
/// If the name of a topic cannot be the tag of a key.
pub(crate) fn check(topic: &Topic) -> Result<(), Error> {
    let name = topic.as_str();
    if name.contains(['{', '}']) || name == TOPICS {
        let text = format!("`{name}` cannot be a topic on Redis: a name has no braces; use letters, digits, `.`, `_` and `-`");
        return Err(Error::new(ErrorKind::Configuration, text));
    }
    Ok(())
}
