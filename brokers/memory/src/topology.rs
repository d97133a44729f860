//! Topics and groups: creating them, joining them, and telling how far they are.

use std::time::Duration;

use convoke_core::broker::{EnsureMode, EnsureReport, Lag, Start, SubscribeSpec, SubscriptionEvent, Topology};
use convoke_core::{Error, ErrorKind, Topic, TopicPattern};

use crate::clock::{self, Moment};
use crate::group::{Group, GroupPart, GroupTopic};
use crate::log::TopicLog;
use crate::member::Member;
use crate::options::{MAX_PARTITIONS, Positions, TOPIC_OPTIONS, Unrouted};
use crate::position;
use crate::state::{MemberId, State, cut_off};

/// Whether there can be such topics and groups.
pub(crate) fn check(topology: &Topology) -> Result<(), Error> {
    topology.check_names()?;
    for spec in &topology.said_to("memory").topics {
        spec.native_url("memory", TOPIC_OPTIONS)?;
        if let Some(wanted) = spec.partitions.filter(|wanted| *wanted == 0 || *wanted > MAX_PARTITIONS) {
            let message = format!("topic `{}` cannot have {wanted} partitions: 1 to {MAX_PARTITIONS} are possible", spec.name);
            return Err(Error::new(ErrorKind::Configuration, message));
        }
    }
    Ok(())
}

impl State {
    /// Makes sure that topics and groups exist; all of them or none.
    pub(crate) fn ensure(&mut self, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error> {
        self.connected()?;
        check(topology)?;
        let topology = &topology.said_to("memory");
        let missing = self.check(topology)?;
        if mode == EnsureMode::Check && !missing.is_empty() {
            let list = missing.join(", ");
            let message = format!("the memory broker lacks {list}; create what is missing with `EnsureMode::Create`");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let mut report = EnsureReport::default();
        for spec in &topology.topics {
            if !self.names.contains_key(&spec.name) {
                self.create_topic(&spec.name, spec.partitions.unwrap_or(self.options.partitions))?;
                report.created.push(spec.name.as_str().to_owned());
            }
            let topic = self.topic(&spec.name)?;
            report.partitions.push((spec.name.clone(), self.topics[topic].partitions()));
        }
        for spec in &topology.groups {
            for name in &spec.topics {
                if !self.names.contains_key(name) && TopicPattern::new(name.as_str()).is_none() {
                    self.create_topic(name, self.options.partitions)?;
                    report.created.push(name.as_str().to_owned());
                }
            }
            let (g, created) = self.group(&spec.name, false);
            if created {
                report.created.push(spec.name.clone());
            }
            for name in &spec.topics {
                self.read_named(g, name, spec.start)?;
            }
        }
        Ok(report)
    }

    /// What is missing.
    ///
    /// # Errors
    /// If something is there and different, or cannot be created.
    fn check(&self, topology: &Topology) -> Result<Vec<String>, Error> {
        let mut missing = Vec::new();
        for spec in &topology.topics {
            match self.names.get(&spec.name).map(|topic| self.topics[*topic].partitions()) {
                None => missing.push(format!("topic `{}`", spec.name)),
                Some(present) => spec.check_partitions(present)?,
            }
        }
        for spec in &topology.groups {
            self.check_start(spec.start)?;
            let group = self.groups.iter().flatten().find(|group| group.name == spec.name && !group.broadcast);
            for name in &spec.topics {
                self.check_pattern(name)?;
                let reads = match TopicPattern::new(name.as_str()) {
                    Some(pattern) => group.is_some_and(|group| group.patterns.contains(&pattern)),
                    None => {
                        self.names.get(name).is_some_and(|topic| group.is_some_and(|group| group.topic_index(*topic).is_some()))
                    }
                };
                if !reads {
                    missing.push(format!("group `{}` on topic `{name}`", spec.name));
                }
            }
        }
        Ok(missing)
    }

    fn create_topic(&mut self, name: &Topic, partitions: u32) -> Result<(), Error> {
        let topic = self.put_topic(name, TopicLog::new(name.clone(), partitions));
        self.appeared(topic)
    }

    /// The group of this name, and whether it is new. A broadcast group is always new.
    fn group(&mut self, name: &str, broadcast: bool) -> (usize, bool) {
        if !broadcast {
            let same = |group: &Group| group.name == name && !group.broadcast;
            if let Some(g) = self.groups.iter().position(|group| group.as_ref().is_some_and(same)) {
                return (g, false);
            }
        }
        let group = Some(Group::new(name.to_owned(), broadcast));
        match self.groups.iter().position(Option::is_none) {
            Some(g) => {
                self.groups[g] = group;
                (g, true)
            }
            None => {
                self.groups.push(group);
                (self.groups.len() - 1, true)
            }
        }
    }

    /// Has a group read a topic, from `start` if it did not. Says the topic's index within the group.
    pub(crate) fn read(&mut self, g: usize, topic: usize, start: Start) -> Result<usize, Error> {
        let present = self.groups.get(g).and_then(Option::as_ref).and_then(|group| group.topic_index(topic));
        if let Some(k) = present {
            return Ok(k);
        }
        let options = &self.options;
        let log = &mut self.topics[topic];
        let empty = options.unrouted == Unrouted::Drop;
        let first = |log: &crate::log::Log| match start {
            // A queue begins when it is made.
            _ if empty => log.end(),
            Start::New => log.end(),
            Start::At(position) => position::offset(options.positions, position).unwrap_or(log.start()),
            Start::Time(time) => log.offset_at(clock::wall(time)),
            _ => log.start(),
        };
        let parts = log.parts.iter().map(|log| GroupPart::new(first(log), options.by_watermark())).collect();
        let Some(group) = self.groups.get_mut(g).and_then(Option::as_mut) else {
            return Err(Error::new(ErrorKind::Internal, "a group of the memory broker is gone"));
        };
        let k = group.put_topic(GroupTopic { topic, parts, readers: Vec::new() });
        log.groups.push((g, k));
        Ok(k)
    }

    /// Joins a group.
    pub(crate) fn subscribe(&mut self, spec: &SubscribeSpec, connection: u64, now: Moment) -> Result<MemberId, Error> {
        // Whoever reads only what comes while it reads needs no place to begin at.
        if !(spec.broadcast && spec.start == Start::New) {
            self.check_start(spec.start)?;
        }
        if spec.until_end && !self.options.ends {
            let message = "this memory broker marks no end to read to (`ends=no`); drain the application instead";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let revoke = self.options.with(&spec.native)?.revoke;
        if spec.topics.is_empty() {
            return Err(Error::new(ErrorKind::Configuration, "a subscription reads at least one topic; name it"));
        }
        let mut topics = Vec::with_capacity(spec.topics.len());
        for name in &spec.topics {
            self.check_pattern(name)?;
            for topic in self.named(name)? {
                if !topics.contains(&topic) {
                    topics.push(topic);
                }
            }
        }
        let (g, _) = self.group(&spec.group, spec.broadcast);
        let ends = |log: &TopicLog| log.parts.iter().map(crate::log::Log::end).collect();
        let marks = spec.until_end.then(|| topics.iter().map(|topic| ends(&self.topics[*topic])).collect());
        let topics = topics.into_iter().map(|topic| self.read(g, topic, spec.start)).collect::<Result<Vec<_>, _>>()?;
        for name in &spec.topics {
            self.read_named(g, name, spec.start)?;
        }
        let id = self.new_id();
        let mut member = Member::new(connection, g, topics, marks, revoke);
        member.patterns = spec.topics.iter().filter_map(|name| TopicPattern::new(name.as_str())).collect();
        if self.cut.is_some() {
            member.queue.push_back(SubscriptionEvent::Interrupted(cut_off()));
        }
        self.members.insert(id, member);
        self.join(id, now);
        Ok(id)
    }

    /// How far a group is behind.
    pub(crate) fn lag(&mut self, group: &str, topics: &[Topic], now: Moment) -> Result<Lag, Error> {
        self.connected()?;
        let lease = self.options.term();
        let groups = self.groups_named(group)?;
        let (mut backlog, mut unsettled, mut delayed) = (0, 0, 0);
        let mut oldest: Option<Moment> = None;
        let mut named = Vec::new();
        for name in topics {
            let open = TopicPattern::new(name.as_str()).is_some();
            named.extend(self.named(name)?.into_iter().map(|topic| (name, topic, open)));
        }
        for (name, topic, open) in named {
            let log = &self.topics[topic];
            let mut read = open;
            for g in &groups {
                let Some(group) = self.groups[*g].as_mut() else { continue };
                let Some(k) = group.topic_index(topic) else { continue };
                read = true;
                for (part, log) in group.topics[k].parts.iter_mut().zip(&log.parts) {
                    part.cursor.advance(now, lease);
                    backlog += log.end().saturating_sub(part.cursor.next().max(log.start()));
                    unsettled += part.cursor.unsettled();
                    delayed += part.cursor.delayed();
                    oldest = [oldest, part.cursor.oldest(log)].into_iter().flatten().min();
                }
            }
            if !read {
                let message = format!("group `{group}` does not read topic `{name}` on the memory broker; correct the name");
                return Err(Error::new(ErrorKind::NotFound, message));
            }
            delayed += log.scheduled();
        }
        let mut lag = Lag::default();
        lag.backlog = Some(backlog);
        lag.unsettled = Some(unsettled);
        lag.delayed = Some(delayed);
        lag.oldest = oldest.map(|at| Duration::from_nanos(now.saturating_sub(at)));
        Ok(lag)
    }

    /// # Errors
    /// If it is a position of another broker, or this one begins nowhere but at the earliest message.
    fn check_start(&self, start: Start) -> Result<(), Error> {
        let positions = self.options.positions;
        let can = match start {
            Start::Earliest => true,
            Start::New | Start::Time(_) => self.options.starts,
            Start::At(at) => self.options.starts && position::offset(positions, at).is_some(),
            _ => false,
        };
        if can {
            return Ok(());
        }
        let why = if self.options.starts {
            format!(
                "its positions are {}",
                match positions {
                    Positions::Offset => "offsets (`Position::Offset`)",
                    Positions::Entry => "entry ids (`Position::Entry`)",
                    Positions::Tag => "delivery tags, which mean nothing to others",
                }
            )
        } else {
            "it begins at the earliest message (`starts=no`)".to_owned()
        };
        Err(Error::new(ErrorKind::Unsupported, format!("the memory broker cannot begin at {start:?}: {why}")))
    }
}
