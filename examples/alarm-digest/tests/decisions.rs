//! The decision table, line by line.

mod common;

use common::{USER, app, desk, play, told};
use convoke::prelude::*;

macro_rules! decisions {
    ($($name:ident: $script:literal => [$($digest:literal),*];)*) => {$(
        #[convoke::test(app(desk()))]
        async fn $name(app: TestApp) -> TestResult {
            play(&app, $script).await?;
            let expected: &[&str] = &[$($digest),*];
            assert_eq!(told(&app), expected, "{}\n{}", $script, app.story());
            Ok(())
        }
    )*};
}

// ANCHOR: decisions
decisions! {
    an_active_alarm_is_told: "C1, send" => ["C1"];
    a_warning_is_active_too: "W1, send" => ["W1"];
    a_late_change_does_not_undo_a_younger_one: "C2, W1, send" => ["C2"];
    a_repeated_status_moves_the_time: "C1, C2, send" => ["C2"];
    what_is_raised_after_it_was_cleared_is_told: "C1, -2, C3, send" => ["C3"];
    the_same_status_is_not_told_twice: "C1, send, C2, send" => ["C1"];
    a_late_change_is_no_news: "C1, send, C3, W2, send" => ["C1"];
    that_an_alarm_is_cleared_is_not_told: "C1, send, -2, send" => ["C1"];
    what_is_raised_again_after_it_was_told_is_told_again: "C1, send, -2, C3, send" => ["C1", "C3"];
    a_worse_status_is_told_again: "W1, send, C2, send" => ["W1", "C2"];
    a_better_status_is_told_again: "C1, send, W2, send" => ["C1", "W2"];
    what_was_cleared_before_anybody_asked_is_not_told: "C1, -2, send" => [];
    a_late_change_does_not_raise_a_cleared_alarm: "-2, C1, send" => [];
    nor_one_between_two_clearings: "-1, -3, C2, send" => [];
    older_alarms_come_first: "W1, C2 of b, send" => ["W1, C2 of b"];
    whichever_arrived_first: "C2 of b, W1, send" => ["W1, C2 of b"];
    of_two_of_one_time_the_names_decide: "C1 of b, C1, send" => ["C1, C1 of b"];
    at_one_time_the_worse_status_counts: "C1, W1, send" => ["C1"];
    whichever_of_them_arrived_first: "W1, C1, -1, send" => ["C1"];
    without_alarms_nothing_is_sent: "send" => [];
    without_news_nothing_is_sent: "C1, send, send, C1, send" => ["C1"];
    with_news_only_the_news_are_sent: "C1, send, C2 of b, send" => ["C1", "C2 of b"];
}
// ANCHOR_END: decisions

#[convoke::test(app(desk()))]
async fn a_change_that_is_delivered_twice_counts_once(app: TestApp) -> TestResult {
    app.inject(convoke::broker::Fault::Repeat { group: "alarm-digest".into(), count: 3 })?;
    play(&app, "C1, W2 of b, send").await?;
    assert_eq!(told(&app), ["C1, W2 of b"]);
    Ok(())
}

#[convoke::test(app(desk()))]
async fn both_spellings_of_others_are_read_and_one_is_written(app: TestApp) -> TestResult {
    for (spelling, alarm) in [("ID", "x"), ("Id", "y")] {
        let text = format!(
            r#"{{"Alarm{spelling}": "{alarm}", "User{spelling}": "{USER}", "Status": "CRITICAL", "ChangedAt": "2026-11-03T14:05:07.000000001+02:00"}}"#
        );
        app.publish_message(Message::builder("AlarmStatusChanged").payload(text).build()).await?;
    }
    app.publish_message(Message::builder("SendAlarmDigest").payload(format!(r#"{{"UserId": "{USER}"}}"#)).build()).await?;
    // Without a key of their own they may be on different partitions: the changes are sure to be in with the second request.
    app.settled().await;
    play(&app, "send").await?;
    let digests = app.published::<alarm_digest::AlarmDigest>();
    let alarms: usize = digests.iter().map(|digest| digest.active_alarms.len()).sum();
    assert_eq!(alarms, 2, "{}", app.story());
    let text = String::from_utf8(digests.messages().next().expect("one").payload().to_vec())?;
    assert!(text.starts_with(&format!(r#"{{"UserID":"{USER}","ActiveAlarms":[{{"AlarmID":""#)), "{text}");
    assert!(text.contains(r#""Status":"CRITICAL","LatestChangedAt":"2026-11-03T12:05:07.000000001Z""#), "{text}");
    Ok(())
}

#[convoke::test(app(desk()))]
async fn what_cannot_be_a_change_is_a_dead_letter_that_says_why(app: TestApp) -> TestResult {
    let good = r#"{"AlarmID": "a", "UserID": "u", "Status": "WARNING", "ChangedAt": "2026-11-03T14:05:07Z"}"#;
    let bad = [
        (good.replace(r#""u""#, r#""""#), "UserID is empty"),
        (good.replace(r#""a""#, r#""""#), "AlarmID is empty"),
        (good.replace("2026-11-03", "0001-01-01").replace("14:05:07", "00:00:00"), "ChangedAt is zero"),
        (good.replace("WARNING", "warning"), "unknown variant `warning`"),
        (good.replace("2026-11-03T14:05:07Z", "yesterday"), "failed to parse"),
        (good.replace(r#""AlarmID": "a", "#, ""), "missing field `AlarmID`"),
    ];
    for (payload, _) in &bad {
        app.publish_message(Message::builder("AlarmStatusChanged").key("u").payload(payload.clone()).build()).await?;
    }
    app.publish_message(Message::builder("AlarmStatusChanged").key("u").payload(good).build()).await?;
    app.settled().await;
    let letters = app.dead_letters("note_change");
    for (payload, why) in &bad {
        let letter = letters.iter().find(|letter| letter.payload() == payload.as_bytes()).expect(payload);
        let [error, chain] =
            ["", "-chain"].map(|end| letter.headers().get_str(&format!("convoke-dead-error{end}")).unwrap_or_default());
        assert!(error.contains(why) || chain.contains(why), "{payload}: {error}: {chain}");
        assert!(["0", "1"].contains(&letter.headers().get_str("convoke-dead-attempts").unwrap_or_default()), "{payload}");
    }
    assert_eq!(letters.len(), bad.len());
    Ok(())
}
