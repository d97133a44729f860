//! `convoke dead`, on the broker of an application that has given messages up.

mod support;

use convoke::{Message, names};
use convoke_cli::Exit;
use serde_json::Value;
use support::{Shop, alone, asked, convoke};

const DEAD: &str = "orders.bills.dead";

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn ids(shop: &Shop) -> Vec<String> {
    let (_, out, _) = convoke(&shop.broker(), "--json dead list orders.bills.dead").await;
    lines(&out).iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn topics_of_dead_letters_are_listed_with_how_many_wait_in_them() {
    let shop = Shop::with_dead_letters(3).await;
    let (exit, out, _) = convoke(&shop.broker(), "dead list").await;
    assert_eq!((exit, out.as_str()), (Exit::Done, "letters  topic\n3        orders.bills.dead\n"));
    let (exit, out, _) = convoke(&shop.broker(), "--json dead list").await;
    assert_eq!((exit, out.as_str()), (Exit::Done, "{\"dead_topic\":\"orders.bills.dead\",\"letters\":3,\"partitions\":8}\n"));
}

#[tokio::test(start_paused = true)]
async fn letters_are_listed_with_what_they_died_of() {
    let shop = Shop::with_dead_letters(3).await;
    let (exit, out, err) = convoke(&shop.broker(), "dead list orders.bills.dead").await;
    assert_eq!((exit, err.as_str(), out.lines().count()), (Exit::Done, "", 4), "{out}");
    assert!(out.starts_with("id ") && out.contains("handler-error") && out.contains("the bank does not know k2"), "{out}");
    let (_, by_names, _) = convoke(&shop.broker(), "dead list --topic orders --group bills").await;
    assert_eq!(by_names, out);
    let (exit, out, err) = convoke(&shop.broker(), "dead list orders.bills.dead --max 2").await;
    assert_eq!((exit, out.lines().count(), err.as_str()), (Exit::Done, 3, "there are more than 2; show more with --max\n"));
    let (exit, out, err) = convoke(&shop.broker(), "dead list orders.bills.dead --reason timeout --older-than 5m").await;
    assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Done, "", "no dead letter of `orders.bills.dead` is meant\n"));
}

#[tokio::test(start_paused = true)]
async fn a_letter_is_shown_with_its_headers_and_payload_and_without_secrets() {
    let shop = Shop::with_dead_letters(1).await;
    let odd = Message::builder(DEAD).header("ce-id", "odd").header("authorization", "hush").header("bin", vec![0xff, 0]);
    let odd = odd.header(names::DEAD_ERROR, "red \u{1b}[31m").payload(vec![0xff, 0xad]).build();
    shop.app.publisher().publish_message(odd).await.unwrap();
    let id = ids(&shop).await.into_iter().find(|id| id != "odd").unwrap();
    let (exit, out, _) = convoke(&shop.broker(), &format!("dead show orders.bills.dead {id}")).await;
    assert_eq!(exit, Exit::Done);
    for part in
        [id.as_str(), "key              k0", "ce-type: orders.v1", "the bank does not know k0", r#"  {"who":"k0","number":0}"#]
    {
        assert!(out.contains(part), "{part} is missing in:\n{out}");
    }
    let (_, out, _) = convoke(&shop.broker(), "dead show orders.bills.dead odd").await;
    assert!(out.contains("  authorization: …") && !out.contains("hush"), "{out}");
    assert!(out.contains("  bin: 0xff00") && out.contains("  0xffad") && !out.contains('\u{1b}'), "{out}");
    let (_, out, _) = convoke(&shop.broker(), "--json dead show orders.bills.dead odd").await;
    let letter = &lines(&out)[0];
    assert_eq!((&letter["payload_hex"], &letter["error"]), (&Value::from("ffad"), &Value::from("red \u{1b}[31m")));
    assert!(!out.contains("hush"), "{out}");
    let (_, out, _) = convoke(&shop.broker(), &format!("dead show orders.bills.dead {id} --raw")).await;
    assert_eq!(out, r#"{"who":"k0","number":0}"#);
    let (exit, _, err) = convoke(&shop.broker(), "dead show orders.bills.dead nobody").await;
    assert_eq!(exit, Exit::NotFound);
    assert!(err.contains("`convoke dead list orders.bills.dead` shows which there are"), "{err}");
}

#[tokio::test(start_paused = true)]
async fn letters_are_sent_back_once_somebody_has_said_yes() {
    let shop = Shop::with_dead_letters(3).await;
    shop.the_bank_answers();
    let (exit, out, err) = convoke(&shop.broker(), "dead redrive orders.bills.dead").await;
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "nobody is there to ask");
    assert!(err.contains("say --yes, or look first with --dry-run"), "{err}");
    let ((exit, out, err), questions) = asked(&shop.broker(), "dead redrive orders.bills.dead --max 2", false).await;
    assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Usage, "", "nothing was done\n"));
    assert_eq!(questions, ["Send 3 dead letters of `orders.bills.dead`, 2 at most, back?"]);
    assert_eq!(ids(&shop).await.len(), 3);
    let ((exit, out, err), _) = asked(&shop.broker(), "dead redrive orders.bills.dead --max 2", true).await;
    assert_eq!((exit, err.as_str()), (Exit::Done, "2 sent back\n"));
    assert_eq!(out.lines().filter(|line| line.ends_with(": to orders.bills.retry")).count(), 2, "{out}");
    shop.app.settled().await;
    let (exit, out, _) = convoke(&shop.broker(), "--json dead redrive --topic orders --group bills --yes").await;
    let told = lines(&out);
    assert_eq!((exit, told.len()), (Exit::Done, 2), "{out}");
    assert_eq!((told[0]["fate"].as_str(), told[1]["report"]["done"].as_u64()), (Some("sent-back"), Some(1)));
    shop.app.settled().await;
    let status = shop.app.status().await;
    assert_eq!(status.handlers.iter().map(|one| one.handled).collect::<Vec<_>>(), [3]);
    assert_eq!(ids(&shop).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_asks_nobody_and_changes_nothing() {
    let shop = Shop::with_dead_letters(3).await;
    for command in ["redrive", "purge"] {
        let (exit, out, err) = convoke(&shop.broker(), &format!("dead {command} orders.bills.dead --dry-run")).await;
        assert_eq!((exit, out.lines().count()), (Exit::Done, 3), "{err}");
        assert!(out.lines().all(|line| line.starts_with("would be ")) && err.starts_with("3 would be "), "{out}{err}");
    }
    assert_eq!(ids(&shop).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn letters_are_thrown_away_once_somebody_has_said_yes() {
    let shop = Shop::with_dead_letters(3).await;
    let first = ids(&shop).await.remove(0);
    let ((exit, ..), questions) = asked(&shop.broker(), &format!("dead purge {DEAD} --id {first}"), true).await;
    assert_eq!(exit, Exit::Done);
    assert_eq!(questions, ["Throw those of the 3 dead letters of `orders.bills.dead` that are meant away?"]);
    let left = ids(&shop).await;
    assert!(left.len() == 2 && !left.contains(&first), "{left:?}");
    let (exit, out, err) = convoke(&shop.broker(), &format!("dead purge {DEAD} -y")).await;
    assert_eq!((exit, out.lines().count(), err.as_str()), (Exit::Done, 2, "2 thrown away\n"));
}

#[tokio::test(start_paused = true)]
async fn what_goes_in_a_circle_is_refused_and_the_exit_code_says_so() {
    let shop = Shop::with_dead_letters(1).await;
    for _ in 0..2 {
        convoke(&shop.broker(), "dead redrive orders.bills.dead --yes").await;
        shop.app.settled().await;
    }
    let (exit, out, err) = convoke(&shop.broker(), "dead redrive orders.bills.dead --yes --max-replays 2").await;
    assert_eq!((exit, err.as_str()), (Exit::Partly, "0 sent back, 1 refused\n"));
    assert!(out.contains("it was sent back 2 times already"), "{out}");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_name_is_answered_with_what_to_do() {
    let shop = Shop::with_dead_letters(0).await;
    let (exit, _, err) = convoke(&shop.broker(), "dead list orders.bill.dead").await;
    assert_eq!((exit, err.as_str()), (Exit::NotFound, "error: there is no topic `orders.bill.dead`; correct its name\n"));
    let (exit, _, err) = convoke(&shop.broker(), "dead redrive --yes").await;
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("`convoke dead list` shows which there are"), "{err}");
    for wrong in [
        "dead list x --reason bored",
        "dead list x --older-than soon",
        "dead list x --header tenant",
        "dead list --topic x",
        "deed",
    ] {
        let (exit, out, err) = convoke(&shop.broker(), wrong).await;
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{wrong}: {err}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_embedded_broker_of_another_process_is_not_there_to_be_seen() {
    let (exit, _, err) = alone("dead list --url memory://shop").await;
    assert_eq!(exit, Exit::Broker);
    assert!(err.contains("lives within the process of the application"), "{err}");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_not_known_is_refused_without_showing_passwords() {
    let (exit, _, err) = alone("dead list --url hush").await;
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("begins with its scheme") && !err.contains("hush"), "{err}");
}

/// With the feature on, `tests/servers` has the test.
#[cfg(not(feature = "kafka"))]
#[tokio::test(start_paused = true)]
async fn a_broker_whose_feature_is_off_is_answered_with_how_the_tool_is_installed() {
    let (exit, _, err) = alone("dead list --url kafka://ada:hush@localhost").await;
    assert_eq!(exit, Exit::Broker);
    let text = "error: this `convoke` was built without the cargo feature `kafka`, which `kafka://` needs: \
                `cargo install convoke-cli --features kafka`, and all others that you use\n";
    assert_eq!(err, text);
}

/// Where only TLS is lacking, that is what is named.
#[cfg(not(feature = "redis-tls"))]
#[tokio::test(start_paused = true)]
async fn a_broker_that_is_reached_by_tls_is_answered_with_the_feature_that_has_it() {
    let (exit, _, err) = alone("dead list --url rediss://ada:hush@localhost").await;
    assert_eq!(exit, Exit::Broker);
    assert!(err.contains("`cargo install convoke-cli --features redis-tls`") && !err.contains("hush"), "{err}");
}
