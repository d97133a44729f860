//! Everything is checked, all at once, before anything starts.

use convoke_core::{Error, ErrorKind, HandlerDef};

use super::bind::ReadyApp;
use super::deploy::{Deployment, Names};
use super::plan::{self, Given, Plan, Problems};
use super::{App, AppHandle, DEFAULT_URL, Scope, open, table};
use crate::words;

impl App {
    /// Checks the whole application and opens its broker, without starting anything.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] with everything that is wrong, at once, each with its place and how to mend it; or what
    /// the broker says.
    pub async fn build(mut self) -> Result<ReadyApp, Error> {
        let mut problems = Problems::new();
        problems.extend(self.not_yet.iter().map(|slot| (*slot).to_owned()));
        let deployment = self.deployed(&mut problems);
        let names = Names::new(&self.name, &self.registry, &deployment, &mut problems);
        let handlers = self.chosen(&mut problems);
        if self.only.is_some() {
            // Events of handlers that do not take part are not looked at either.
            let used: Vec<_> =
                handlers.iter().flat_map(|handler| [handler.signature().inputs, handler.signature().outputs].concat()).collect();
            self.registry.events.retain(|event| used.iter().any(|other| (other.type_id)() == (event.type_id)()));
        }
        let given = Given {
            app: &self.name,
            registry: &self.registry,
            handlers: &handlers,
            state: &self.state,
            starts: &self.starts,
            deployment: &deployment,
            names: &names,
            at_run_time: None,
        };
        let mut plan = plan::plan(given, &mut problems);
        plan.subscriptions.iter_mut().for_each(|subscription| subscription.until_end = self.until_end);
        self.check_layers(&plan, &mut problems);
        let opened = match self.broker.take() {
            Some(broker) => Ok(broker),
            None => open::open(self.url.get_or_insert_with(|| DEFAULT_URL.to_owned()), &self.name, &self.registry.brokers).await,
        };
        match &opened {
            Ok(broker) => plan::check_capabilities(&plan, broker.capabilities(), &mut problems),
            Err(error) if !problems.is_empty() => problems.push(error.to_string()),
            Err(_) => {}
        }
        if !problems.is_empty() {
            return Err(Error::new(
                ErrorKind::Configuration,
                told(&format!("the application `{}` cannot start", self.name), &problems),
            ));
        }
        let broker = opened?;
        plan.subscriptions.iter_mut().for_each(|subscription| subscription.make_tiers(broker.capabilities()));
        #[cfg(feature = "testkit")]
        let broker = match self.decorate.take() {
            Some(decorate) => decorate(broker),
            None => broker,
        };
        let url = self.url.as_deref().and_then(|url| convoke_core::broker::BrokerUrl::parse(url).ok());
        let shown = url.map_or_else(|| broker.capabilities().name.to_owned(), |url| url.to_string());
        for warning in &plan.warnings {
            tracing::warn!(app = self.name, "{warning}");
        }
        Ok(ReadyApp { table: table::table(&self.name, &shown, &plan), app: self, plan, broker, names, deployment })
    }

    /// What the deployment says, which counts more than what the program says of its bounds.
    fn deployed(&mut self, problems: &mut Problems) -> Deployment {
        let mut deployment = std::mem::take(&mut self.file);
        deployment.overlay(std::mem::take(&mut self.environment));
        problems.append(&mut deployment.problems);
        for (name, said) in &deployment.handlers {
            if !self.registry.handlers.iter().any(|handler| handler.name == name) {
                let known: Vec<_> = self.registry.handlers.iter().map(|handler| handler.name).collect();
                problems.push(said.at.problem(format!("the program has no handler {}", words::unknown(name, known))));
            }
        }
        for (name, said) in &deployment.brokers {
            problems.push(said.at.problem(format!("a broker of its own for `{name}` is not supported yet; use `broker`")));
        }
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
                "no handler is linked into this program; a crate that is named in Cargo.toml and nowhere else is left out by the linker: \
                 write `use your_crate as _;`"
                    .to_owned(),
            );
        }
        let wanted = self
            .expected
            .iter()
            .chain(&self.on_demand)
            .chain(self.only.iter().flatten())
            .chain(self.starts.iter().map(|(name, _)| name));
        for name in wanted.filter(|name| !known.iter().any(|handler| handler.name == **name)) {
            let names: Vec<_> = known.iter().map(|handler| handler.name).collect();
            problems.push(format!(
                "no handler is named `{name}`; there are {}. If it is in another crate, write `use that_crate as _;`",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            ));
        }
        let chosen =
            |handler: &&&'static HandlerDef| self.only.as_ref().is_none_or(|only| only.iter().any(|name| name == handler.name));
        let at_start = |handler: &&&'static HandlerDef| !self.on_demand.iter().any(|name| name == handler.name);
        known.iter().filter(chosen).filter(at_start).copied().collect()
    }

    fn check_layers(&self, plan: &Plan, problems: &mut Problems) {
        for (scope, _) in &self.layers {
            let mut routes = plan.subscriptions.iter().flat_map(|one| &one.routes);
            match scope {
                Scope::Group(group) if !routes.any(|route| route.written_group == *group) => {
                    problems.push(format!("a layer is for the group `{group}`, which no handler is in"));
                }
                Scope::Handler(name) if !routes.any(|route| route.handler.name == name) => {
                    problems.push(format!("a layer is for the handler `{name}`, which does not exist"));
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
