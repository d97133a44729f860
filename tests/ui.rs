//! What the macros say about mistakes, to the letter. See `tests/ui/README.md`.

/// The compiler whose words the `.stderr` files hold. Others may word or underline differently.
const PINNED: &str = "rustc 1.95.";

#[test]
fn mistakes_are_answered_in_the_users_words() {
    let version = std::process::Command::new(option_env!("RUSTC").unwrap_or("rustc")).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    if version.starts_with(PINNED) {
        for attribute in ["event", "handler", "test"] {
            cases.compile_fail(format!("tests/ui/{attribute}/*.rs"));
        }
        // What another package of the workspace switches on is on here too, when both are tested at once.
        if cfg!(not(any(feature = "msgpack", feature = "protobuf"))) {
            cases.compile_fail("tests/ui/feature_off/*.rs");
        }
    }
}
