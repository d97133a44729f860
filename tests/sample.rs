//! The sample of the README, as a crate of its own: it names convoke, serde and tokio and nothing else, and stands outside of the
//! workspace, so that no feature and no dependency reaches it that a user's crate would not have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// That of the workspace: what the sample builds as we do is there already.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

fn source() -> String {
    fs::read_to_string(root().join("tests/sample/src/main.rs")).unwrap()
}

/// Runs cargo in the sample and returns what it said, or panics with it.
fn cargo(command: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args([command, "--manifest-path"])
        .arg(root().join("tests/sample/Cargo.toml"))
        .arg("--target-dir")
        .arg(target())
        // As the workspace builds its dependencies.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env_remove("CARGO_NET_OFFLINE")
        .env_remove("CARGO_BUILD_TARGET")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "`cargo {command}` in tests/sample:\n{said}");
    said
}

/// One test, because its steps share a target directory and a lock file.
#[test]
#[ignore = "full tier: it compiles all that an application is made of once more"]
fn the_sample_builds_without_warnings_passes_its_test_and_drains() {
    // The workspace's versions: they agree, and nothing is fetched that is not there already.
    fs::copy(root().join("Cargo.lock"), root().join("tests/sample/Cargo.lock")).unwrap();
    let said = cargo("test");
    assert!(said.contains("test tests::paying_reserves_stock ... ok"), "{said}");
    assert!(!said.contains("warning: `shop`"), "the sample has warnings:\n{said}");
    let said = cargo("build");
    assert!(!said.contains("warning: `shop`"), "the sample has warnings:\n{said}");
    #[cfg(unix)]
    runs_until_it_is_told_to_stop();
}

/// It prints the table that the book shows, and ends well at SIGTERM.
#[cfg(unix)]
fn runs_until_it_is_told_to_stop() {
    use std::io::{BufRead as _, BufReader};
    let page = fs::read_to_string(root().join("book/src/getting-started.md")).unwrap();
    let shown = page.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap().to_owned();
    let mut child = Command::new(target().join("debug/shop"))
        .env_remove("CONVOKE_BROKER")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let printed: String = lines.take(shown.lines().count()).map(|line| line.unwrap() + "\n").collect();
    let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(printed, shown, "the table in getting-started.md");
    assert!(told.success() && status.success(), "{status}");
}

#[test]
fn readme_and_book_show_the_sample_to_the_letter() {
    let block = format!("```rust,no_run\n{}```\n", source());
    for page in ["README.md", "book/src/getting-started.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        assert!(text.contains(&block), "{page} and tests/sample/src/main.rs differ");
    }
}

#[test]
fn readme_and_book_name_the_dependencies_of_the_sample() {
    let manifest = fs::read_to_string(root().join("tests/sample/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]\n").nth(1).unwrap().replace("{ path = \"../..\" }", "\"0.1\"");
    let block = format!("```toml\n[dependencies]\n{dependencies}```\n");
    for page in ["README.md", "book/src/getting-started.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        assert!(text.contains(&block), "{page} and tests/sample/Cargo.toml differ");
    }
}

#[test]
fn the_readme_says_the_commands_that_are_run() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let run = fs::read_to_string(root().join(".ci/run")).unwrap();
    let last = run.trim_end().lines().last().unwrap();
    assert!(readme.contains(&format!("```sh\n{last}\n```")), "`{last}` is what .ci/run runs");
}
