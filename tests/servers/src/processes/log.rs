//! What the processes did, in a file that all of them write.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// The hand of one process in the file.
#[derive(Debug, Clone)]
pub(super) struct Log {
    name: String,
    file: Arc<Mutex<File>>,
}

impl Log {
    pub(super) fn append(name: String, path: &Path) -> Self {
        let file = OpenOptions::new().append(true).open(path).expect("the log");
        Self { name, file: Arc::new(Mutex::new(file)) }
    }

    pub(super) fn say(&self, what: &str, number: u64) {
        let line = format!("{} {} {what} {number}\n", now(), self.name);
        self.file.lock().expect("the log").write_all(line.as_bytes()).expect("a line in the log");
    }
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

/// A line of the file.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) begin: bool,
    pub(super) number: u64,
}

pub(super) fn lines(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).expect("the log");
    let line = |line: &str| {
        let mut words = line.split(' ');
        let (_at, name, what) = (words.next()?, words.next()?.to_owned(), words.next()?);
        Some(Line { name, begin: what == "begin", number: words.next()?.parse().ok()? })
    };
    text.lines().filter_map(line).collect()
}
