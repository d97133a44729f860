//! The command-line tool of convoke, as a library: so that its commands are tried in the process of a test.
//!
//! A command is a module with its arguments, for clap, and a function that carries them out on a [`World`]. To add one, write such
//! a module, and name it in `args::Command`.

mod args;
mod dead;
mod exit;
mod lock;
mod text;
mod world;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind as Wrong;

pub use exit::Exit;
pub use world::World;

/// Runs the program as the process was called.
#[must_use]
pub fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            World::terminal().complain(&format!("no runtime can be started: {error}"));
            return Exit::Broker.into();
        }
    };
    runtime.block_on(run(std::env::args_os(), &mut World::terminal())).into()
}

/// Runs a command line, whose first word is the name of the program.
///
/// # Cancel safety
/// As that of what the command calls: see [`convoke::dead`].
pub async fn run<I, T>(words: I, world: &mut World<'_>) -> Exit
where
    I: IntoIterator<Item = T>,
    T: Into<std::ffi::OsString> + Clone,
{
    let cli = match args::Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            let text = error.render().to_string();
            if matches!(error.kind(), Wrong::DisplayHelp | Wrong::DisplayVersion) {
                world.say(text.trim_end());
                return Exit::Done;
            }
            world.complain_as_is(text.trim_end());
            return Exit::Usage;
        }
    };
    let done = match &cli.command {
        args::Command::Dead(command) => dead::run(command, &cli.common, world).await,
        args::Command::Lock(command) => Ok(lock::run(command, &cli.common, world)),
    };
    done.unwrap_or_else(|error| {
        world.complain(&format!("{error:?}"));
        Exit::of(&error)
    })
}
