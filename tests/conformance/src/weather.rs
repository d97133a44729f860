//! The wire between clients and server, while a case goes on: calm, slow, or broken; and the server, which freezes and falls.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::lab::Lab;
use crate::stop::{CaseResult, Stop};
use crate::{Side, Trouble};

/// What the wire and the server are like while a case goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing happens to it that the case does not ask for.
    Calm,
    /// What passes is late, or stands still for a while. Nothing is lost, so that the case asks for no less.
    Slow,
    /// It is cut, and what passes vanishes, too. So more may be repeated, and nothing may be lost.
    Broken,
    /// The server itself stands still for longer than a lease, and then is killed, and started on its data. More may be repeated, and
    /// nothing may be lost.
    Falling,
    /// As the case makes it.
    Made,
}

/// What happens for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Every connection is cut, and nobody gets through.
    Cut,
    /// This happens to what goes this way.
    Trouble(Side, Trouble),
    /// The server stands still, and its connections stay.
    Freeze,
    /// The server is killed, and is started again after that.
    Fall,
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

const FALLING: [(Event, u64); 2] = [(Event::Freeze, 3500), (Event::Fall, 500)];

/// What comes of the weather. It ends when this is dropped.
pub(crate) struct Passing(Option<JoinHandle<CaseResult>>);

impl Passing {
    /// Calm.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Whether all that was to come has come.
    pub(crate) fn is_over(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it is over, and says whether everything could happen.
    pub(crate) async fn over(mut self) -> CaseResult {
        let Some(pass) = &mut self.0 else { return Ok(()) };
        pass.await.map_err(|error| Stop::failed(format!("the weather ended by itself: {error}")))?
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.0.take().inspect(JoinHandle::abort);
    }
}

impl Weather {
    /// Lets the wire, or the server, be like this from now on, for some fifteen seconds: then it is calm, and all has to come to its end.
    ///
    /// Times are those of the wire, and not stretched: what is short to a lease has to stay short.
    pub(crate) async fn begin(self, lab: &Lab) -> Result<Passing, Stop> {
        let (events, lasts, calm, rounds) = match self {
            Self::Calm | Self::Made => return Ok(Passing::none()),
            Self::Falling => return Ok(Passing(Some(tokio::spawn(fall(lab.clone()))))),
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
            Ok(())
        };
        Ok(Passing(Some(tokio::spawn(pass))))
    }
}

/// Begins when the case is at work, and ends when the server has been well for a moment.
async fn fall(lab: Lab) -> CaseResult {
    let calm = Duration::from_millis(1000);
    for (event, lasts) in FALLING {
        let lasts = Duration::from_millis(lasts);
        tokio::time::sleep(calm).await;
        event.happen(&lab, lasts).await?;
        if event == Event::Freeze {
            tokio::time::sleep(lasts).await;
        }
    }
    lab.story().event("server", "is there again");
    tokio::time::sleep(calm).await;
    Ok(())
}

impl Event {
    /// Lets it happen for so long. Returns as soon as it does; a fall, when the server is there again.
    pub(crate) async fn happen(self, lab: &Lab, lasts: Duration) -> Result<(), Stop> {
        lab.story().event("weather", format!("{self:?} for {lasts:?}"));
        match self {
            Self::Cut => lab.harness().cut(lasts).await,
            Self::Trouble(side, trouble) => lab.harness().disturb(side, trouble, lasts).await,
            Self::Freeze => lab.harness().freeze(lasts).await,
            Self::Fall => {
                lab.harness().kill().await?;
                tokio::time::sleep(lasts).await;
                lab.harness().start().await
            }
        }
    }
}
