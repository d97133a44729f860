//! What the macros say about mistakes, to the letter. See `README.md`.

/// The compiler whose words the `.stderr` files hold. Others may word or underline differently.
const PINNED: &str = "rustc 1.95.";

#[test]
#[ignore = "full tier: it compiles all that an application is made of once more"]
fn mistakes_are_answered_in_the_users_words() {
    let version = std::process::Command::new(option_env!("RUSTC").unwrap_or("rustc")).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    if version.starts_with(PINNED) {
        // Nothing here is expected to compile: as long as that holds, one run of the compiler serves all cases.
        trybuild::TestCases::new().compile_fail("cases/*/*.rs");
    }
}
