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
