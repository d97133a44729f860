//! The wire between clients and server, while a case goes on: calm, slow, or broken.

use std::time::Duration;

use tokio::task::AbortHandle;

use crate::lab::Lab;
use crate::stop::Stop;
use crate::{Side, Trouble};

/// What the wire is like while a case goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing happens to it that the case does not ask for.
    Calm,
    /// What passes is late, or stands still for a while. Nothing is lost, so that the case asks for no less.
    Slow,
    /// It is cut, and what passes vanishes, too. So more may be repeated, and nothing may be lost.
    Broken,
    /// As the case makes it.
    Made,
}

/// What happens to the wire for a while.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// Every connection is cut, and nobody gets through.
    Cut,
    /// This happens to what goes this way.
    Trouble(Side, Trouble),
}

use Side::{Answers, Requests};

const LATE: Trouble = Trouble::Delay(Duration::from_millis(60));

const SLOW: [Event; 4] = [
    Event::Trouble(Requests, LATE),
    Event::Trouble(Answers, Trouble::Stall),
    Event::Trouble(Answers, LATE),
    Event::Trouble(Requests, Trouble::Stall),
];

/// Everything that can happen to a wire.
pub(crate) const BROKEN: [Event; 7] = [
    Event::Trouble(Answers, Trouble::Swallow),
    Event::Cut,
    Event::Trouble(Requests, Trouble::Stall),
    Event::Trouble(Requests, Trouble::Swallow),
    Event::Trouble(Answers, Trouble::Stall),
    Event::Trouble(Requests, LATE),
    Event::Trouble(Answers, LATE),
];

/// Ends when it is dropped.
pub(crate) struct Passing(Option<AbortHandle>);

impl Drop for Passing {
    fn drop(&mut self) {
        self.0.take().inspect(AbortHandle::abort);
    }
}

impl Weather {
    /// Lets the wire be like this from now on, for some fifteen seconds: then it is calm, and all has to come to its end.
    ///
    /// Times are those of the wire, and not stretched: what is short to a lease has to stay short.
    pub(crate) async fn begin(self, lab: &Lab) -> Result<Passing, Stop> {
        let (events, lasts, calm, rounds) = match self {
            Self::Calm | Self::Made => return Ok(Passing(None)),
            Self::Slow => (&SLOW[..], 500, 0, 8),
            Self::Broken => (&BROKEN[..], 400, 700, 2),
        };
        let (lasts, calm) = (Duration::from_millis(lasts), Duration::from_millis(calm));
        // Says so at once if the harness cannot.
        events[0].happen(lab, lasts).await?;
        let lab = lab.clone();
        let pass = async move {
            for event in events.iter().cycle().skip(1).take(events.len() * rounds - 1) {
                tokio::time::sleep(lasts + calm).await;
                let _ = event.happen(&lab, lasts).await;
            }
        };
        Ok(Passing(Some(tokio::spawn(pass).abort_handle())))
    }
}

impl Event {
    /// Lets it happen for so long. Returns as soon as it does.
    pub(crate) async fn happen(self, lab: &Lab, lasts: Duration) -> Result<(), Stop> {
        lab.story().event("wire", format!("{self:?} for {lasts:?}"));
        match self {
            Self::Cut => lab.harness().cut(lasts).await,
            Self::Trouble(side, trouble) => lab.harness().disturb(side, trouble, lasts).await,
        }
    }
}
