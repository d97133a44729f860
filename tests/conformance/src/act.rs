//! Handlers without macros: what they read, with which options, and what they do.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use convoke_core::{
    BoxError, BoxFuture, BoxHandler, Delivery, Event as _, FromDelivery as _, HandlerDef, HandlerOptions, IntoReply, Location,
    OnRetry, Order, Outcome, Rejection, Reply, RetryOptions, Signature, StartAt, Verdict, encode, handler_fn,
};
use tokio::time::Instant;

use crate::calls::{Called, How, Journal};
use crate::note::Note;
use crate::story::Story;

/// What a handler of a case is called with.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) note: Note,
    pub(crate) attempt: u32,
}

type Does = Arc<dyn Fn(Call) -> BoxFuture<'static, Returned> + Send + Sync>;
/// What was returned, to be made a reply.
type Returned = Box<dyn FnOnce(&Delivery) -> Result<Reply, BoxError> + Send>;

/// A handler in the making.
#[derive(Clone)]
pub(crate) struct Act {
    pub(crate) name: &'static str,
    topic: &'static str,
    whole: bool,
    pub(crate) options: HandlerOptions,
    does: Does,
}

/// A handler of notes on this topic, which does nothing.
pub(crate) fn on(name: &'static str, topic: &'static str) -> Act {
    Act { name, topic, whole: false, options: HandlerOptions::new(), does: erased(|_| async {}) }
}

/// A handler of whatever is on this topic, undecoded.
pub(crate) fn on_anything(name: &'static str, topic: &'static str) -> Act {
    Act { whole: true, ..on(name, topic) }
}

/// Forgets the types of a function and what it returns.
fn erased<F, Fut, R>(does: F) -> Does
where
    F: Fn(Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoReply + Send + 'static,
{
    Arc::new(move |call| {
        let future = does(call);
        Box::pin(async move {
            let returned = future.await;
            Box::new(move |delivery: &Delivery| returned.into_reply(delivery)) as Returned
        })
    })
}

impl Act {
    /// What it does with a message.
    pub(crate) fn does<F, Fut, R>(mut self, does: F) -> Self
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoReply + Send + 'static,
    {
        self.does = erased(does);
        self
    }

    pub(crate) fn option(mut self, change: impl FnOnce(&mut HandlerOptions)) -> Self {
        change(&mut self.options);
        self
    }

    pub(crate) fn concurrency(self, concurrency: u32) -> Self {
        self.option(|options| options.concurrency = concurrency)
    }

    pub(crate) fn group(self, group: &'static str) -> Self {
        self.option(|options| options.group = Some(group))
    }

    pub(crate) fn passing(self) -> Self {
        self.option(|options| options.on_retry = OnRetry::Pass)
    }

    pub(crate) fn unordered(self) -> Self {
        self.option(|options| options.order = Some(Order::None))
    }

    pub(crate) fn starting_new(self) -> Self {
        self.option(|options| options.start = Some(StartAt::New))
    }

    /// So many attempts, with delays between these, without jitter.
    pub(crate) fn retry(self, attempts: u32, min: Duration, max: Duration) -> Self {
        self.option(|options| options.retry = RetryOptions::new().attempts(attempts).backoff(min, max).jitter(0))
    }

    /// The registry's entry, which lives as long as the program, as handlers do.
    pub(crate) fn define(&self) -> &'static HandlerDef {
        let describe =
            if self.whole { |signature: &mut Signature| signature.whole = true } else { <Note as DescribeNote>::describe };
        let def = HandlerDef::new(
            self.name,
            describe,
            || BoxHandler::new(handler_fn(run)),
            Location::here(file!(), line!(), module_path!()),
        );
        let mut options = self.options;
        options.topics = Box::leak(Box::new([self.topic]));
        Box::leak(Box::new(def.options(options)))
    }
}

trait DescribeNote {
    fn describe(signature: &mut Signature);
}

impl DescribeNote for Note {
    fn describe(signature: &mut Signature) {
        signature.inputs.push(Self::DEF);
    }
}

/// The handlers of a process, by name: its application's state.
#[derive(Clone)]
pub(crate) struct Acts {
    pub(crate) process: String,
    pub(crate) acts: Arc<HashMap<&'static str, Act>>,
    pub(crate) journal: Journal,
    pub(crate) story: Story,
}

/// What every handler of every case is: it looks up what it is to do.
async fn run(delivery: Delivery) -> Result<Reply, BoxError> {
    let context = Arc::clone(delivery.context());
    let acts = context.state.get::<Acts>().ok_or("the application has no acts")?;
    let act = acts.acts.get(&*context.handler).ok_or("a handler without an act")?;
    let delivered = delivery.first().ok_or("a delivery without a message")?;
    let note = match Note::from_delivery(&delivery) {
        Ok(note) => note,
        Err(_) if act.whole => Note::new("", 0),
        Err(Rejection::Dead(reason, error)) => {
            delivery.reject(0, reason, error);
            let mut reply = Reply::ack();
            reply.rejected = delivery.take_rejected();
            return Ok(reply);
        }
        Err(Rejection::Failed(error)) => return Err(error),
        Err(_) => return Err("a rejection that this suite does not know".into()),
    };
    let id = delivered.id().into_owned();
    let called = Called {
        begun: Instant::now(),
        ended: None,
        how: How::Running,
        process: acts.process.clone(),
        handler: act.name.to_owned(),
        message: delivered.message().clone(),
        id: id.clone(),
        key: note.key.clone(),
        number: note.number,
        attempt: delivered.attempt,
        deliveries: delivered.incoming.deliveries,
    };
    let call = Call { note, attempt: delivered.attempt };
    let mut running = Running { acts: acts.clone(), handler: act.name, id, index: acts.journal.begin(called), over: false };
    let returned = (act.does)(call).await;
    let reply = returned(&delivery);
    running.end(&reply);
    reply
}

/// Notes how a call ends, also if it is dropped.
struct Running {
    acts: Acts,
    handler: &'static str,
    id: String,
    index: usize,
    over: bool,
}

impl Running {
    fn end(&mut self, reply: &Result<Reply, BoxError>) {
        self.over = true;
        let done = |reply: &Reply| matches!(reply.verdict, Verdict::All(Outcome::Ack | Outcome::Drop));
        let (how, text) = match reply {
            Ok(reply) if done(reply) => (How::Done, format!("`{}` returned", self.handler)),
            Ok(reply) => (How::Failed, format!("`{}` returned {:?}", self.handler, reply.verdict)),
            Err(error) => (How::Failed, format!("`{}` failed: {error}", self.handler)),
        };
        self.acts.journal.end(self.index, how);
        self.acts.story.id(&self.acts.process, &self.id, text);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.over {
            self.acts.journal.end(self.index, How::Cut);
            let how = if std::thread::panicking() { "panicked" } else { "was dropped where it stood" };
            self.acts.story.id(&self.acts.process, &self.id, format!("`{}` {how}", self.handler));
        }
    }
}

/// A reply that publishes these notes to a topic.
pub(crate) fn returning(topic: &str, notes: &[Note]) -> Result<Reply, BoxError> {
    let mut reply = Reply::ack();
    for note in notes {
        reply.outgoing.push(encode(note)?.topic(topic));
    }
    Ok(reply)
}
