//! `convoke dead`.

mod topics;

use clap::Subcommand;
use convoke::Error;

use crate::args::Common;
use crate::{Exit, World};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the topics that hold dead letters, and how many
    Topics,
}

pub(crate) async fn run(command: &Command, common: &Common, world: &mut World<'_>) -> Result<Exit, Error> {
    let dead = world.dead_letters(common).await?;
    match command {
        Command::Topics => topics::run(&dead, common, world).await,
    }
}
