//! The book as a whole: every chapter is compiled, links lead somewhere, and what it shows as output is what comes out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use convoke::prelude::*;
use serde::{Deserialize, Serialize};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn pages() -> impl Iterator<Item = &'static str> {
    convoke_book::CHAPTERS.iter().chain(convoke_book::INCLUDING).copied()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The targets of the links in a page, without those in code.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut in_code = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            prose.push_str(line);
            prose.push(' ');
        }
    }
    let mut rest = prose.as_str();
    while let Some(at) = rest.find("](") {
        rest = &rest[at + 2..];
        links.extend(rest.find(')').map(|end| rest[..end].to_owned()));
    }
    links
}

/// The anchors that a page has, as mdBook and GitHub make them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    headings.map(|heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn every_chapter_is_compiled_and_in_the_summary() {
    let src = root().join("src");
    let in_summary: BTreeSet<_> = links(&read(&src.join("SUMMARY.md"))).into_iter().collect();
    let compiled: BTreeSet<_> = pages().filter_map(|path| path.strip_prefix("src/")).map(str::to_owned).collect();
    let names = std::fs::read_dir(&src).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let present: BTreeSet<_> = names.filter(|name| name != "SUMMARY.md").collect();
    assert_eq!(in_summary, present, "SUMMARY.md and the files beside it");
    assert_eq!(compiled, present, "doctests.rs and the files in src");
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    let outside = ["../CONTRIBUTING.md", "../CHANGELOG.md", "src/SUMMARY.md"];
    for page in pages().chain(outside) {
        let page = root().join(page);
        for link in links(&read(&page)).into_iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').map_or((&*link, None), |(path, anchor)| (path, Some(anchor)));
            let target = if path.is_empty() { page.clone() } else { page.with_file_name(path) };
            let found = target.exists() && anchor.is_none_or(|anchor| anchors(&read(&target)).contains(anchor));
            if !found {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn rust_code_is_compiled() {
    for page in pages() {
        let text = read(&root().join(page));
        for fence in text.lines().filter(|line| line.starts_with("```") && line.len() > 3) {
            let known = ["```rust", "```rust,no_run", "```toml", "```sh", "```text"].contains(&fence);
            assert!(known, "{page}: `{fence}` is none of the languages of the book; Rust is `rust` or `rust,no_run`");
        }
    }
}

#[test]
fn code_that_is_shown_from_elsewhere_is_there() {
    for page in convoke_book::INCLUDING.iter().map(|page| root().join(page)) {
        let text = read(&page);
        let blocks = text.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default().trim());
        for block in blocks {
            let include = block.strip_prefix("{{#include ").and_then(|rest| rest.strip_suffix("}}"));
            let include = include.unwrap_or_else(|| panic!("{}: code that nobody compiles:\n{block}", page.display()));
            let (path, anchor) = include.split_once(':').unwrap_or_else(|| panic!("{include}: no anchor"));
            let source = read(&page.with_file_name(path));
            for mark in ["ANCHOR: ", "ANCHOR_END: "] {
                let line = format!("// {mark}{anchor}");
                assert_eq!(source.lines().filter(|other| other.trim() == line).count(), 1, "{path}: `{line}`");
            }
        }
    }
}

#[test]
fn compiler_messages_are_shown_as_they_are() {
    let cases = root().join("../tests/ui/cases");
    let folders = std::fs::read_dir(cases).unwrap().map(|folder| folder.unwrap().path());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()));
    let texts = files.filter(|file| file.extension().is_some_and(|extension| extension == "stderr"));
    let texts: Vec<_> = texts.map(|file| read(&file).trim_end().to_owned()).collect();
    let page = read(&root().join("src/compiler-messages.md"));
    let shown: Vec<_> = page.split("```text\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
    assert!(shown.len() > 5, "{shown:#?}");
    for message in shown {
        assert!(texts.iter().any(|text| text == message), "nothing says this any more:\n{message}");
    }
}

/// The source of the conformance suite's cases.
fn cases() -> String {
    let folder = root().join("../tests/conformance/src/cases");
    std::fs::read_dir(&folder).unwrap().map(|entry| read(&entry.unwrap().path())).collect()
}

#[test]
fn each_promise_names_all_of_its_cases() {
    let page = read(&root().join("src/promised.md"));
    let promises: Vec<_> = page.split("\n### D").skip(1).collect();
    for name in cases().split("async fn d").skip(1).map(|rest| rest.split('(').next().unwrap_or_default()) {
        let number = name.split('_').next().unwrap_or_default().trim_start_matches('0');
        let promise = promises.iter().find(|promise| promise.starts_with(&format!("{number} ")));
        assert!(promise.is_some_and(|promise| promise.contains(&format!("`d{name}`"))), "D{number} does not name `d{name}`");
    }
}

#[test]
fn cases_that_are_named_exist() {
    let cases = cases();
    for page in pages() {
        let text = read(&root().join(page));
        let code = text.split('`').skip(1).step_by(2);
        let is_case = |word: &&str| {
            word.len() > 4 && word.starts_with('d') && word.as_bytes()[1..3].iter().all(u8::is_ascii_digit) && word.contains('_')
        };
        for name in code.filter(is_case) {
            assert!(cases.contains(&format!("fn {name}(")), "{page} names the case `{name}`, which does not exist");
        }
    }
}

#[event(topic = "orders.paid", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[event(topic = "stock.reserved", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StockReserved {
    order_id: u64,
}

#[handler(group = "warehouse", retry(attempts = 2, backoff = "30s", jitter = 0))]
async fn reserve(_paid: OrderPaid) -> Result<StockReserved, convoke::BoxError> {
    Err("the warehouse is closed".into())
}

#[convoke::test(App::new("shop"))]
async fn a_failing_assertion_prints_what_the_book_shows(app: TestApp) -> TestResult {
    app.publish(&OrderPaid { order_id: 7 }).id("order-7").await?;
    app.settled().await;
    let published = app.published::<StockReserved>();
    let panic = std::panic::catch_unwind(|| {
        published.assert_one(|reserved| reserved.order_id == 7);
    });
    let said = panic.unwrap_err().downcast::<String>().map_err(|_| "the panic has no text")?;
    let page = read(&root().join("src/testing.md"));
    assert!(page.contains(said.trim_end()), "testing.md does not show this:\n{said}");
    Ok(())
}
