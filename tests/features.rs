//! What each feature costs in crates, as the documentation says it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const DEFAULTS: [&str; 4] = ["json", "macros", "memory", "testkit"];

/// How many crates an application compiles for convoke with these features, on Linux.
fn crates(features: &[&str]) -> usize {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "convoke", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--no-default-features", "--features", &features.join(",")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let name = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    text.lines().filter(|line| !line.is_empty()).map(name).collect::<BTreeSet<_>>().len()
}

#[test]
fn the_table_of_features_says_what_each_costs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documentation = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    let (none, all) = (crates(&[]), crates(&DEFAULTS));
    let sentence = format!("Without any feature, convoke is {none} crates, its own included; with the defaults it is {all}.");
    let mut missing: Vec<_> = Some(sentence).into_iter().filter(|sentence| !documentation.contains(sentence)).collect();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let features = manifest.split("[features]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let features = features.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    for feature in features.filter(|name| !name.starts_with('#') && *name != "default") {
        let default = DEFAULTS.contains(&feature);
        let cost = if default {
            let others: Vec<_> = DEFAULTS.into_iter().filter(|other| *other != feature).collect();
            all - crates(&others)
        } else {
            crates(&[&DEFAULTS[..], &[feature]].concat()) - all
        };
        let row = format!("//! | `{feature}` | {} | {cost} |", if default { "yes" } else { "no" });
        missing.extend(Some(row).filter(|row| !documentation.contains(row)));
    }
    assert!(missing.is_empty(), "the table of features in src/lib.rs has to say:\n{}", missing.join("\n"));
}
