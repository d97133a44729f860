//! The same cases, under whatever compiler runs this: our own sentences are said, where they belong, and no error follows from
//! another. How rustc words and underlines the rest is its own affair; to the letter, it is held by `mistakes.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What the compiler said of a case.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    message: String,
    line: u64,
}

/// Cases whose sentence is the compiler's own.
const RUSTC: [&str; 7] = [
    "argument_unknown_type",
    "const",
    "crate_nowhere",
    "future_not_send",
    "lock_across_await",
    "meta_without_lifetime",
    "question_mark_without_result",
];

fn cases() -> Vec<PathBuf> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let folders = fs::read_dir(cases).unwrap().map(|folder| folder.unwrap().path());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()));
    let mut cases: Vec<_> = files.filter(|file| file.extension().is_some_and(|extension| extension == "rs")).collect();
    cases.sort();
    cases
}

/// A name for the program of a case: `handler_not_async`.
fn name(case: &Path) -> String {
    let folder = case.parent().and_then(Path::file_name).unwrap().to_string_lossy();
    format!("{folder}_{}", case.file_stem().unwrap().to_string_lossy())
}

/// Compiles all cases as tests, in one run, and returns the errors of each.
fn compile(cases: &[PathBuf]) -> BTreeMap<String, Vec<Said>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("any_compiler");
    fs::create_dir_all(&package).unwrap();
    let programs: String =
        cases.iter().map(|case| format!("[[bin]]\nname = {:?}\npath = {:?}\n", name(case), case.display().to_string())).collect();
    let manifest = format!(
        "[package]\nname = \"cases\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nconvoke = {{ path = {:?} }}\n\
         serde = {{ version = \"1\", features = [\"derive\"] }}\ntokio = {{ version = \"1\", features = [\"rt\", \"macros\", \"time\"] }}\n{programs}",
        root.display().to_string()
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["check", "--tests", "--keep-going", "--message-format=json"])
        .current_dir(&package)
        // The dependencies are there already, where the strict test has built them.
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("../tests/trybuild"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .output()
        .unwrap();
    let mut said: BTreeMap<String, Vec<Said>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(report) = serde_json::from_str::<Value>(line) else { continue };
        let (target, message) = (&report["target"]["name"], &report["message"]);
        let summary = message["message"].as_str().is_some_and(|text| text.starts_with("aborting due to"));
        if message["level"] != "error" || summary {
            continue;
        }
        let primary = message["spans"].as_array().and_then(|spans| spans.iter().find(|span| span["is_primary"] == true));
        let line = primary.map_or(0, line_in_case);
        let message = message["message"].as_str().unwrap_or_default().to_owned();
        said.entry(target.as_str().unwrap_or_default().to_owned()).or_default().push(Said { message, line });
    }
    assert!(!said.is_empty(), "nothing was compiled:\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The line of the case in which a span is, or of the macro's call in it.
fn line_in_case(mut span: &Value) -> u64 {
    while !span["file_name"].as_str().is_some_and(|file| file.contains("/ui/cases/")) && !span["expansion"].is_null() {
        span = &span["expansion"]["span"];
    }
    span["line_start"].as_u64().unwrap_or(0)
}

/// What the `.stderr` of a case has: the sentence and the line of each error.
fn expected(case: &Path) -> Vec<Said> {
    let text = fs::read_to_string(case.with_extension("stderr")).unwrap_or_default();
    let mut lines = text.lines();
    let mut said = Vec::new();
    while let Some(line) = lines.next() {
        if !line.starts_with("error") {
            continue;
        }
        let message = line.split_once(": ").map(|(_, message)| message.to_owned()).unwrap_or_default();
        let place = lines.next().unwrap_or_default();
        let line = place.rsplit(':').nth(1).and_then(|line| line.parse().ok()).unwrap_or(0);
        said.push(Said { message, line });
    }
    said
}

/// A sentence without the paths before the names of types, which compilers shorten as they like.
fn plain(message: &str) -> String {
    let words = message.split_inclusive(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
    words.map(|word| word.rsplit("::").next().unwrap_or(word)).collect()
}

/// What is wrong with what was said of a case.
fn judge(case: &Path, said: &[Said]) -> Vec<String> {
    let stem = case.file_stem().unwrap().to_string_lossy();
    let text = || format!("{}: it says {said:#?}", name(case));
    if case.parent().and_then(Path::file_name).is_some_and(|folder| folder == "in_tests") {
        let source = fs::read_to_string(case).unwrap();
        let here = source.lines().position(|line| line.ends_with("// here")).unwrap() as u64 + 1;
        let one = said.len() == 1 && said[0].line == here;
        return if one { Vec::new() } else { vec![format!("{}\none error is expected in line {here}", text())] };
    }
    let expected = expected(case);
    let mut wrong = Vec::new();
    if said.is_empty() || said.len() > expected.len() {
        wrong.push(format!("{}\n{} errors are expected", text(), expected.len()));
    }
    for one in expected.iter().filter(|_| !RUSTC.contains(&&*stem)) {
        if !said.iter().any(|said| plain(&said.message) == plain(&one.message) && said.line == one.line) {
            wrong.push(format!("{}\nthis is missing: {one:?}", text()));
        }
    }
    wrong
}

#[test]
#[ignore = "full tier: it compiles all cases"]
fn under_any_compiler_our_sentences_are_said_and_nothing_follows_from_them() {
    let cases = cases();
    let said = compile(&cases);
    let wrong: Vec<_> = cases.iter().flat_map(|case| judge(case, said.get(&name(case)).map_or(&[][..], Vec::as_slice))).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
}

/// How long a message is, with the source that it shows: under twenty lines, unless what is said of it is the compiler's.
#[test]
fn messages_are_short() {
    const LONGER: [(&str, usize); 6] = [
        ("accepts_unreadable", 22),
        ("accepts_without_way", 21),
        ("argument_by_reference", 20),
        ("batch_of_non_event", 20),
        ("future_not_send", 22),
        ("lock_across_await", 24),
    ];
    for case in cases() {
        let stem = case.file_stem().unwrap().to_string_lossy().into_owned();
        let limit = LONGER.iter().find(|(name, _)| **name == stem).map_or(19, |(_, limit)| *limit);
        let text = fs::read_to_string(case.with_extension("stderr")).unwrap_or_default();
        for message in text.split("\n\n") {
            let lines = message.lines().count();
            assert!(lines <= limit, "{}: {lines} lines\n{message}", name(&case));
        }
    }
}
