//! What a deployment says in place of the program: by a file, by variables, and what is said of mistakes in them.
#![allow(clippy::print_stdout, reason = "a child process speaks to its parent by it")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use convoke::prelude::*;
use convoke::{ErrorKind, Message};
use serde::{Deserialize, Serialize};
use support::{Journal, status};

#[event(topic = "conf.paid", key = order)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Paid {
    order: u64,
}

#[event(topic = "conf.shipped", key = order)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Shipped {
    order: u64,
}

#[event(topic = "conf.bare", bare)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Bare {
    text: String,
}

#[event(topic = "conf.plain", bare)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Plain {
    text: String,
}

type Seen = Journal<(String, String, u64)>;

#[handler(group = "yard")]
async fn ship(paid: Paid, meta: Meta<'_>, State(seen): State<Seen>) -> Result<Shipped, BoxError> {
    seen.note((meta.topic().to_string(), meta.group().to_owned(), paid.order));
    if paid.order == 13 {
        return Err(permanent("unlucky").into());
    }
    Ok(Shipped { order: paid.order })
}

/// Publishes by hand what it is told.
#[handler(dead_letter = "conf.graves")]
async fn repeat(shipped: Shipped, meta: Meta<'_>, publisher: Publisher, State(seen): State<Seen>) -> Result<(), BoxError> {
    seen.note((meta.topic().to_string(), meta.group().to_owned(), shipped.order));
    if shipped.order >= 100 {
        return Err("it never works".into());
    }
    if shipped.order == 1 {
        publisher.publish(&Shipped { order: 2 }).await?;
    }
    Ok(())
}

#[handler]
async fn take_bare(_bare: Bare) {}

#[handler]
async fn take_plain(_plain: Plain) {}

fn app() -> App {
    App::new("conf").state(Seen::new()).only(["ship", "repeat"])
}

async fn problems(app: App) -> Vec<String> {
    let error = match app.url("memory://").build().await {
        Ok(ready) => panic!("it is not refused:\n{}", ready.table()),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    let text = error.to_string();
    let (_, rest) = text.split_once('\n').unwrap();
    rest.replace("\n       | ", " | ").lines().map(|line| line.trim().split_once(". ").unwrap().1.to_owned()).collect()
}

#[track_caller]
fn says(problems: &[String], part: &str) {
    assert!(problems.iter().any(|problem| problem.contains(part)), "no {part:?} in {problems:#?}");
}

const RENAMED: &str = r#"
[topics]
conf.paid = "prod.paid"                 # quotes around a name with dots are not needed
"conf.shipped" = "prod.shipped"
"conf.graves" = "prod.graves"

[groups]
yard = "yard-blue"
"conf.repeat" = "repeat-blue"
"#;

#[tokio::test(start_paused = true)]
async fn a_renamed_topic_or_group_is_renamed_everywhere() {
    let seen = Seen::new();
    let app = TestApp::start(app().state(seen.clone()).config_str(RENAMED)).await.unwrap();
    for order in [1, 13] {
        app.publish(&Paid { order }).await.unwrap();
    }
    app.publish_message(Message::builder("prod.paid").payload(r#"{"order":7}"#).build()).await.unwrap();
    let gone = app.publish_message(Message::builder("conf.paid").payload(r#"{"order":8}"#).build()).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound, "the old name means nothing here: {gone}");
    app.settled().await;
    let mut calls = seen.items();
    calls.sort();
    let call = |topic: &str, group: &str, order| (topic.to_owned(), group.to_owned(), order);
    let yard = [1, 7, 13].map(|order| call("prod.paid", "yard-blue", order));
    let repeat = [1, 2, 7].map(|order| call("prod.shipped", "repeat-blue", order));
    assert_eq!(calls, [yard, repeat].concat());
    app.published::<Paid>().assert_count(2);
    app.published::<Shipped>().assert_count(3);
    let dead = app.dead_letters("ship");
    assert_eq!(dead.iter().map(|dead| dead.topic().as_str()).collect::<Vec<_>>(), ["prod.paid.yard-blue.dead"]);
    let types: Vec<_> = app.published::<Shipped>().messages().map(|message| message.event_type().unwrap().to_owned()).collect();
    assert_eq!(types, ["conf.shipped.v1"; 3], "what travels keeps its name");
    assert!(app.messages().iter().all(|message| message.topic().as_str().starts_with("prod.")));
}

#[tokio::test]
async fn the_bound_table_shows_what_the_deployment_says() {
    let config = format!("{RENAMED}[handlers.ship]\nconcurrency = 3\ntimeout = '5s'\nstart = 'earliest'\nretry.attempts = 2\n");
    let config = format!("{config}[handlers.repeat]\ndead_letter = 'graves'\n");
    let ready = app().config_str(&config).url("memory://").build().await.unwrap();
    let expected = "\
conf on memory://
  topic                            event            group                          handler  options
  ───────────────────────────────  ───────────────  ─────────────────────────────  ───────  ───────
  prod.shipped (for conf.shipped)  conf.shipped v1  repeat-blue (for conf.repeat)  repeat   concurrency = 16, order = key, dead_letter = graves (configured)
  prod.paid (for conf.paid)        conf.paid v1     yard-blue (for yard)           ship     concurrency = 3 (configured), order = key, retry = 2 × 200ms..30s (configured), timeout = 5s (configured), start = earliest (configured)
";
    assert_eq!(ready.table(), expected, "it is:\n{}", ready.table());
    let topology = ready.topology();
    let topics: Vec<_> = topology.topics.iter().map(|topic| topic.name.as_str()).collect();
    let (retry, dead) = ("prod.paid.yard-blue.retry", "prod.paid.yard-blue.dead");
    assert_eq!(topics, ["graves", "prod.paid", dead, "prod.shipped", "prod.shipped.repeat-blue.retry", retry]);
}

#[tokio::test(start_paused = true)]
async fn a_handlers_options_are_those_of_the_deployment() {
    let seen = Seen::new();
    let config =
        "[handlers.repeat]\nconcurrency = 3\ndead_letter = 'graves'\nretry = { attempts = 2, backoff = '1m', jitter = 0 }\n";
    let app = TestApp::start(app().state(seen.clone()).config_str(config)).await.unwrap();
    assert_eq!(status(&app, "repeat").await.concurrency, 3);
    assert_eq!(status(&app, "ship").await.concurrency, 16);
    app.publish(&Shipped { order: 100 }).await.unwrap();
    app.settled().await;
    assert_eq!(seen.times(), [Duration::ZERO, Duration::from_secs(60)]);
    let dead = app.dead_letters("repeat");
    assert_eq!(dead.iter().map(|dead| dead.topic().as_str()).collect::<Vec<_>>(), ["graves"]);
}

#[tokio::test(start_paused = true)]
async fn a_group_begins_where_the_deployment_says() {
    let url = "memory://conf-start";
    let first = TestApp::start_on(App::new("other").state(Seen::new()).only(["ship"]), url).await.unwrap();
    first.publish(&Paid { order: 1 }).await.unwrap();
    first.settled().await;
    let seen = Seen::new();
    let config = "groups.yard = 'fresh'\nhandlers.ship.start = 'new'";
    let late = App::new("late").state(seen.clone()).only(["ship"]).config_str(config);
    let second = TestApp::start_on(late, url).await.unwrap();
    first.publish(&Paid { order: 2 }).await.unwrap();
    second.settled().await;
    assert_eq!(seen.items().iter().map(|(.., order)| *order).collect::<Vec<_>>(), [2]);
    first.drain().await;
    second.drain().await;
}

#[tokio::test]
async fn everything_wrong_with_a_file_is_said_at_once_with_the_rest() {
    let config = r#"
drain_whithin = "25s"
deaths = "three"
in_flight = { messages = 0, byte = "16MiB" }
unknown_events = "shrug"
on_gap = "latest"

[topics]
"conf.payed" = "prod.paid"
"conf.shipped" = "prod shipped"

[groups]
yards = "blue"

[handlers.shipp]
concurrency = 4

[handlers.ship]
concurency = 4
retry = { attempts = 0, backoff = "30s..1s", jitter = "120%" }
timeout = 30
start = "latest"
"#;
    let problems = problems(app().config_str(config).expect_handlers(["nobody"])).await;
    for said in [
        "configuration:2:1: the configuration has no key `drain_whithin`; did you mean `drain_within`? | drain_whithin = \"25s\"",
        "configuration:3:10: `deaths` is a whole number from 1: `deaths = 3` | deaths = \"three\"",
        "configuration:4:26: `messages` is a whole number from 1: `messages = 512` | in_flight",
        "configuration:4:29: `in_flight` has no key `byte`; did you mean `bytes`?",
        "configuration:5:18: `unknown_events` is `skip`, `dead-letter` or `fail`",
        "configuration:6:10: `on_gap` is `earliest` or `stop`",
        "configuration:9:1: the program has no topic `conf.payed`; did you mean `conf.paid`? | \"conf.payed\" = \"prod.paid\"",
        "configuration:10:18: a topic must not contain ' '",
        "configuration:13:1: the program has no group `yards`; did you mean `yard`? | yards = \"blue\"",
        "configuration:15:11: the program has no handler `shipp`; did you mean `ship`? | [handlers.shipp]",
        "configuration:19:1: `handlers.ship` has no key `concurency`; did you mean `concurrency`? | concurency = 4",
        "configuration:20:22: `attempts` is a whole number from 1",
        "configuration:20:35: the shortest delay stands first: `1s..30s`",
        "configuration:20:55: `jitter` is per cent, from 0 to 100",
        "configuration:21:11: `timeout` is a duration in quotes: `timeout = \"30s\"` | timeout = 30",
        "configuration:22:9: `start` is `earliest` or `new`",
        "no handler is named `nobody`",
    ] {
        says(&problems, said);
    }
    assert_eq!(problems.len(), 17, "{problems:#?}");
}

/// What the macros say of a mistake, from the golden files of their diagnostics.
fn attribute(case: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui/cases").join(case);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().next().unwrap().strip_prefix("error: ").unwrap().to_owned()
}

#[tokio::test]
async fn a_wrong_value_is_answered_as_in_the_attribute() {
    for (config, case) in [
        ("handlers.ship.concurrency = 0", "handler/concurrency_zero.stderr"),
        ("handlers.ship.retry.attempts = 0", "handler/attempts_zero.stderr"),
        ("handlers.ship.retry.backoff = '30s..200ms'", "handler/backoff_reversed.stderr"),
        ("handlers.ship.retry.jitter = '120%'", "handler/jitter_too_much.stderr"),
        ("handlers.ship.timeout = '1.5s'", "handler/timeout_fraction.stderr"),
        ("handlers.ship.timeout = 30", "handler/timeout_number.stderr"),
        ("handlers.ship.timeout = '30'", "handler/timeout_without_unit.stderr"),
        ("topics.'conf.paid' = 'orders paid'", "event/topic_with_space.stderr"),
        ("topics.'conf.paid' = ''", "event/topic_empty.stderr"),
    ] {
        says(&problems(app().config_str(config)).await, &attribute(case));
    }
}

#[tokio::test]
async fn what_renaming_puts_together_is_checked_as_if_it_were_written_so() {
    let both = || App::new("conf").only(["take_bare", "take_plain"]);
    let _ = both().url("memory://").build().await.unwrap();
    let config = "topics.'conf.bare' = 'one'\ntopics.'conf.plain' = 'one'";
    says(&problems(both().config_str(config)).await, "two bare events share the topic `one`");
    let config = "groups.'conf.take_bare' = 'one'\ngroups.'conf.take_plain' = 'one'\ntopics.'conf.bare' = 'conf.plain'";
    says(&problems(both().config_str(config)).await, "two bare events share the topic `conf.plain`");
    let config = "handlers.ship.dead_letter = 'conf.paid'";
    says(&problems(app().config_str(config)).await, "sends its dead letters to `conf.paid`, which it reads");
    let config = "topics.'conf.paid' = 'conf.shipped'\ntopics.'conf.shipped' = 'conf.paid'";
    says(&problems(app().config_str(config)).await, "`conf.paid` becomes `conf.shipped`, which is renamed itself");
    let config = "handlers.ship.retry.backoff = '1s..1h'";
    says(&problems(app().config_str(config)).await, "would hold a key for up to 3600s between two attempts");
}

#[tokio::test]
async fn bounds_of_the_deployment_count_more_than_the_programs() {
    let config = "drain_within = '1s'\npublish_within = '2s'\ndeaths = 9\nunknown_events = 'fail'\non_gap = 'stop'\n\
                  in_flight = { messages = 8, bytes = '1MiB' }";
    let app = app().config_str(config).drain_within(Duration::from_secs(9));
    let shown = format!("{:?}", app.url("memory://").build().await.unwrap());
    for part in ["messages: 8, bytes: 1048576", "drain_within: 1s, publish_within: 2s, deaths: 9, unknown: Fail, on_gap: Stop"] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
}

#[tokio::test]
async fn a_program_that_opens_its_broker_is_told_that_a_url_means_nothing() {
    let broker = std::sync::Arc::new(convoke::memory::MemoryBroker::named("conf-given"));
    let problems = problems(app().config_str("broker = 'memory://other'").broker(broker)).await;
    says(&problems, "configuration:1:10: the program opens its broker by itself");
}

#[tokio::test(start_paused = true)]
async fn a_test_reaches_no_broker_that_a_file_names() {
    let app = TestApp::start(app().config_str("broker = 'carrier-pigeon://roof'")).await.unwrap();
    assert_eq!(app.broker().capabilities().name, "memory");
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_file_is_named_by_its_path_and_a_later_one_counts_more() {
    let first = file("first.toml", "broker = 'memory://first'\n[handlers.ship]\nconcurrency = 2\ntimeout = '1s'\n");
    let second = file("second.toml", "broker = 'memory://second'\nhandlers.ship.concurrency = 3\n");
    let ready = app().config_file(&first).config_file(&second).url("memory://program").build().await.unwrap();
    let table = ready.table();
    assert!(table.starts_with("conf on memory://second\n"), "{table}");
    assert!(table.contains("concurrency = 3 (configured)") && table.contains("timeout = 1s (configured)"), "{table}");
    let wrong = file("wrong.toml", "\n\nbrokre = 'memory://'");
    let problems = problems(app().config_file(&wrong).config_file("/nowhere/convoke.toml")).await;
    says(&problems, "wrong.toml:3:1: the configuration has no key `brokre`; did you mean `broker`? | brokre = 'memory://…");
    says(&problems, "the configuration file `/nowhere/convoke.toml` cannot be read: ");
}

#[tokio::test]
async fn a_further_broker_is_where_the_deployment_says() {
    let two = || app().broker_named("audit", "memory://program");
    let ready = two().config_str("brokers.audit = 'memory://file'").url("memory://").build().await.unwrap();
    assert!(ready.table().starts_with("conf on memory://, audit: memory://file\n"), "{}", ready.table());
    let config = "[brokers]\naudti = 'memory://x'\naudit = 'hush'";
    let problems = problems(two().config_str(config)).await;
    says(&problems, "configuration:2:1: the program has no broker `audti`; did you mean `audit`? | audti = 'memory://…");
    says(&problems, "configuration:3:9: a broker's URL begins with its scheme");
}

/// Says what the application is; called in a process of its own, since the environment is the whole process's.
#[tokio::test]
async fn variables_count_more_than_files_and_files_more_than_the_program() {
    const CHILD: &str = "CONF_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let file =
            file("child.toml", "broker = 'memory://file'\n[topics]\nconf.paid = 'file.paid'\nconf.shipped = 'file.shipped'\n");
        let app = app()
            .only(["ship"])
            .broker_named("audit-eu", "memory://program")
            .from_env()
            .unwrap()
            .config_file(file)
            .url("memory://program");
        let said = app.build().await.map(|ready| ready.table().to_owned()).unwrap_or_else(|error| error.to_string());
        println!("said: {}", said.replace('\n', " | "));
        return;
    }
    let child = |variables: &[(&str, &str)]| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "variables_count_more_than_files_and_files_more_than_the_program", "--nocapture"]).env(CHILD, "1");
        for name in ["CONVOKE_BROKER", "CONVOKE_CONFIG", "CONVOKE_TOPICS", "CONVOKE_GROUPS"] {
            child.env_remove(name);
        }
        child.envs(variables.iter().copied());
        let output = String::from_utf8(child.output().unwrap().stdout).unwrap();
        output
            .lines()
            .find_map(|line| line.split_once("said: "))
            .unwrap_or_else(|| panic!("it says nothing: {output}"))
            .1
            .to_owned()
    };
    let said = child(&[]);
    assert!(said.starts_with("conf on memory://file") && said.contains("file.paid (for conf.paid)"), "{said}");
    let said =
        child(&[("CONVOKE_BROKER", "memory://env"), ("CONVOKE_TOPICS", "conf.paid=env.paid"), ("CONVOKE_GROUPS", "yard=env")]);
    assert!(said.starts_with("conf on memory://env"), "{said}");
    assert!(said.contains("env.paid (for conf.paid)") && said.contains("env (for yard)"), "{said}");
    let said = child(&[("CONVOKE_BROKER_AUDIT_EU", "memory://there"), ("CONVOKE_BROKER_SERVICE_HOST", "10.0.0.1")]);
    assert!(said.starts_with("conf on memory://file, audit-eu: memory://there"), "{said}");
    let named = file("named.toml", "broker = 'memory://named'\nhandlers.ship.concurrency = 5\n");
    let named = named.to_str().unwrap();
    let said = child(&[("CONVOKE_CONFIG", named)]);
    assert!(said.starts_with("conf on memory://named") && said.contains("concurrency = 5"), "{said}");
    let said = child(&[("CONVOKE_CONFIG", named), ("CONVOKE_BROKER", "memory://env")]);
    assert!(said.starts_with("conf on memory://env") && said.contains("concurrency = 5"), "{said}");
    let said = child(&[("CONVOKE_TOPICS", "conf.payed=x"), ("CONVOKE_GROUPS", "yard"), ("CONVOKE_CONFIG", "/nowhere.toml")]);
    for part in [
        "the variable CONVOKE_TOPICS: the program has no topic `conf.payed`; did you mean `conf.paid`?",
        "the variable CONVOKE_GROUPS: `yard` is not `old=new`",
        "the configuration file `/nowhere.toml` cannot be read",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}
