//! Digests that nobody asked for: by time, and at once.

mod common;

use std::time::Duration;

use alarm_digest::remind;
use common::{app, desk, play, told};
use convoke::prelude::*;

#[tokio::test(start_paused = true)]
async fn news_that_nobody_asks_for_are_told_after_a_while() -> TestResult {
    let desk = desk();
    let app = TestApp::start(app(desk.clone())).await?;
    tokio::spawn(remind(app.publisher().clone(), desk, Duration::from_secs(30)));
    play(&app, "C1, W2 of b, -3 of c").await?;
    app.advance(Duration::from_secs(29)).await;
    assert!(told(&app).is_empty());
    app.advance(Duration::from_secs(10)).await;
    assert_eq!(told(&app), ["C1, W2 of b"]);
    app.advance(Duration::from_secs(300)).await;
    assert_eq!(told(&app).len(), 1, "nothing new: nothing told");
    Ok(())
}

#[convoke::test(app(desk().hurry(true)))]
async fn a_critical_alarm_does_not_wait_and_takes_the_other_news_along(app: TestApp) -> TestResult {
    play(&app, "W1").await?;
    assert!(told(&app).is_empty());
    play(&app, "C2 of b, C3 of b, -4 of b").await?;
    assert_eq!(told(&app), ["W1, C2 of b"]);
    Ok(())
}

#[convoke::test(app(desk()))]
async fn unless_it_is_configured_critical_alarms_wait_too(app: TestApp) -> TestResult {
    play(&app, "C1").await?;
    assert!(told(&app).is_empty());
    Ok(())
}
