//! What is to be run.

use convoke::BoxError;

/// One way to consume the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Through convoke, from the broker to the settlement.
    Convoke,
    /// Through a loop over the broker's own subscription, written by hand. It settles after the work, in batches; it handles one
    /// message after the other.
    Loop,
    /// The decoding of the payloads, and nothing else.
    Decode,
}

/// What a handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// It is done when it is polled for the first time.
    Returns,
    /// It is pending once, and is woken by the runtime: handed over, and polled again.
    Yields,
}

/// How several handlers are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrangement {
    /// Each has a topic, a group and a subscription of its own.
    Apart,
    /// Each has a topic of its own; they share one subscription, because they share a lane.
    Shared,
}

/// How the four layers are put around the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layers {
    /// By as many calls of `App::layer`: the type is forgotten after each.
    Each(u32),
    /// As one stack, made by tower's `ServiceBuilder`: always four.
    Stack,
}

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The way.
    pub path: Path,
    /// How many messages are published and consumed.
    pub messages: u64,
    /// Of how many keys.
    pub keys: u64,
    /// To how many handlers, evenly.
    pub handlers: u64,
    /// How the handlers are arranged.
    pub arrangement: Arrangement,
    /// How many partitions a topic has.
    pub partitions: u32,
    /// How many deliveries of a handler run at the same time.
    pub concurrency: u32,
    /// The layers.
    pub layers: Layers,
    /// What the handler does.
    pub work: Work,
    topics: Vec<String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            path: Path::Convoke,
            messages: 20_000,
            keys: 1_000,
            handlers: 1,
            arrangement: Arrangement::Apart,
            partitions: 8,
            concurrency: 16,
            layers: Layers::Each(4),
            work: Work::Returns,
            topics: Vec::new(),
        }
        .named()
    }
}

impl Plan {
    /// Reads a plan from arguments: the path, then `--name value`.
    ///
    /// # Errors
    /// If they say nothing sensible.
    pub fn from_args(args: impl Iterator<Item = String>) -> Result<Self, BoxError> {
        let mut plan = Self::default();
        let mut args = args.peekable();
        if let Some(path) = args.next_if(|arg| !arg.starts_with("--")) {
            plan.path = match &*path {
                "convoke" => Path::Convoke,
                "loop" => Path::Loop,
                "decode" => Path::Decode,
                other => return Err(format!("`{other}` is no path; there are `convoke`, `loop` and `decode`").into()),
            };
        }
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("`{name}` needs a value"))?;
            match &*name {
                "--messages" => plan.messages = value.parse()?,
                "--keys" => plan.keys = value.parse()?,
                "--handlers" => plan.handlers = value.parse()?,
                "--partitions" => plan.partitions = value.parse()?,
                "--concurrency" => plan.concurrency = value.parse()?,
                "--layers" if value == "stack" => plan.layers = Layers::Stack,
                "--layers" => plan.layers = Layers::Each(value.parse()?),
                "--work" if value == "yields" => plan.work = Work::Yields,
                "--work" if value == "returns" => plan.work = Work::Returns,
                "--arrangement" if value == "apart" => plan.arrangement = Arrangement::Apart,
                "--arrangement" if value == "shared" => plan.arrangement = Arrangement::Shared,
                _ => return Err(format!("`{name} {value}` means nothing here").into()),
            }
        }
        if plan.messages == 0 || plan.keys == 0 || plan.handlers == 0 {
            return Err("messages, keys and handlers are at least one".into());
        }
        Ok(plan.named())
    }

    fn named(mut self) -> Self {
        self.topics = (0..self.handlers).map(|index| format!("quotes.{index}")).collect();
        self
    }

    pub(crate) fn topics(&self) -> u64 {
        self.topics.len() as u64
    }

    pub(crate) fn topic(&self, index: u64) -> &str {
        &self.topics[usize::try_from(index).unwrap_or(usize::MAX)]
    }
}
