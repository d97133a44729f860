//! A program of ours that serves one line for another, and ends when its input does: however we end, it notices.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use convoke_conformance::Stop;

#[derive(Debug, Clone)]
pub(crate) struct Held(Arc<Mutex<Ends>>);

#[derive(Debug)]
struct Ends {
    /// There until this is dropped.
    child: Option<Child>,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Held {
    /// Starts the program, in a process group of its own: an interrupt from the terminal is for us, and it notices our end.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Stop> {
        let spawned = command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let failed = |error| Stop::failed(format!("{} cannot be run: {error}", command.get_program().display()));
        let mut child = spawned.map_err(failed)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = output.ok_or_else(|| Stop::failed("a program without output"))?;
        Ok(Self(Arc::new(Mutex::new(Ends { child: Some(child), input, output: BufReader::new(output) }))))
    }

    /// Says a line, unless it is none, and hears one.
    pub(crate) async fn say(&self, line: Option<String>) -> Result<String, Stop> {
        let ends = Arc::clone(&self.0);
        let spoken = tokio::task::spawn_blocking(move || {
            let mut ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
            if let (Some(line), Some(input)) = (line, &mut ends.input) {
                writeln!(input, "{line}")?;
            }
            let mut heard = String::new();
            ends.output.read_line(&mut heard)?;
            Ok::<_, std::io::Error>(heard)
        });
        let heard = spoken.await.map_err(|error| Stop::failed(error.to_string()))?;
        let heard = heard.map_err(|error| Stop::failed(format!("a program of the tests is gone: {error}")))?;
        match heard.strip_suffix('\n') {
            Some(heard) => Ok(heard.to_owned()),
            None => Err(Stop::failed("a program of the tests ended; it has said why above")),
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        // It cleans up and ends, which takes as long as a server takes to stop: whoever drops this may have others to serve meanwhile. It is
        // waited for all the same, so that no process is left that nobody has waited for.
        self.input = None;
        if let Some(mut child) = self.child.take() {
            std::thread::spawn(move || child.wait());
        }
    }
}
