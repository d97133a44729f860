//! The names of topics and groups in this deployment.

use convoke_core::few::{Few, FewByKey};
use convoke_core::{Registry, Topic};

use super::{Deployment, Said};
use crate::app::plan::{self, Problems};
use crate::words;

/// New names of topics and groups, by those that the program knows. A new name is never renamed itself, so that renaming twice
/// changes nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    topics: FewByKey<Topic, Topic>,
    groups: FewByKey<String, String>,
}

impl Names {
    /// Finds out which of the program's names are meant.
    pub(crate) fn new(app: &str, registry: &Registry, deployment: &Deployment, problems: &mut Problems) -> Self {
        let (mut topics, mut groups) = (Few::default(), Few::default());
        topics.extend(registry.events.iter().map(|event| event.topic));
        for handler in &registry.handlers {
            let signature = handler.signature();
            topics.extend(handler.options.topics.iter().copied());
            topics.extend(handler.options.dead_letter);
            topics.extend(signature.inputs.iter().chain(&signature.outputs).map(|event| event.topic));
            groups.insert(plan::group_of(app, handler));
        }
        topics.retain(|topic| plan::is_plain(topic));
        let groups: Vec<_> = groups.iter().map(String::as_str).collect();
        let topics = meant("topic", &deployment.topics, &topics, problems);
        let groups = meant("group", &deployment.groups, &groups, problems);
        let topic = |(from, to): (String, String)| (Topic::from(from), Topic::from(to));
        Self { topics: topics.into_iter().map(topic).collect(), groups: groups.into_iter().collect() }
    }

    /// The name that the deployment gives to a topic of the program, if it gives one.
    pub(crate) fn renamed(&self, topic: &Topic) -> Option<&Topic> {
        if self.topics.is_empty() { None } else { self.topics.get(topic) }
    }

    /// A topic of the program, as it is named here.
    pub(crate) fn topic(&self, written: &str) -> Topic {
        let written = Topic::from(written);
        self.renamed(&written).cloned().unwrap_or(written)
    }

    /// A group of the program, as it is named here.
    pub(crate) fn group(&self, written: String) -> String {
        self.groups.get(&written).cloned().unwrap_or(written)
    }
}

/// The renames that mean something in this program.
fn meant(what: &str, said: &FewByKey<String, Said<String>>, known: &[&str], problems: &mut Problems) -> Vec<(String, String)> {
    let mut meant = Vec::new();
    for (from, Said { value: to, at }) in said.iter() {
        if !known.contains(&from.as_str()) {
            let unknown = words::unknown(from, known.iter().copied());
            problems.push(at.problem(format!("the program has no {what} {unknown}")));
        } else if from != to && said.contains_key(to) {
            problems.push(at.problem(format!(
                "`{from}` becomes `{to}`, which is renamed itself; a name is given either to be replaced or as the new one"
            )));
        } else {
            meant.push((from.clone(), to.clone()));
        }
    }
    meant
}
