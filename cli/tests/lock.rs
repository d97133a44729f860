//! `convoke lock`: in process on files, and once on a program that is built and asked.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use convoke::App;
use convoke_cli::Exit;
use support::{Bank, alone};

/// A folder of this test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lock-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes the description of the application of these tests, with one word replaced.
    fn describe(&self, from: &str, to: &str) -> String {
        let description = App::new("shop").state(Bank::default()).describe().unwrap().to_json();
        assert!(description.contains(from), "{description}");
        let path = self.path("description.json");
        fs::write(&path, format!("a word of the program\n{}\n", description.replace(from, to))).unwrap();
        path
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.path("convoke.lock.json")).unwrap()
    }

    async fn run(&self, words: &str) -> (Exit, String, String) {
        let (exit, out, err) = alone(&format!("lock --file {} {words}", self.path("convoke.lock.json"))).await;
        let folder = format!("{}/", self.0.to_str().unwrap());
        (exit, out.replace(&folder, ""), err.replace(&folder, ""))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn the_file_is_what_the_library_says_and_is_written_the_same_again() {
    let folder = Folder::new("again");
    let description = folder.describe("", "");
    let (exit, out, err) = folder.run(&format!("--from {description}")).await;
    assert_eq!((exit, out.as_str()), (Exit::Done, ""));
    assert!(err.contains("`convoke.lock.json` is written: 1 events, 1 handlers"), "{err}");
    let written = folder.lock();
    assert_eq!(written, App::new("shop").state(Bank::default()).describe().unwrap().lock());
    let (exit, out, err) = folder.run(&format!("--from {description}")).await;
    assert_eq!((exit, out.as_str(), folder.lock()), (Exit::Done, "", written));
    assert!(err.contains("is up to date") && err.contains("1 of 1 events have no schema"), "{err}");
    let (exit, ..) = folder.run(&format!("--check --from {}", folder.path("convoke.lock.json"))).await;
    assert_eq!(exit, Exit::Done, "a lock file is a description, too");
}

#[tokio::test]
async fn a_change_that_breaks_is_named_with_its_lines_and_how_to_mend_it() {
    let folder = Folder::new("breaks");
    folder.run(&format!("--from {}", folder.describe("", ""))).await;
    let (lock, description) = (folder.lock(), folder.describe("\"group\":\"bills\"", "\"group\":\"invoices\""));
    let (exit, out, err) = folder.run(&format!("--check --from {description}")).await;
    let line = 1 + lock.lines().position(|line| line.contains("\"group\": \"bills\"")).unwrap();
    assert_eq!(exit, Exit::Incompatible);
    assert!(out.starts_with("breaking  handler bill: its group went from `bills` to `invoices`"), "{out}");
    assert!(out.contains(&format!("\n          lock    convoke.lock.json:{line}\n")), "{out}");
    assert!(out.contains("\n          source  cli/tests/support/mod.rs:"), "{out}");
    assert!(out.contains("\n          mend    keep it: `#[handler(group = \"bills\")]`"), "{out}");
    assert!(err.contains("compatibility is broken: 1 breaking"), "{err}");
    assert_eq!(folder.lock(), lock, "it is only looked at");

    let (exit, out, _) = folder.run(&format!("--check --json --from {description}")).await;
    let finding: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!((exit, &finding["rule"], &finding["severity"]), (Exit::Incompatible, &"group-changed".into(), &"breaking".into()));
    assert_eq!(finding["lock"], format!("convoke.lock.json:{line}"));

    let (exit, out, _) = folder.run(&format!("--from {description}")).await;
    assert_eq!(exit, Exit::Done, "what is meant so is taken over");
    assert!(out.contains("breaking") && folder.lock().contains("invoices"), "{out}");
    assert_eq!(folder.run(&format!("--check --from {description}")).await.0, Exit::Done);
}

#[tokio::test]
async fn a_file_that_is_out_of_date_is_refreshed() {
    let folder = Folder::new("stale");
    folder.run(&format!("--from {}", folder.describe("", ""))).await;
    let description = folder.describe("\"attempts\":1", "\"attempts\":7");
    let (exit, out, err) = folder.run(&format!("--check --from {description}")).await;
    assert_eq!(exit, Exit::OutOfDate);
    assert!(out.starts_with("fine      handler bill: its retries go by other numbers"), "{out}");
    assert!(
        err.contains("out of date, and nothing is broken (0 breaking, 0 careful, 1 fine): `convoke lock` refreshes it"),
        "{err}"
    );
    assert_eq!(folder.run(&format!("--from {description}")).await.0, Exit::Done);
    assert_eq!(folder.run(&format!("--check --from {description}")).await.0, Exit::Done);
}

#[tokio::test]
async fn what_is_not_there_or_is_something_else_is_never_taken_for_compatible() {
    let folder = Folder::new("wrong");
    let description = folder.describe("", "");
    let (exit, _, err) = folder.run(&format!("--check --from {description}")).await;
    assert_eq!(exit, Exit::NotFound);
    assert!(err.contains("there is no `convoke.lock.json`; `convoke lock` writes it"), "{err}");
    fs::write(folder.path("convoke.lock.json"), "<<<<<<< HEAD\n").unwrap();
    let (exit, _, err) = folder.run(&format!("--check --from {description}")).await;
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("cannot be read: it is not JSON"), "{err}");
    let newer = folder.describe("\"convoke_lock\":1", "\"convoke_lock\":2");
    let (exit, _, err) = folder.run(&format!("--from {newer}")).await;
    assert_eq!(exit, Exit::Application);
    assert!(err.contains("its form is 2, and this tool knows 1"), "{err}");
    let (exit, _, err) = folder.run("--from /nowhere/at/all").await;
    assert_eq!(exit, Exit::NotFound);
    assert!(err.contains("cannot be read"), "{err}");
}

#[tokio::test]
async fn a_command_that_fails_or_says_nothing_is_told() {
    let folder = Folder::new("command");
    let (exit, _, err) = folder.run("-- cargo --no-such-option").await;
    assert_eq!(exit, Exit::Application);
    assert!(err.contains("the application has not described itself") && err.contains("--no-such-option"), "{err}");
    let (exit, _, err) = folder.run("-- cargo --version").await;
    assert_eq!(exit, Exit::Application);
    assert!(err.contains("`cargo --version` wrote no description"), "{err}");
    let (exit, _, err) = folder.run("-- no-such-program-anywhere").await;
    assert_eq!(exit, Exit::Application);
    assert!(err.contains("cannot be run"), "{err}");
}

#[test]
fn a_program_of_its_own_is_asked_and_reaches_no_broker() {
    let folder = Folder::new("quakes");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let file = folder.path("convoke.lock.json");
    // As `cargo test` has built it already.
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--example", "quakes"]);
    assert!(build.current_dir(root).status().unwrap().success());
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("debug/examples/quakes");
    let tool = |check: &[&str], broker: &str| {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_convoke"));
        tool.arg("lock").args(check).args(["--file", &file, "--"]).arg(&program);
        // Whoever reached for this broker would fail.
        tool.env("CONVOKE_BROKER", broker).current_dir(root).output().unwrap()
    };
    let output = tool(&[], "kafka://nowhere:1");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lock = folder.lock();
    for part in
        ["\"application\": \"quakes\"", "\"quakes.reported.v1\": {", "\"key\": \"self.0.net\"", "\"group\": \"quakes.screen\""]
    {
        assert!(lock.contains(part), "{part}:\n{lock}");
    }
    let output = Command::new(&program).env("CONVOKE_DESCRIBE", "xml").current_dir(root).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("the variable CONVOKE_DESCRIBE knows one word: `json`"));

    fs::write(&file, lock.replace("\"quakes.screen\"", "\"screening\"")).unwrap();
    let output = tool(&["--check"], "memory://");
    assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("handler screen: its group went from `screening` to `quakes.screen`"), "{out}");
    assert!(out.contains("source  examples/quakes/main.rs:"), "{out}");
}
