//! Where the description of an application comes from.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use convoke::DESCRIBE_VARIABLE;

use super::contract::Contract;
use crate::{Exit, World};

/// Which application: by default `cargo run` here.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which application (by default, what `cargo run` runs here)")]
pub(super) struct Source {
    /// That of this package of the workspace
    #[arg(long, short, value_name = "SPEC")]
    package: Option<String>,
    /// That binary
    #[arg(long, value_name = "NAME")]
    bin: Option<String>,
    /// That example
    #[arg(long, value_name = "NAME")]
    example: Option<String>,
    /// With these cargo features
    #[arg(long, short = 'F', value_name = "FEATURES")]
    features: Option<String>,
    /// That of the package of this Cargo.toml
    #[arg(long, value_name = "PATH")]
    manifest_path: Option<PathBuf>,
    /// Reads what an application has written with CONVOKE_DESCRIBE=json, or another lock file; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["package", "bin", "example", "features", "manifest_path"])]
    from: Option<PathBuf>,
    /// Runs this, with CONVOKE_DESCRIBE=json
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["package", "bin", "example", "features", "manifest_path", "from"])]
    command: Vec<OsString>,
}

impl Source {
    /// The contract, and the text of its lock file. What is wrong is said, and what it means for the exit code.
    pub(super) fn read(&self, world: &mut World<'_>) -> Result<(Contract, String), Exit> {
        let (text, whose) = match &self.from {
            Some(path) => (read(path, world)?, format!("`{}`", path.display())),
            None => self.run(world)?,
        };
        Contract::of_description(&text).map_err(|problem| {
            world.complain(&format!("{whose}: {problem}"));
            Exit::Application
        })
    }

    fn run(&self, world: &mut World<'_>) -> Result<(String, String), Exit> {
        let words = self.words();
        let shown = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        world.note(&format!("asking the application: {shown}"));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env(DESCRIBE_VARIABLE, "json").stdin(Stdio::null());
        let output = command.output().map_err(|error| {
            world.complain(&format!("`{shown}` cannot be run: {error}"));
            Exit::Application
        })?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            let mut text = format!("the application has not described itself: {}", output.status);
            let _ = write!(text, "\n{}", err.trim_end());
            world.complain(&text);
            return Err(Exit::Application);
        }
        if !out.contains("convoke_lock") {
            let text = format!(
                "`{shown}` wrote no description; it does when it comes to `App::start`, `App::run` or `App::build`, of this version of \
                 convoke or a later one"
            );
            world.complain(&text);
            return Err(Exit::Application);
        }
        Ok((out.into_owned(), format!("`{shown}`")))
    }

    fn words(&self) -> Vec<OsString> {
        if !self.command.is_empty() {
            return self.command.clone();
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut words = vec![cargo, "run".into(), "--quiet".into()];
        let options = [
            ("--manifest-path", self.manifest_path.as_ref().map(|path| path.clone().into_os_string())),
            ("--package", self.package.as_ref().map(Into::into)),
            ("--bin", self.bin.as_ref().map(Into::into)),
            ("--example", self.example.as_ref().map(Into::into)),
            ("--features", self.features.as_ref().map(Into::into)),
        ];
        for (option, value) in options {
            words.extend(value.into_iter().flat_map(|value| [option.into(), value]));
        }
        words
    }
}

fn read(path: &PathBuf, world: &mut World<'_>) -> Result<String, Exit> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|error| {
        world.complain(&format!("`{}` cannot be read: {error}", path.display()));
        Exit::NotFound
    })
}
