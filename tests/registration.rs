//! A handler is registered, or its absence is said: in real crates of their own, in every kind of build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/registration")
}

/// That of the workspace: what these crates build as we do is there already.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

/// A kind of build: its profile, and what is different in it.
struct Kind {
    name: &'static str,
    profile: &'static str,
    different: &'static [&'static str],
}

const KINDS: [Kind; 4] = [
    Kind { name: "dev", profile: "dev", different: &[] },
    // One object file for each crate that has entries, where the linker otherwise sees many. All others are those of `dev`.
    Kind {
        name: "one unit",
        profile: "dev",
        different: &[
            "profile.dev.package.app.codegen-units=1",
            "profile.dev.package.app.incremental=false",
            "profile.dev.package.shop.codegen-units=1",
            "profile.dev.package.shop.incremental=false",
            "profile.dev.package.convoke.codegen-units=1",
            "profile.dev.package.convoke.incremental=false",
        ],
    },
    Kind { name: "release", profile: "release", different: &[] },
    Kind { name: "fat LTO", profile: "fat-lto", different: &[] },
];

/// Builds the programs in this way and returns what each prints, in the order of their names.
fn programs(Kind { name, profile, different }: &Kind) -> [String; 4] {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--package", "app", "--profile", profile, "--manifest-path"])
        .arg(home().join("Cargo.toml"))
        .args(different.iter().flat_map(|different| ["--config", different]))
        .arg("--target-dir")
        .arg(target())
        // As the workspace builds its dependencies.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env_remove("CARGO_BUILD_TARGET")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}:\n{said}");
    assert!(!said.contains("warning: `app`") && !said.contains("warning: `shop`"), "{name}:\n{said}");
    let folder = target().join(if *profile == "dev" { "debug" } else { profile });
    ["counted", "forgotten", "listed", "named"].map(|program| {
        let output = Command::new(folder.join(program)).env_remove("CONVOKE_BROKER").output().unwrap();
        assert!(output.status.success(), "{name} {program}:\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    })
}

const COUNTED: &str = "\
the application `counted` cannot start; one thing is to be mended:
  1. 4 handlers are expected, and 2 are linked; what is in a crate that nothing names is left out by the linker: write `use that_crate as _;`
     `notify` (app/src/lib.rs:15)
     `watch` (app/src/bin/counted.rs:6)
";

const FORGOTTEN: &str = "\
the application `forgotten` cannot start; one thing is to be mended:
  1. no handler is linked into this program; put `#[handler]` on an `async fn`, and if that is in another crate, which the linker leaves \
out where nothing but Cargo.toml names it, write `use your_crate as _;`
";

const LISTED: &str = "\
listed on memory://
  topic        event           group           handler  options
  ───────────  ──────────────  ──────────────  ───────  ───────
  orders.paid  orders.paid v1  listed.refund   refund   concurrency = 16, order = key
  orders.paid  orders.paid v1  listed.reserve  reserve  concurrency = 16, order = key
  orders.sent  orders.sent v1  wide            store    concurrency = 16, order = key
";

const NAMED: &str = "\
named on memory://
  topic        event           group          handler  options
  ───────────  ──────────────  ─────────────  ───────  ───────
  orders.sent  orders.sent v1  named.notify   notify   concurrency = 16, order = key
  orders.paid  orders.paid v1  named.refund   refund   concurrency = 16, order = key
  orders.paid  orders.paid v1  named.reserve  reserve  concurrency = 16, order = key
  orders.*     (any)           named.watch    watch    concurrency = 16, order = none
";

#[test]
#[ignore = "full tier: it compiles all that an application is made of three times"]
fn in_every_build_each_handler_is_there_under_the_same_name_or_its_absence_is_said() {
    // The workspace's versions: they agree, and nothing is fetched that is not there already.
    fs::copy(home().join("../../Cargo.lock"), home().join("Cargo.lock")).unwrap();
    for kind in &KINDS {
        assert_eq!(programs(kind), [COUNTED, FORGOTTEN, LISTED, NAMED], "{}", kind.name);
    }
}
