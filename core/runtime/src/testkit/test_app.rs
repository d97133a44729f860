//! `TestApp`: a running application under test.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use convoke_core::broker::Broker;
use convoke_core::{Error, ErrorKind, Event, Publish};

use super::faults::{Failing, FailingLayer};
use super::place::Place;
use super::record::{Outage, Recorder};
use super::story::Story;
use crate::app::{App, AppHandle};

/// An application under test. It can do what an [`AppHandle`] can, and more.
#[derive(Clone)]
pub struct TestApp {
    handle: AppHandle,
    pub(super) kit: Arc<Kit>,
}

/// What outlives a restart.
pub(super) struct Kit {
    /// Makes the application anew; `None` if there was only one.
    make: Option<Box<dyn Fn() -> App + Send + Sync>>,
    pub(super) place: Place,
    pub(super) story: Arc<Story>,
    pub(super) outage: Arc<Outage>,
    pub(super) failing: Arc<Failing>,
    /// The application that runs now.
    running: Mutex<Option<AppHandle>>,
}

/// What a test's application is made of: a function, which makes it anew after a crash, or an application, which is made once.
pub trait MakeApp {
    /// The application, and what makes it anew.
    #[doc(hidden)]
    fn parts(self) -> (App, Option<Box<dyn Fn() -> App + Send + Sync>>);
}

impl MakeApp for App {
    fn parts(self) -> (App, Option<Box<dyn Fn() -> App + Send + Sync>>) {
        (self, None)
    }
}

impl<F: Fn() -> App + Send + Sync + 'static> MakeApp for F {
    fn parts(self) -> (App, Option<Box<dyn Fn() -> App + Send + Sync>>) {
        (self(), Some(Box::new(self)))
    }
}

impl TestApp {
    /// Starts an application on a memory broker of its own, whatever broker it names. Each further broker is another one of its own.
    ///
    /// `app` is a function that makes the application, or an application; a function can also be [restarted](Self::restart).
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing has been started.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start(app: impl MakeApp) -> Result<Self, Error> {
        Self::start_at(app, Place::own()).await
    }

    /// Starts an application on the broker of this URL: a second one over the same broker sees the same topics.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing has been started.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_on(app: impl MakeApp, url: impl Into<String>) -> Result<Self, Error> {
        Self::start_at(app, Place::at(url.into())).await
    }

    pub(super) async fn start_at(app: impl MakeApp, place: Place) -> Result<Self, Error> {
        let (app, make) = app.parts();
        let kit = Kit {
            make,
            place,
            story: Arc::new(Story::new()),
            outage: Arc::default(),
            failing: Arc::default(),
            running: Mutex::default(),
        };
        Self::start_with(app, Arc::new(kit)).await
    }

    async fn start_with(app: App, kit: Arc<Kit>) -> Result<Self, Error> {
        let (place, story, outage) = (kit.place.clone(), Arc::clone(&kit.story), Arc::clone(&kit.outage));
        let decorate = move |name: &str, broker: Arc<dyn Broker>| -> Arc<dyn Broker> {
            let (inner, story, outage) = (place.around(name, broker), Arc::clone(&story), Arc::clone(&outage));
            Arc::new(Recorder { inner, story, outage })
        };
        let app = app.isolated(kit.place.url()).quiet().observe(Arc::<Story>::clone(&kit.story));
        let app = app.innermost_layer(FailingLayer(Arc::clone(&kit.failing))).decorated(decorate);
        let handle = app.start().await?;
        *kit.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle.clone());
        Ok(Self { handle, kit })
    }

    /// The process dies where it stands, as by `kill -9`, and is started again over the same broker: what the broker has stays, and the
    /// application with all of its state is made anew, by the function that made it. The story goes on.
    ///
    /// What handlers have spawned by themselves is not killed: it is not the application's.
    ///
    /// # Delivery
    /// What was not settled is delivered again.
    ///
    /// # Cancel safety
    /// If the future is dropped, the application is dead, and perhaps not started again.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the test was not given a function that makes the application; as [`App::start`].
    pub async fn restart(self) -> Result<Self, Error> {
        let Some(make) = &self.kit.make else {
            let text =
                "this application cannot be made anew; give `TestApp::start` the function that makes it, and not what it returns";
            return Err(Error::new(ErrorKind::Unsupported, text));
        };
        self.handle.crash().await;
        self.kit.story.say("the process dies, and is started again");
        // The handle of the dead one is dropped only when there is another: a broker of this process lives as long as somebody has it.
        Self::start_with(make(), Arc::clone(&self.kit)).await
    }

    /// The application.
    #[must_use]
    pub fn handle(&self) -> &AppHandle {
        &self.handle
    }

    /// The application that runs now, whichever handle the test has kept.
    pub(super) fn running(&self) -> AppHandle {
        let running = self.kit.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.clone().unwrap_or_else(|| self.handle.clone())
    }

    /// Publishes an event, as the application does.
    pub fn publish<E: Event>(&self, event: &E) -> Publish<'_> {
        self.handle.publisher().publish(event)
    }

    /// Lets time pass, and everything that is due in it happen. Virtual time passes in no time; on a real broker it is waited for.
    ///
    /// # Cancel safety
    /// If the future is dropped, some of the time has passed.
    pub async fn advance(&self, time: Duration) {
        // Sleeping, not `tokio::time::advance`: what becomes due on the way is done on the way, and not all at the end.
        tokio::time::sleep(time).await;
    }
}

impl Deref for TestApp {
    type Target = AppHandle;

    fn deref(&self) -> &AppHandle {
        &self.handle
    }
}

impl fmt::Debug for TestApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestApp").field("handle", &self.handle).finish_non_exhaustive()
    }
}
