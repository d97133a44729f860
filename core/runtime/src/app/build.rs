//! Everything is checked, all at once, before anything starts.

use std::sync::Arc;

use convoke_core::broker::TopicSpec;
use convoke_core::{Error, ErrorKind, EventDef, HandlerDef, Topic};

use super::bind::ReadyApp;
use super::brokers::{Brokers, Named};
use super::deploy::{Deployment, Names};
use super::plan::{self, Given, Plan, PlannedSubscription, Problems, is_plain};
use super::{App, AppHandle, Scope, table};
use crate::on_demand::OnDemand;
use crate::words;

/// What is known of an application before its broker is.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) names: Names,
    pub(super) deployment: Deployment,
    pub(super) brokers: Brokers,
    /// The handlers that take part.
    pub(super) handlers: Vec<&'static HandlerDef>,
    /// The topics of events that are made when they are first needed, each with its broker's name: those with parameters, and those
    /// of events that no handler that takes part names, since one may publish them all the same.
    later: Vec<(Option<&'static str>, TopicSpec)>,
}

impl App {
    /// Checks the whole application and opens its brokers, without starting anything.
    ///
    /// If the variable `CONVOKE_DESCRIBE` is `json`, it describes the application on standard output instead, before any broker is
    /// opened, and ends the process: with success, unless something is wrong with the application.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] with everything that is wrong, at once, each with its place and how to mend it; or what
    /// the broker says.
    pub async fn build(mut self) -> Result<ReadyApp, Error> {
        self.tell_if_asked()?;
        let mut problems = Problems::new();
        let Planned { mut plan, names, deployment, brokers, later, .. } = self.planned(&mut problems);
        let broker_names = brokers.names();
        let opened = brokers.open(&self.name, &self.registry.brokers).await;
        let capabilities: Vec<_> = opened.iter().map(|one| one.as_ref().ok().map(|one| one.broker.capabilities())).collect();
        plan::check_capabilities(&plan, &capabilities, &mut problems);
        let there: Vec<_> = opened.iter().map(|one| one.as_ref().ok().map(|one| &*one.broker)).collect();
        plan::check_native(&plan, &there, &mut problems);
        plan.check_topology(&there, &mut problems);
        let failed = opened.iter().filter(|one| one.is_err()).count();
        if !problems.is_empty() || failed > 1 {
            problems.extend(opened.iter().filter_map(|one| one.as_ref().err().map(ToString::to_string)));
            self.refuse(&problems)?;
        }
        let brokers = opened.into_iter().collect::<Result<Vec<_>, _>>()?;
        let tiers = |one: &mut PlannedSubscription| one.make_tiers(brokers[one.broker].broker.capabilities());
        plan.subscriptions.iter_mut().for_each(tiers);
        #[cfg(feature = "testkit")]
        let brokers = match self.decorate.take() {
            Some(decorate) => brokers.into_iter().map(|one| Named { broker: decorate(&one.name, one.broker), ..one }).collect(),
            None => brokers,
        };
        // Around the recorder of a test, so that what is recorded is what was asked for.
        let on_demand = |(index, one): (usize, Named)| {
            let later = later.iter().filter(|(broker, _)| broker_names.find(*broker) == Some(index));
            Named { broker: Arc::new(OnDemand::new(one.broker, later.map(|(_, topic)| topic))), ..one }
        };
        let brokers: Vec<_> = brokers.into_iter().enumerate().map(on_demand).collect();
        for warning in &plan.warnings {
            tracing::warn!(app = self.name, "{warning}");
        }
        Ok(ReadyApp { table: table::table(&self.name, &brokers, &plan), app: self, plan, brokers, names, deployment })
    }

    /// Everything that is found out without a broker.
    pub(super) fn planned(&mut self, problems: &mut Problems) -> Planned {
        problems.extend(self.not_yet.iter().map(|slot| (*slot).to_owned()));
        let deployment = self.deployed(problems);
        let names = Names::new(&self.name, &self.registry, &deployment, problems);
        let handlers = self.chosen(problems);
        let written = self.registry.events.iter().filter(|event| !is_plain(event.topic));
        let spec = |event: &EventDef, topic: Topic| {
            let mut spec = TopicSpec::new(topic);
            spec.native = event.native.to_vec();
            (event.broker, spec)
        };
        let mut later: Vec<_> = written.map(|event| spec(event, event.topic.into())).collect();
        if self.only.is_some() {
            // Events of handlers that do not take part are not looked at either.
            let used: Vec<_> =
                handlers.iter().flat_map(|handler| [handler.signature().inputs, handler.signature().outputs].concat()).collect();
            let is_used = |event: &&'static EventDef| used.iter().any(|other| (other.type_id)() == (event.type_id)());
            let (used, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.registry.events).into_iter().partition(is_used);
            self.registry.events = used;
            let others = others.iter().filter(|event| is_plain(event.topic));
            later.extend(others.map(|event| spec(event, names.topic(event.topic))));
        }
        let brokers = self.brokers(&handlers, &deployment, problems);
        let given = Given {
            brokers: &brokers.names(),
            app: &self.name,
            registry: &self.registry,
            handlers: &handlers,
            state: &self.state,
            starts: &self.starts,
            deployment: &deployment,
            names: &names,
            at_run_time: None,
        };
        let mut plan = plan::plan(given, problems);
        plan.subscriptions.iter_mut().for_each(|subscription| subscription.until_end = self.until_end);
        self.check_layers(&plan, problems);
        Planned { plan, names, deployment, brokers, handlers, later }
    }

    /// # Errors
    /// [`ErrorKind::Configuration`] with all of these problems, if there are any.
    pub(super) fn refuse(&self, problems: &Problems) -> Result<(), Error> {
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Configuration, told(&format!("the application `{}` cannot start", self.name), problems)))
    }

    /// What the deployment says, which counts more than what the program says of its bounds.
    fn deployed(&mut self, problems: &mut Problems) -> Deployment {
        let mut deployment = std::mem::take(&mut self.file);
        deployment.overlay(std::mem::take(&mut self.environment));
        problems.append(&mut deployment.problems);
        for (name, said) in deployment.handlers.iter() {
            if !self.registry.handlers.iter().any(|handler| handler.name == name) {
                let known: Vec<_> = self.registry.handlers.iter().map(|handler| handler.name).collect();
                problems.push(said.at.problem(format!("the program has no handler {}", words::unknown(name, known))));
            }
        }
        self.check_brokers(&deployment, problems);
        self.settings.change(deployment.bounds);
        if !self.isolated
            && let Some(url) = &deployment.url
        {
            if self.broker.is_some() {
                problems
                    .push(url.at.problem("the program opens its broker by itself (`App::broker`), so a URL means nothing here"));
            }
            self.url = Some(url.value.0.clone());
        }
        deployment
    }

    /// The handlers that take part.
    fn chosen(&self, problems: &mut Problems) -> Vec<&'static HandlerDef> {
        let known = &self.registry.handlers;
        if known.is_empty() {
            problems.push(
                "no handler is linked into this program; put `#[handler]` on an `async fn`, and if that is in another crate, which the \
                 linker leaves out where nothing but Cargo.toml names it, write `use your_crate as _;`"
                    .to_owned(),
            );
        }
        let mut wanted: Vec<&String> = self.expected.iter().collect();
        wanted.extend(&self.on_demand);
        wanted.extend(self.only.iter().flatten());
        wanted.extend(self.starts.iter().map(|(name, _)| name));
        for name in wanted {
            if known.iter().any(|handler| handler.name == name) {
                continue;
            }
            let unknown = words::unknown(name, known.iter().map(|handler| handler.name));
            let stop = if unknown.ends_with('?') { "" } else { "." };
            problems.push(format!("no handler is named {unknown}{stop} If it is in another crate, write `use that_crate as _;`"));
        }
        if let Some(count) = self.expected_count.filter(|count| *count != known.len()) {
            let there =
                known.iter().map(|handler| format!("\n     `{}` ({})", handler.name, handler.location)).collect::<String>();
            let verb = if known.len() == 1 { "is" } else { "are" };
            problems.push(format!(
                "{count} handlers are expected, and {} {verb} linked; what is in a crate that nothing names is left out by the linker: write \
                 `use that_crate as _;`{there}",
                known.len()
            ));
        }
        let chosen =
            |handler: &&&'static HandlerDef| self.only.as_ref().is_none_or(|only| only.iter().any(|name| name == handler.name));
        let at_start = |handler: &&&'static HandlerDef| !self.on_demand.iter().any(|name| name == handler.name);
        known.iter().filter(chosen).filter(at_start).copied().collect()
    }

    fn check_layers(&self, plan: &Plan, problems: &mut Problems) {
        let routes = plan.routes();
        for (scope, _) in &self.layers {
            match scope {
                Scope::Group(group) if !routes.iter().any(|route| route.written_group == *group) => {
                    let groups = routes.iter().map(|route| &*route.written_group);
                    problems.push(format!("a layer is for the group {}", words::unknown(group, groups)));
                }
                Scope::Handler(name) if !routes.iter().any(|route| route.handler.name == name) => {
                    let names = routes.iter().map(|route| route.handler.name);
                    problems.push(format!("a layer is for the handler {}", words::unknown(name, names)));
                }
                _ => {}
            }
        }
    }

    /// Checks, opens and starts the application, and returns what steers it.
    ///
    /// When this returns, all topics and groups exist.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing has been started; topics and groups may have been created.
    ///
    /// # Errors
    /// As [`App::build`]; and what the broker says while topics and groups are made.
    pub async fn start(self) -> Result<AppHandle, Error> {
        self.build().await?.start().await
    }
}

/// Everything that is wrong, numbered, under what it keeps from happening.
pub(super) fn told(what: &str, problems: &Problems) -> String {
    let count = problems.len();
    let mut text =
        format!("{what}; {} to be mended:", if count == 1 { "one thing is".to_owned() } else { format!("{count} things are") });
    for (i, problem) in problems.iter().enumerate() {
        text.push_str(&format!("\n  {}. {problem}", i + 1));
    }
    text
}
