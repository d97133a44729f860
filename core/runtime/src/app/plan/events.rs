//! What events must not have in common.

use convoke_core::{EventDef, Topic, TopicPattern};

use super::Problems;
use super::native::differs;
use crate::app::brokers::BrokerNames;
use crate::app::deploy::Names;

/// Whether a message can be for both: they share a name in a version, their own or one that they accept.
pub(super) fn overlap(a: &EventDef, b: &EventDef) -> bool {
    let reads = |event: &EventDef, name, version| {
        (event.name, event.version) == (name, version)
            || event.accepts.iter().any(|old| (old.name, old.version) == (name, version))
    };
    reads(b, a.name, a.version) || a.accepts.iter().any(|old| reads(b, old.name, old.version))
}

pub(crate) fn is_plain(topic: &str) -> bool {
    !topic.contains(['{', '}', '*', '>', '#'])
}

/// Whether it can be read: the name of a topic, or a pattern whose open parts stand between dots.
pub(super) fn is_readable(topic: &str) -> bool {
    let open = |part: &str| TopicPattern::new(part).is_some();
    topic.split('.').all(|part| open(part) || is_plain(part))
}

/// Names are unique per topic, types and codecs too.
pub(super) fn check_events(events: &[&'static EventDef], names: &Names, brokers: &BrokerNames, problems: &mut Problems) {
    for (i, event) in events.iter().enumerate() {
        check_accepted(event, events, names, problems);
        let topic = names.topic(event.topic);
        for other in &events[..i] {
            let same_name = names.topic(other.topic) == topic;
            let shared = same_name && brokers.of(event) == brokers.of(other);
            let places = || format!("{} and {}", other.location, event.location);
            if shared {
                check_alike(event, other, &topic, problems);
            }
            if (event.name, event.version) == (other.name, other.version) {
                problems.push(format!(
                    "two events are named `{}` in version {} ({}); give one of them another `name` or `version`",
                    event.name,
                    event.version,
                    places()
                ));
            } else if shared && event.bare && other.bare {
                problems.push(format!(
                    "two bare events share the topic `{}` ({}), where nothing tells them apart; at most one may be `bare`",
                    topic,
                    places()
                ));
            } else if same_name && !shared && (event.bare || other.bare) {
                problems.push(format!(
                    "the topic `{topic}` is on two brokers ({}), and a bare message does not say which of its events it is; name one \
                     of the topics otherwise",
                    places()
                ));
            } else if shared && event.codec != other.codec && (event.bare || other.bare) {
                problems.push(format!(
                    "the topic `{}` carries {} and {} ({}), and bare messages say nothing of their format; use one codec",
                    topic,
                    other.codec,
                    event.codec,
                    places()
                ));
            }
        }
    }
}

/// Events of one topic must not say different things of it.
fn check_alike(event: &EventDef, other: &EventDef, topic: &Topic, problems: &mut Problems) {
    if let Some((said, differently)) = differs(event.native, other.native) {
        problems.push(format!(
            "the events `{}` ({}) and `{}` ({}) share the topic `{topic}`, and one says `{differently}` of it, the other `{said}`; say the same \
             on both",
            other.name, other.location, event.name, event.location
        ));
    }
}

/// What an event accepts is another version, once, and means one type on its topic.
fn check_accepted(event: &EventDef, events: &[&'static EventDef], names: &Names, problems: &mut Problems) {
    let topic = names.topic(event.topic);
    for (i, old) in event.accepts.iter().enumerate() {
        let what =
            || format!("the event `{}` ({}) accepts `{}.v{}`", event.type_name_on_wire(), event.location, old.name, old.version);
        if (old.name, old.version) == (event.name, event.version) {
            problems.push(format!("{}, which is the event itself; take it out of `accepts`", what()));
        } else if event.accepts[..i].iter().any(|other| (other.name, other.version) == (old.name, old.version)) {
            problems.push(format!("{} twice; keep one of them", what()));
        }
        let same = |other: &&&EventDef| {
            (other.name, other.version) == (old.name, old.version)
                && names.topic(other.topic) == topic
                && (other.type_id)() != (old.type_id)()
                && (other.type_id)() != (event.type_id)()
        };
        if let Some(other) = events.iter().find(same) {
            problems.push(format!(
                "{} as `{}`, but on the topic `{}` that is `{}` ({}); accept that type, or take it out of `accepts`",
                what(),
                (old.type_name)(),
                topic,
                (other.type_name)(),
                other.location
            ));
        }
    }
}
