//! Processes of one group that share the work on a real server, while they are killed in turn and told to stop.
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

/// What a group of processes goes through, on servers of one kind.
#[derive(Debug)]
pub struct Processes {
    kind: Kind,
    open: OpenBroker,
    options: Vec<String>,
    repeats: u64,
}

impl Processes {
    /// Opens the broker of this kind by this function.
    #[must_use]
    pub fn new(kind: Kind, open: OpenBroker) -> Self {
        Self { kind, open, options: Vec::new(), repeats: 32 }
    }

    /// Opens it with this option in the URL, as in `lease=2s`: leases and time-outs should be short.
    #[must_use]
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// How many messages may be done again for each process that dies: what ran, and what was done and not settled yet. By default 32,
    /// since a busy machine settles later.
    #[must_use]
    pub fn repeats(mut self, repeats: u64) -> Self {
        self.repeats = repeats;
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
        let scenes: [(&str, BoxFuture<'_, String>); 2] = [
            ("a process that is told to stop loses and repeats nothing", Box::pin(self.ended())),
            ("processes that are killed in turn lose nothing", Box::pin(self.killed_in_turn())),
        ];
        for (what, scene) in scenes.into_iter().filter(|(what, _)| what.contains(&wanted)) {
            let begun = Instant::now();
            println!("{what} ... {} ({:.0?})", runtime.block_on(scene), begun.elapsed());
        }
        ExitCode::SUCCESS
    }

    async fn ended(&self) -> String {
        let mut scene = Scene::new(self, "ended").await;
        let (mut first, _second) = (scene.worker(), scene.worker());
        scene.feed("both work", |scene| scene.work_since(0, ["1", "2"], 20)).await;
        scene.publish(100).await;
        first.signal("-TERM");
        let status = first.ended().await;
        assert!(status.success(), "a process that was told to stop ends with {status}");
        scene.publish(100).await;
        scene.check(0).await
    }

    async fn killed_in_turn(&self) -> String {
        const TURNS: u64 = 3;
        let mut scene = Scene::new(self, "killed").await;
        let (mut old, mut new) = (scene.worker(), scene.worker());
        let mut mark = 0;
        for _turn in 0..TURNS {
            let names = [old.name.clone(), new.name.clone()];
            scene.feed("both work", |scene| scene.work_since(mark, names.each_ref().map(String::as_str), 20)).await;
            let calm = Instant::now();
            scene.feed("the group is calm", |_| calm.elapsed() > Duration::from_secs(1)).await;
            mark = scene.lines().len();
            old.kill();
            scene.publish(100).await;
            (old, new) = (new, scene.worker());
        }
        scene.check(TURNS * self.repeats).await
    }
}
