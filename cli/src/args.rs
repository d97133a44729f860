//! The command line.

use clap::{Args, Parser, Subcommand};

use crate::{dead, lock};

/// Looks after applications that are made with convoke: what they have given up on, and what others depend on.
#[derive(Debug, Parser)]
#[command(name = "convoke", version, after_help = EXAMPLES, term_width = 100, subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The broker, as the application has it: `kafka://localhost:9092`. `lock` needs none
    #[arg(long, global = true, env = "CONVOKE_BROKER", hide_env_values = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Writes JSON, one value a line, in place of text for people
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Looks at dead letters, sends them back to the group that gave up on them, or throws them away
    #[command(subcommand, arg_required_else_help = true, disable_help_subcommand = true, after_help = dead::EXAMPLES)]
    Dead(dead::Command),
    Lock(lock::Lock),
}

const EXAMPLES: &str = "\
Examples:
  export CONVOKE_BROKER=kafka://localhost:9092
  convoke dead list
      what waits, and where
  convoke dead redrive orders.paid.warehouse.dead --dry-run
      what would go back to the group `warehouse`
  convoke lock --check
      whether a change breaks somebody who reads or writes the same events

Exit codes:
  0  done, or there was nothing to do
  1  done in part: messages were refused or failed, or somebody else works on the same topic
  2  the command line is wrong, or a confirmation is missing; nothing was done
  3  the broker cannot be reached, does not let us, or cannot do it
  4  what was named does not exist
  5, 6, 7  see `convoke lock --help`";
