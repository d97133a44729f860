//! What a command has to do with: where it writes, whom it asks, and which broker it finds.

use std::fmt;
use std::io::{BufRead as _, IsTerminal as _, Write};
use std::sync::Arc;

use convoke::broker::{Broker, BrokerUrl};
use convoke::{Error, ErrorKind, Registry, dead::DeadLetters};

use crate::args::Common;

/// Asks a question, and says whether the answer was yes; `None` if there is nobody to ask.
type Ask<'w> = Box<dyn FnMut(&str) -> Option<bool> + 'w>;

/// Where a command writes, whom it asks, and which broker it finds.
pub struct World<'w> {
    out: Box<dyn Write + 'w>,
    err: Box<dyn Write + 'w>,
    ask: Ask<'w>,
    broker: Option<Arc<dyn Broker>>,
}

impl World<'static> {
    /// That of a program at a terminal, or in a script.
    #[must_use]
    pub fn terminal() -> Self {
        Self { out: Box::new(std::io::stdout()), err: Box::new(std::io::stderr()), ask: Box::new(ask_terminal), broker: None }
    }
}

impl<'w> World<'w> {
    /// One of whose parts each is given: for tests.
    #[must_use]
    pub fn of(out: impl Write + 'w, err: impl Write + 'w, ask: impl FnMut(&str) -> Option<bool> + 'w) -> Self {
        Self { out: Box::new(out), err: Box::new(err), ask: Box::new(ask), broker: None }
    }

    /// Uses this broker, whatever the URL says.
    #[must_use]
    pub fn with_broker(mut self, broker: Arc<dyn Broker>) -> Self {
        self.broker = Some(broker);
        self
    }

    /// Writes a line that is the command's result.
    pub fn say(&mut self, text: &str) {
        // Whoever has closed the pipe has read enough.
        let _ = writeln!(self.out, "{text}");
    }

    /// Writes bytes that are the command's result, as they are.
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        let _ = self.out.write_all(bytes);
    }

    /// Writes a line for people beside the result.
    pub fn note(&mut self, text: &str) {
        let _ = writeln!(self.err, "{text}");
    }

    /// Says what is wrong.
    pub fn complain(&mut self, text: &str) {
        self.note(&format!("error: {text}"));
    }

    pub(crate) fn complain_as_is(&mut self, text: &str) {
        self.note(text);
    }

    /// Asks, and says whether the answer was yes; `None` if there is nobody to ask.
    pub(crate) fn ask(&mut self, question: &str) -> Option<bool> {
        (self.ask)(question)
    }

    /// The dead letters of the broker that is meant.
    pub(crate) async fn dead_letters(&self, common: &Common) -> Result<DeadLetters, Error> {
        if let Some(broker) = &self.broker {
            return Ok(DeadLetters::of(Arc::clone(broker)));
        }
        let Some(url) = &common.url else {
            let text = "no broker is named; say `--url kafka://localhost:9092`, or set the variable CONVOKE_BROKER";
            return Err(Error::new(ErrorKind::Configuration, text));
        };
        let scheme = BrokerUrl::parse(url)?.scheme().to_owned();
        if scheme == "memory" {
            let text = "the embedded broker (`memory://`) lives within the process of the application, and another process sees nothing of \
                        it; within the application use `convoke::dead::DeadLetters::of(app.broker().clone())`";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        if let Some(feature) = missing_feature(&scheme) {
            let text = format!(
                "this `convoke` was built without the cargo feature `{feature}`, which `{scheme}://` needs: \
                 `cargo install convoke-cli --features {feature}`, and all others that you use"
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        DeadLetters::open(url).await
    }
}

/// The feature that brings the broker of this scheme, if it is off here: what an application would be told of it is of no use to
/// whoever runs a program.
fn missing_feature(scheme: &str) -> Option<&'static str> {
    let brokers = Registry::collect().brokers;
    let factory = brokers.into_iter().find(|factory| factory.schemes.contains(&scheme))?;
    (factory.open.is_none() && !factory.is_planned()).then_some(factory.feature)
}

impl fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

fn ask_terminal(question: &str) -> Option<bool> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    let _ = write!(std::io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
