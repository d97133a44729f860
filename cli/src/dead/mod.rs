//! `convoke dead`.

mod choice;
mod json;
mod list;
mod show;
mod work;

use clap::Subcommand;
use convoke::Error;

use crate::args::Common;
use crate::{Exit, World};

pub(crate) const EXAMPLES: &str = "\
One after the other:
  convoke dead list
      the topics that hold letters
  convoke dead list orders.paid.warehouse.dead
      the letters of one of them: when each was given up, by which handler, and why
  convoke dead show orders.paid.warehouse.dead 0197c1d2-8f3b-7c52-a5a1-6f2d0c9a7e11
      one of them, with its headers and payload
  convoke dead redrive orders.paid.warehouse.dead --max 10
      once the cause is mended, some of them; then, without --max, the rest

The application need not run, and this program has nothing of it. What exit codes mean: `convoke --help`.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists dead letters, or the topics that hold any
    #[command(after_help = list::EXAMPLES)]
    List(list::List),
    /// Shows all that is known of a dead letter: why it died, its headers and its payload
    #[command(after_help = show::EXAMPLES)]
    Show(show::Show),
    /// Sends dead letters back to the group that gave up on them, and to no other
    #[command(after_help = work::REDRIVE_EXAMPLES, long_about = work::REDRIVE)]
    Redrive(work::Redrive),
    /// Throws dead letters away
    #[command(after_help = work::PURGE_EXAMPLES, long_about = work::PURGE)]
    Purge(work::Purge),
}

pub(crate) async fn run(command: &Command, common: &Common, world: &mut World<'_>) -> Result<Exit, Error> {
    let dead = world.dead_letters(common).await?;
    match command {
        Command::List(list) => list.run(&dead, common, world).await,
        Command::Show(show) => show.run(&dead, common, world).await,
        Command::Redrive(redrive) => redrive.run(&dead, common, world).await,
        Command::Purge(purge) => purge.run(&dead, common, world).await,
    }
}

/// What to say if somebody else has partitions of the topic.
fn elsewhere(partitions: u32) -> String {
    format!(
        "{partitions} of the topic's partitions are read by another `convoke dead`, so that this is not all; wait for it, and call again"
    )
}
