//! Processes of one group that share the work on a real server, while they are told to stop, killed in turn and frozen, and while the
//! server falls.
//!
//! The program is also the process: it starts itself with other arguments, see [`Processes::run`].

mod log;
mod scene;
mod worker;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use convoke_core::BoxFuture;
use convoke_core::broker::OpenBroker;

use crate::Kind;
use log::Log;
use scene::Scene;
use worker::Worker;

/// What a group of processes goes through, on servers of one kind.
#[derive(Debug)]
pub struct Processes {
    kind: Kind,
    open: OpenBroker,
    options: Vec<String>,
    repeats: u64,
    falls: Result<(), &'static str>,
}

impl Processes {
    /// Opens the broker of this kind by this function.
    #[must_use]
    pub fn new(kind: Kind, open: OpenBroker) -> Self {
        Self { kind, open, options: Vec::new(), repeats: 32, falls: Ok(()) }
    }

    /// Opens it with this option in the URL, as in `lease=2s`: leases and time-outs should be short.
    #[must_use]
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// How many messages may be done again for each process that dies, and for each that is at work when the server dies: what ran, and what
    /// was done and not settled yet. By default 32, since a busy machine settles later.
    #[must_use]
    pub fn repeats(mut self, repeats: u64) -> Self {
        self.repeats = repeats;
        self
    }

    /// The server does not fall in this test, and why: it is said each time.
    #[must_use]
    pub fn without_a_fall(mut self, why: &'static str) -> Self {
        self.falls = Err(why);
        self
    }

    /// Is a process of the group, if this program was started as one; else goes through everything, or through what has the word of the first
    /// argument in its name. It is the whole of a `main`.
    ///
    /// # Panics
    /// If a promise is broken.
    #[must_use]
    #[allow(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own says how it goes")]
    pub fn run(self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        if let Some((name, url, path)) = worker::asked() {
            return match runtime.block_on(worker::work(self.open, &url, Log::append(name, &path))) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error:?}");
                    ExitCode::FAILURE
                }
            };
        }
        let wanted = std::env::args().nth(1).filter(|argument| !argument.starts_with('-')).unwrap_or_default();
        let scenes: [(&str, BoxFuture<'_, String>); 4] = [
            ("a process that is told to stop loses and repeats nothing", Box::pin(self.ended())),
            ("processes that are killed in turn lose nothing", Box::pin(self.killed_in_turn())),
            ("a process that was frozen starts nothing that another has taken over", Box::pin(self.frozen())),
            ("a server that falls and comes back loses nothing", Box::pin(self.fallen())),
        ];
        for (what, scene) in scenes.into_iter().filter(|(what, _)| what.contains(&wanted)) {
            let begun = Instant::now();
            println!("{what} ... {} ({:.0?})", runtime.block_on(scene), begun.elapsed());
        }
        ExitCode::SUCCESS
    }

    async fn ended(&self) -> String {
        let (mut scene, mut first, _second) = self.both_work("ended").await;
        scene.publish(100).await;
        first.signal("-TERM");
        let status = first.ended().await;
        assert!(status.success(), "a process that was told to stop ends with {status}");
        scene.publish(100).await;
        scene.check(0).await
    }

    async fn killed_in_turn(&self) -> String {
        const TURNS: u64 = 3;
        let (mut scene, mut old, mut new) = self.both_work("killed").await;
        let mut mark = 0;
        for _turn in 0..TURNS {
            scene.feed("both work", |scene| scene.work_since(mark, [&old, &new], 20)).await;
            let calm = Instant::now();
            scene.feed("the group is calm", |_| calm.elapsed() > Duration::from_secs(1)).await;
            mark = scene.lines().len();
            old.kill();
            scene.publish(100).await;
            (old, new) = (new, scene.worker());
        }
        scene.check(TURNS * self.repeats).await
    }

    async fn frozen(&self) -> String {
        let (mut scene, first, second) = self.both_work("frozen").await;
        scene.publish(200).await;
        first.signal("-STOP");
        scene.publish(200).await;
        scene.all_done().await;
        let mark = scene.lines().len();
        first.signal("-CONT");
        scene.feed("both work again", |scene| scene.work_since(mark, [&first, &second], 5)).await;
        scene.all_done().await;
        let late = scene.begun_behind(mark, &first, &second);
        assert!(late.is_empty(), "after it was frozen, a process began what another had begun: {late:?}");
        scene.check(self.repeats).await
    }

    async fn fallen(&self) -> String {
        if let Err(why) = self.falls {
            return format!("not tried: {why}");
        }
        let (mut scene, _first, _second) = self.both_work("fallen").await;
        scene.publish(1000).await;
        scene.server_falls().await;
        scene.check(2 * self.repeats).await
    }

    /// A scene with two processes at work.
    async fn both_work(&self, name: &str) -> (Scene, Worker, Worker) {
        let mut scene = Scene::new(self, name).await;
        let (first, second) = (scene.worker(), scene.worker());
        scene.feed("both work", |scene| scene.work_since(0, [&first, &second], 20)).await;
        (scene, first, second)
    }
}
