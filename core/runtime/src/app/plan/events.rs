//! What events must not have in common.

use convoke_core::EventDef;

use super::Problems;

pub(super) fn is_plain(topic: &str) -> bool {
    !topic.contains(['{', '}', '*', '>', '#'])
}

/// Names are unique per topic, types and codecs too.
pub(super) fn check_events(events: &[&'static EventDef], problems: &mut Problems) {
    for (i, event) in events.iter().enumerate() {
        for other in &events[..i] {
            let places = || format!("{} and {}", other.location, event.location);
            if (event.name, event.version) == (other.name, other.version) {
                problems.push(format!(
                    "two events are named `{}` in version {} ({}); give one of them another `name` or `version`",
                    event.name,
                    event.version,
                    places()
                ));
            } else if event.topic == other.topic && event.bare && other.bare {
                problems.push(format!(
                    "two bare events share the topic `{}` ({}), where nothing tells them apart; at most one may be `bare`",
                    event.topic,
                    places()
                ));
            } else if event.topic == other.topic && event.codec != other.codec && (event.bare || other.bare) {
                problems.push(format!(
                    "the topic `{}` carries {} and {} ({}), and bare messages say nothing of their format; use one codec",
                    event.topic,
                    other.codec,
                    event.codec,
                    places()
                ));
            }
        }
    }
}
