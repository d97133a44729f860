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

/// `benches/messages.md` shows ten of them, beside what others say.
#[test]
fn what_is_shown_beside_others_is_what_the_compiler_says() {
    let home = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let texts = |folder: &str| {
        let files = std::fs::read_dir(home.join("cases").join(folder)).unwrap().map(|file| file.unwrap().path());
        let said = files.filter(|file| file.extension().is_some_and(|end| end == "stderr"));
        said.map(|file| std::fs::read_to_string(file).unwrap()).collect::<Vec<_>>()
    };
    let known = [texts("event"), texts("handler")].concat();
    let shown = std::fs::read_to_string(home.join("../../benches/messages.md")).unwrap();
    let ours = shown.split("\n## ").skip(1).map(|mistake| {
        let (_, said) = mistake.split_once("```text\n").unwrap();
        said.split_once("```\n").unwrap().0
    });
    let mut compared = 0;
    for said in ours {
        // One is no message of the compiler, and has a test of its own.
        let at_start = said.starts_with("Error: the application");
        assert!(at_start || known.iter().any(|text| text.trim_end() == said.trim_end()), "no case says this:\n{said}");
        compared += 1;
    }
    assert_eq!(compared, 10);
}
