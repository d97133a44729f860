//! Topics and groups: making them, listing them, deleting them, and how far a group is.

use std::time::Duration;

use convoke_core::broker::{EnsureMode, EnsureReport, GroupSpec, Lag, Start, TopicSpec, Topology};
use convoke_core::{Error, ErrorKind, Topic};
use redis::{Pipeline, cmd};

use crate::failure::Failure;
use crate::keys::{self, TOPICS, TopicKeys};
use crate::link::Link;
use crate::options::{MAX_PARTITIONS, TOPIC_OPTIONS};
use crate::publish::{Topics, no_topic};
use crate::reply::{Id, list, number, text, unsigned};
use crate::script;

/// A topic that is to exist, with the groups that read it.
struct Wanted {
    spec: TopicSpec,
    groups: Vec<(String, Start)>,
}

fn wanted(topology: &Topology) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut of = |topic: &Topic, partitions: Option<u32>, group: Option<(String, Start)>| {
        let index = wanted.iter().position(|one| one.spec.name == *topic).unwrap_or_else(|| {
            wanted.push(Wanted { spec: TopicSpec::new(topic.clone()), groups: Vec::new() });
            wanted.len() - 1
        });
        wanted[index].spec.partitions = wanted[index].spec.partitions.or(partitions);
        wanted[index].groups.extend(group);
    };
    for spec in &topology.said_to("redis").topics {
        of(&spec.name, spec.partitions, None);
    }
    for spec in &topology.groups {
        for topic in &spec.topics {
            of(topic, None, Some((spec.name.clone(), spec.start)));
        }
    }
    wanted
}

/// Whether there can be such topics and groups.
pub(crate) fn check(topology: &Topology) -> Result<(), Error> {
    topology.check_names()?;
    topology.topics.iter().try_for_each(|spec| spec.native_url("redis", TOPIC_OPTIONS).map(drop))?;
    for one in wanted(topology) {
        keys::check(&one.spec.name)?;
        if let Some(count) = one.spec.partitions.filter(|count| *count == 0 || *count > MAX_PARTITIONS) {
            let text = format!("topic `{}` cannot have {count} partitions: 1 to {MAX_PARTITIONS} are possible", one.spec.name);
            return Err(Error::new(ErrorKind::Configuration, text));
        }
    }
    Ok(())
}

pub(crate) async fn ensure(link: &Link, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error> {
    check(topology)?;
    let (mut report, mut missing, mut counts) = (EnsureReport::default(), Vec::new(), Vec::new());
    let wanted = wanted(topology);
    let (mut pipe, mut made) = (Pipeline::new(), Pipeline::new());
    for one in &wanted {
        let keys = TopicKeys::new(&one.spec.name);
        let mut call = script::ENSURE.call(&[&keys.meta]);
        call.arg(&keys.prefix).arg(if mode == EnsureMode::Create { "create" } else { "check" });
        call.arg(one.spec.partitions.map(|count| count.to_string()).unwrap_or_default()).arg(link.options.partitions);
        for (group, start) in &one.groups {
            call.arg(group).arg(from(*start)?);
        }
        pipe.add_command(call);
    }
    let what = "topics cannot be made sure of";
    let answers = link.ask_all(&mut pipe).await.map_err(|failure| failure.error(what))?;
    for (one, answer) in wanted.iter().zip(answers) {
        let mut answer = list(answer.map_err(|failure| failure.error(&format!("topic `{}`", one.spec.name)))?);
        let mut next = || answer.next().unwrap_or_default();
        let (partitions, created, groups) = (u32::try_from(unsigned(next())).unwrap_or(0), unsigned(next()), list(next()));
        if partitions != 0 {
            one.spec.check_partitions(partitions)?;
        }
        counts.push((one.spec.name.clone(), partitions));
        if partitions == 0 {
            missing.push(format!("topic `{}`", one.spec.name));
            continue;
        }
        if created == 1 {
            report.created.push(one.spec.name.to_string());
            made.cmd("SADD").arg(TOPICS).arg(one.spec.name.as_str());
        }
        for group in groups.map(text) {
            if mode == EnsureMode::Check {
                missing.push(format!("group `{group}` on topic `{}`", one.spec.name));
            } else if !report.created.contains(&group) {
                report.created.push(group);
            }
        }
    }
    if !missing.is_empty() && mode == EnsureMode::Check {
        let text = format!("Redis lacks {}; create what is missing with `EnsureMode::Create`", missing.join(", "));
        return Err(Error::new(ErrorKind::NotFound, text));
    }
    link.ask_all(&mut made).await.map_err(|failure| failure.error(what))?;
    let named = |topic: &Topic| counts.iter().find(|(other, _)| other == topic).cloned();
    report.partitions = topology.topics.iter().filter_map(|spec| named(&spec.name)).collect();
    Ok(report)
}

/// Where a new group begins, for the script: what comes after this id.
fn from(start: Start) -> Result<String, Error> {
    match start {
        Start::Earliest => Ok("earliest".to_owned()),
        Start::New => Ok("$".to_owned()),
        Start::Time(time) => {
            let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            Ok(Id(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), 0).previous().to_string())
        }
        Start::At(position) if let Some(id) = Id::of(position) => Ok(id.previous().to_string()),
        other => {
            let text = format!("Redis cannot begin at {other:?}: its positions are entry ids (`Position::Entry`)");
            Err(Error::new(ErrorKind::Unsupported, text))
        }
    }
}

pub(crate) async fn topics(link: &Link) -> Result<Vec<(Topic, u32)>, Error> {
    let what = "topics cannot be listed";
    let names = link.ask(cmd("SMEMBERS").arg(TOPICS)).await.map_err(|failure| failure.error(what))?;
    let mut names: Vec<Topic> = list(names).map(|name| Topic::from(text(name))).collect();
    names.sort_unstable();
    let mut pipe = Pipeline::new();
    for name in &names {
        pipe.cmd("HGET").arg(TopicKeys::new(name).meta).arg("partitions");
    }
    let counts = link.ask_all(&mut pipe).await.map_err(|failure| failure.error(what))?;
    let count = |answer: Result<redis::Value, Failure>| answer.ok().and_then(number).and_then(|count| u32::try_from(count).ok());
    // One without partitions was deleted with tools that know nothing of the list.
    Ok(names.into_iter().zip(counts).filter_map(|(name, answer)| Some((name, count(answer)?))).collect())
}

pub(crate) async fn delete(link: &Link, topics: &Topics, topic: &Topic) -> Result<(), Error> {
    let what = format!("topic `{topic}` cannot be deleted");
    let keys = TopicKeys::new(topic);
    let mut call = script::DELETE.call(&[&keys.meta]);
    let answer = link.ask(call.arg(&keys.prefix).arg(topic.as_str())).await.map_err(|failure| failure.error(&what))?;
    topics.forget(topic);
    match number(answer) {
        Some(0) => Err(no_topic(topic)),
        Some(-1) => {
            let text = format!("topic `{topic}` is being read; stop whoever reads it before it is deleted");
            Err(Error::new(ErrorKind::Configuration, text))
        }
        _ => {
            let forgotten = link.ask(cmd("SREM").arg(TOPICS).arg(topic.as_str())).await;
            forgotten.map(drop).map_err(|failure| failure.error(&what))
        }
    }
}

pub(crate) async fn lag(link: &Link, group: &str, topics: &[Topic]) -> Result<Lag, Error> {
    let mut pipe = Pipeline::new();
    for topic in topics {
        let keys = TopicKeys::new(topic);
        let mut call = script::LAG.call(&[&keys.meta]);
        call.arg(&keys.prefix).arg(topic.as_str()).arg(group);
        pipe.add_command(call);
    }
    let what = format!("the lag of group `{group}` cannot be read");
    let answers = link.ask_all(&mut pipe).await.map_err(|failure| failure.error(&what))?;
    let (mut backlog, mut unsettled, mut delayed, mut oldest) = (0, 0, 0, None);
    for (topic, answer) in topics.iter().zip(answers) {
        let numbers: Vec<i64> = list(answer.map_err(|failure| failure.error(&what))?).filter_map(number).collect();
        let &[found, new, pending, waiting, scheduled, age] = &numbers[..] else {
            return Err(Error::new(ErrorKind::Internal, "Redis answered otherwise than the script does"));
        };
        match found {
            -1 => return Err(no_topic(topic)),
            0 => {
                let text = format!("group `{group}` does not read topic `{topic}` on Redis; correct the name");
                return Err(Error::new(ErrorKind::NotFound, text));
            }
            _ => {}
        }
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        backlog += count(new);
        unsettled += count(pending - waiting);
        delayed += count(waiting + scheduled);
        if let Ok(age) = u64::try_from(age) {
            oldest = oldest.max(Some(Duration::from_millis(age)));
        }
    }
    let mut lag = Lag::default();
    (lag.backlog, lag.unsettled, lag.delayed, lag.oldest) = (Some(backlog), Some(unsettled), Some(delayed), oldest);
    Ok(lag)
}

/// Makes a group of topics that exist, where it is not there yet.
pub(crate) async fn join<'a>(
    link: &Link,
    group: &str,
    topics: impl Iterator<Item = &'a Topic>,
    start: Start,
) -> Result<(), Error> {
    let mut spec = GroupSpec::new(group, topics.cloned().collect());
    spec.start = start;
    let mut topology = Topology::default();
    topology.groups.push(spec);
    ensure(link, &topology, EnsureMode::Create).await.map(drop)
}
