//! The house stays as it was drawn: which crate may depend on which, how long a source file may be, and what a build needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The clients of brokers. Each belongs to one adapter.
const CLIENTS: [&str; 4] = ["rdkafka", "async-nats", "redis", "lapin"];

/// Files of more than 400 lines, with the reason. At 600 there is no reason.
const LONG: [(&str, &str); 3] = [
    ("core/engine/src/io.rs", "every input and output of the engine on one page, most of it documentation"),
    ("core/runtime/src/driver/core.rs", "what is done under the driver's lock, which must be seen as a whole"),
    ("core/engine/src/engine.rs", "the engine's tables, its entry points and what can be read of it"),
];

/// What a floor of the house may stand on.
struct Floor {
    /// The crates of the workspace that it may depend on.
    ours: &'static [&'static str],
    tokio: bool,
    /// Whether it may depend on a broker's client.
    client: bool,
    /// If it may depend on nothing from outside of the workspace.
    alone: bool,
}

const fn floor(ours: &'static [&'static str], tokio: bool, client: bool) -> Floor {
    Floor { ours, tokio, client, alone: false }
}

/// The floor of a crate, by its folder; `None` if nobody has said.
fn floor_of(folder: &str) -> Option<Floor> {
    Some(match folder {
        "core/contract" => floor(&[], false, false),
        "core/engine" => Floor { alone: true, ..floor(&["convoke-core"], false, false) },
        "core/layers" => floor(&["convoke-core"], true, false),
        "core/runtime" => floor(&["convoke-core", "convoke-engine", "convoke-layers"], true, false),
        "macros" => floor(&[], false, false),
        "" => floor(
            &[
                "convoke-core",
                "convoke-layers",
                "convoke-macros",
                "convoke-runtime",
                "convoke-memory",
                "convoke-kafka",
                "convoke-nats",
                "convoke-redis",
                "convoke-rabbitmq",
            ],
            false,
            false,
        ),
        "brokers/common" => floor(&["convoke-core"], true, false),
        "tests/conformance" => floor(&["convoke-core", "convoke-runtime"], true, false),
        // The engine's model, without I/O as the engine is.
        "tests/simulation" => floor(&["convoke-core", "convoke-engine"], false, false),
        // Real servers, the suite's harness around them, and an application in processes of its own.
        "tests/servers" => floor(&["convoke-core", "convoke-conformance", "convoke-runtime"], true, false),
        // Against the raw clients.
        "benches" => floor(&["convoke"], true, true),
        "book" | "cli" => floor(&["convoke"], true, false),
        _ if folder.starts_with("brokers/") => floor(&["convoke-core", "convoke-broker-common"], true, true),
        _ if folder.starts_with("examples/") || folder.starts_with("tests/") => floor(&["convoke"], true, false),
        _ => return None,
    })
}

/// A crate of the workspace.
struct Package {
    name: String,
    folder: String,
    rust_version: Option<String>,
    /// Normal dependencies, and whether each is optional.
    dependencies: BTreeMap<String, bool>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo {}:\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn packages() -> Vec<Package> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let package = |package: &Value| {
        let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
        let folder = manifest.parent().unwrap().strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
        Package {
            name: text(&package["name"]).unwrap(),
            folder,
            rust_version: text(&package["rust_version"]),
            dependencies: normal.map(|one| (text(&one["name"]).unwrap(), one["optional"] == Value::Bool(true))).collect(),
        }
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

#[test]
fn dependencies_go_down_only() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut problems = Vec::new();
    for Package { name, folder, dependencies, .. } in &packages {
        let Some(floor) = floor_of(folder) else {
            problems.push(format!("`{name}` in `{folder}` has no floor; say in tests/architecture.rs what it may depend on"));
            continue;
        };
        for (dependency, optional) in dependencies {
            let dependency = dependency.as_str();
            let ours = ours.contains(dependency);
            let refused = (ours && !floor.ours.contains(&dependency))
                || (!ours && floor.alone)
                || (dependency.starts_with("tokio") && !floor.tokio)
                || (CLIENTS.contains(&dependency) && !floor.client);
            if refused {
                problems.push(format!("`{name}` ({folder}) may not depend on `{dependency}`"));
            }
            let broker = packages.iter().any(|other| other.name == dependency && other.folder.starts_with("brokers/"));
            if folder.is_empty() && broker && !optional {
                problems.push(format!("the facade's dependency `{dependency}` must be optional, behind a feature"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_client_belongs_to_one_adapter() {
    let packages = packages();
    for client in CLIENTS {
        let users = packages.iter().filter(|package| package.folder.starts_with("brokers/"));
        let users: Vec<_> =
            users.filter(|package| package.dependencies.contains_key(client)).map(|package| &package.name).collect();
        assert!(users.len() <= 1, "`{client}` is used by {users:?}");
    }
}

#[test]
fn the_quick_tier_is_all_that_needs_no_client() {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let ids =
        |list: &str| BTreeSet::from_iter(metadata[list].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
    for left_out in ids("workspace_members").difference(&ids("workspace_default_members")) {
        let package = left_out.rsplit('/').next().unwrap();
        let servers = package.starts_with("servers#");
        let tree = cargo(&["tree", "--package", left_out, "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
        assert!(servers || clients(&tree).next().is_some(), "`{package}` belongs to `default-members`: it has no client");
    }
    let tree = cargo(&["tree", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}"]);
    assert!(tree.contains("convoke-memory v"), "{tree}");
    assert_eq!(clients(&tree).next(), None, "`cargo test` would build a network client");
}

/// The clients of brokers in what `cargo tree` says.
fn clients(tree: &str) -> impl Iterator<Item = &str> {
    tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| CLIENTS.contains(name))
}

#[test]
fn one_minimum_version_of_rust_and_the_documents_say_it() {
    let packages = packages();
    let versions: BTreeSet<_> = packages.iter().map(|package| package.rust_version.as_deref()).collect();
    let [Some(version)] = Vec::from_iter(versions)[..] else {
        let each: Vec<_> = packages.iter().map(|package| (&package.name, &package.rust_version)).collect();
        panic!("every crate says `rust-version.workspace = true`: {each:?}");
    };
    for (page, sentence) in [
        ("README.md", format!("The minimum supported Rust version is {version}.")),
        ("README.md", format!("a Rust toolchain, {version} or newer")),
        ("book/src/getting-started.md", format!("a Rust toolchain, {version} or newer")),
    ] {
        let text = fs::read_to_string(root().join(page)).unwrap().replace('\n', " ");
        assert!(text.contains(&sentence), "{page} does not say: {sentence}");
    }
}

#[test]
fn a_default_build_needs_nothing_but_rust() {
    let tree = cargo(&["tree", "--package", "convoke", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let names: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("convoke-core"), "{tree}");
    for foreign in ["openssl-sys", "cmake", "prost-build", "cc", "bindgen", "rdkafka-sys"] {
        assert!(!names.contains(foreign), "the default features of `convoke` bring `{foreign}`");
    }
}

#[test]
fn attributes_and_configuration_read_values_by_the_same_rules() {
    for file in ["duration.rs", "nearest.rs", "spelling.rs"] {
        let [macros, runtime] = ["macros/src", "core/runtime/src/words"].map(|folder| {
            let path = root().join(folder).join(file);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        });
        assert!(
            macros == runtime,
            "`macros/src/{file}` and `core/runtime/src/words/{file}` are one file in two places: copy one"
        );
    }
}

#[test]
fn source_files_are_short() {
    let mut files = Vec::new();
    for package in packages() {
        rust_files(&root().join(&package.folder).join("src"), &mut files);
    }
    assert!(files.len() > 50, "{files:?}");
    let mut problems = Vec::new();
    for file in files {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        let name = file.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        if lines > 600 {
            problems.push(format!("{name} has {lines} lines; 600 is the end: divide it"));
        } else if lines > 400 && !LONG.iter().any(|(long, _)| *long == name) {
            problems.push(format!("{name} has {lines} lines; divide it, or give a reason in tests/architecture.rs"));
        }
    }
    problems.extend(LONG.iter().filter(|(long, _)| !root().join(long).exists()).map(|(long, _)| format!("{long} is gone")));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
