//! What the macros say about mistakes, to the letter. See `README.md`.

/// The compiler whose words the `.stderr` files hold. Others word and underline differently.
const PINNED: &str = "1.95";

#[test]
#[ignore = "full tier: it compiles all that an application is made of once more"]
fn mistakes_are_answered_in_the_users_words() {
    let version = std::process::Command::new(option_env!("RUSTC").unwrap_or("rustc")).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    assert!(
        version.starts_with(&format!("rustc {PINNED}.")),
        "the texts are those of Rust {PINNED}, and this is {version}run `cargo +{PINNED}.0 test -p convoke-ui --test mistakes -- --ignored`"
    );
    // Nothing here is expected to compile: as long as that holds, one run of the compiler serves all cases.
    let cases = trybuild::TestCases::new();
    for folder in ["event", "feature_off", "handler", "test"] {
        cases.compile_fail(format!("cases/{folder}/*.rs"));
    }
}
