//! What a command has to do with: where it writes, and which broker it finds.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use convoke::broker::{Broker, BrokerUrl};
use convoke::{Error, ErrorKind, dead::DeadLetters};

use crate::args::Common;

/// Where a command writes, and which broker it finds.
pub struct World<'w> {
    out: Box<dyn Write + 'w>,
    err: Box<dyn Write + 'w>,
    broker: Option<Arc<dyn Broker>>,
}

impl World<'static> {
    /// That of a program at a terminal, or in a script.
    #[must_use]
    pub fn terminal() -> Self {
        Self { out: Box::new(std::io::stdout()), err: Box::new(std::io::stderr()), broker: None }
    }
}

impl<'w> World<'w> {
    /// One of whose parts each is given: for tests.
    #[must_use]
    pub fn of(out: impl Write + 'w, err: impl Write + 'w) -> Self {
        Self { out: Box::new(out), err: Box::new(err), broker: None }
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

    /// The dead letters of the broker that is meant.
    pub(crate) async fn dead_letters(&self, common: &Common) -> Result<DeadLetters, Error> {
        if let Some(broker) = &self.broker {
            return Ok(DeadLetters::of(Arc::clone(broker)));
        }
        let Some(url) = &common.url else {
            let text = "no broker is named; say `--url kafka://localhost:9092`, or set the variable CONVOKE_BROKER";
            return Err(Error::new(ErrorKind::Configuration, text));
        };
        if BrokerUrl::parse(url)?.scheme() == "memory" {
            let text = "the embedded broker (`memory://`) lives within the process of the application, and another process sees nothing of \
                        it; within the application use `convoke::dead::DeadLetters::of(app.broker().clone())`";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        DeadLetters::open(url).await
    }
}

impl fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}
