//! What `--help` says, word for word. `CONVOKE_HELP=overwrite cargo test -p convoke-cli --test help` writes it anew; read the
//! difference before you commit it.

mod support;

use std::fs;
use std::path::Path;

use convoke_cli::Exit;
use support::alone;

#[tokio::test]
async fn help_says_what_it_said() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    let mut different = Vec::new();
    for command in ["", "dead", "dead list", "dead show", "dead redrive", "dead purge", "lock"] {
        let (exit, out, err) = alone(&format!("{command} --help")).await;
        assert_eq!((exit, err.as_str()), (Exit::Done, ""));
        let file = folder.join(format!("{}.txt", format!("convoke {command}").trim().replace(' ', "-")));
        if std::env::var("CONVOKE_HELP").is_ok_and(|how| how == "overwrite") {
            fs::write(&file, &out).unwrap();
        }
        if fs::read_to_string(&file).unwrap_or_default() != out {
            different.push(format!("{}:\n{out}", file.display()));
        }
        assert!(out.lines().all(|line| line.chars().count() <= 140), "a line is too long for a terminal:\n{out}");
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

#[tokio::test]
async fn without_a_command_help_is_shown_and_the_exit_code_says_that_nothing_was_done() {
    for words in ["", "dead"] {
        let (exit, out, err) = alone(words).await;
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
        assert!(err.contains("Usage: convoke"), "{err}");
    }
}

#[tokio::test]
async fn the_version_is_that_of_the_package() {
    let (exit, out, _) = alone("--version").await;
    assert_eq!((exit, out), (Exit::Done, format!("convoke {}\n", env!("CARGO_PKG_VERSION"))));
}
