//! Topics that are read by a pattern: those that are there, and those that appear.

use convoke_core::broker::Start;
use convoke_core::{Error, ErrorKind, Topic, TopicPattern};

use crate::state::State;

impl State {
    /// The topics that are meant by a name or a pattern, in the order in which they were made.
    pub(crate) fn named(&self, name: &Topic) -> Result<Vec<usize>, Error> {
        match TopicPattern::new(name.as_str()) {
            Some(pattern) => {
                Ok((0..self.topics.len()).filter(|topic| pattern.matches(self.topics[*topic].name.as_str())).collect())
            }
            None => Ok(vec![self.topic(name)?]),
        }
    }

    /// Has a group read what is meant by a name or a pattern, from `start` if it did not. Says the indices within the group.
    pub(crate) fn read_named(&mut self, g: usize, name: &Topic, start: Start) -> Result<Vec<usize>, Error> {
        if let (Some(pattern), Some(group)) = (TopicPattern::new(name.as_str()), self.groups.get_mut(g).and_then(Option::as_mut))
            && !group.patterns.contains(&pattern)
        {
            group.patterns.push(pattern);
        }
        self.named(name)?.into_iter().map(|topic| self.read(g, topic, start)).collect()
    }

    /// Hands a topic that has just appeared to the groups that read it by a pattern, and to their members.
    pub(crate) fn appeared(&mut self, topic: usize) -> Result<(), Error> {
        let (name, now) = (self.topics[topic].name.clone(), self.now);
        let reads = |patterns: &[TopicPattern]| patterns.iter().any(|pattern| pattern.matches(name.as_str()));
        for g in 0..self.groups.len() {
            if !self.groups[g].as_ref().is_some_and(|group| reads(&group.patterns)) {
                continue;
            }
            // Nothing is in it yet, wherever the group begins.
            let k = self.read(g, topic, Start::Earliest)?;
            let Some(group) = self.groups[g].as_mut() else { continue };
            for id in &group.members {
                // Who reads to a marked end reads what was there when it began.
                let Some(member) = self.members.get_mut(id).filter(|member| member.marks.is_none()) else { continue };
                if reads(&member.patterns) && !member.topics.contains(&k) {
                    member.topics.push(k);
                    group.topics[k].readers.push(*id);
                }
            }
            self.rebalance(g, &[k], now);
        }
        Ok(())
    }

    /// # Errors
    /// If it is a pattern, and this broker does not read by one.
    pub(crate) fn check_pattern(&self, name: &Topic) -> Result<(), Error> {
        if self.options.patterns || TopicPattern::new(name.as_str()).is_none() {
            return Ok(());
        }
        let message =
            format!("this memory broker reads no topics by a pattern (`patterns=no`), so not `{name}`; name each topic");
        Err(Error::new(ErrorKind::Unsupported, message))
    }
}
