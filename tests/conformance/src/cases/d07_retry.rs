//! D7: attempts, their delays, and where their number is kept.

use convoke_core::broker::AttemptsKept;
use convoke_core::{BoxError, Outcome};

use crate::act::{Call, on};
use crate::lab::Lab;
use crate::note::Note;
use crate::stop::{CaseResult, check, check_eq};

async fn fails(_: Call) -> Result<(), BoxError> {
    Err("it never works".into())
}

async fn fails_once(call: Call) -> Result<(), BoxError> {
    if call.note.key == "fails" && call.attempt == 1 { Err("the first time never works".into()) } else { Ok(()) }
}

pub(super) async fn d07_attempts_are_spaced_by_the_backoff_up_to_their_number(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let work = on("work", topic).retry(5, lab.ms(200), lab.ms(600)).does(fails);
    let app = lab.process("a").with(work.clone().option(|options| options.retry.jitter = 20)).start().await?;
    app.publish(topic, &[Note::new("k", 1), Note::new("l", 2)]).await?;
    app.settled().await?;
    for number in [1, 2] {
        let calls = lab.calls().of_number(number);
        check_eq!(calls.attempts(), [1, 2, 3, 4, 5], "attempts of {number}");
        for (pair, delay) in calls.0.windows(2).zip([200, 400, 600, 600]) {
            let (gap, delay) = (pair[1].begun - pair[0].begun, lab.ms(delay));
            check!(gap >= delay, "attempt {} came after {gap:?}, and is not to come before {delay:?}", pair[1].attempt);
            let most = delay + delay / 5 + lab.slack();
            check!(gap <= most, "attempt {} came after {gap:?}, later than {most:?}", pair[1].attempt);
        }
    }
    let status = app.status("work").await?;
    check_eq!((status.failed, status.dead, status.handled), (10, 2, 0), "(failed, dead, handled)");
    Ok(())
}

pub(super) async fn d07_a_long_delay_goes_through_the_broker_and_blocks_nobody(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let delay = lab.ms(10_000);
    let work = on("work", topic).passing().retry(3, delay, delay).does(fails_once);
    let app = lab.process("a").with(work).with(on("other", topic)).start().await?;
    app.publish(topic, &[Note::new("fails", 0)]).await?;
    app.publish(topic, &(1..40).map(|number| Note::new(format!("k{}", number % 5), number)).collect::<Vec<_>>()).await?;
    lab.until("everything else is done", || lab.calls().of_handler("work").done().len() == 39).await?;
    let calls = lab.calls().of_handler("work");
    let late = calls.0.iter().filter(|call| call.begun - calls.0[0].begun > lab.ms(5000)).count();
    check_eq!(late, 0, "messages that waited for the one that waits");
    check_eq!(app.status("work").await?.dead, 0, "dead letters");
    app.settled().await?;
    let calls = lab.calls().of_handler("work").of_number(0);
    check_eq!(calls.attempts(), [1, 2], "attempts of the one that failed once");
    let gap = calls.0[1].begun - calls.0[0].begun;
    check!(gap >= delay && gap <= delay + lab.slack() * 4, "it was to wait for {delay:?}, and waited for {gap:?}");
    // Another group has seen nothing of it.
    lab.calls().of_handler("other").each_done_once(0..40)
}

pub(super) async fn d07_attempts_are_kept_over_a_clean_restart_and_delays_too(lab: Lab) -> CaseResult {
    let exact = lab.capabilities().await?.attempts == AttemptsKept::Exact;
    let delay = lab.ms(8000);
    for name in ["hold", "pass"] {
        let topic = lab.topic(name);
        let act = on(name, topic).retry(4, delay, delay).does(fails);
        let act = if name == "hold" { act } else { act.passing() };
        let calls = || lab.calls().of_handler(name);
        let app = lab.process("1").with(act.clone()).start().await?;
        app.publish(topic, &[Note::new("k", 1)]).await?;
        lab.until("it has failed once", || calls().len() == 1).await?;
        lab.wait(lab.ms(2000)).await;
        app.drain().await?;
        let app = lab.process("2").with(act).start().await?;
        lab.until("it is tried again", || calls().len() == 2).await?;
        let gap = calls().0[1].begun - calls().0[0].begun;
        let attempts = calls().attempts();
        if exact {
            check_eq!(attempts, [1, 2], "attempts of `{name}`, over a clean restart");
            check!(gap >= delay, "`{name}` tried it again after {gap:?}, and is not to before {delay:?}");
        } else {
            check!(attempts[1] <= 2, "attempts of `{name}` are {attempts:?}");
        }
        app.drain().await?;
    }
    Ok(())
}

pub(super) async fn d07_a_handler_may_say_when_it_is_tried_again(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let delay = lab.ms(1500);
    let does = move |call: Call| async move { if call.attempt == 1 { Outcome::retry_after(delay) } else { Outcome::Ack } };
    let app = lab.process("a").with(on("work", topic).does(does)).start().await?;
    app.publish(topic, &[Note::new("k", 1)]).await?;
    app.settled().await?;
    let calls = lab.calls();
    check_eq!(calls.attempts(), [1, 2], "attempts");
    let gap = calls.0[1].begun - calls.0[0].begun;
    check!(gap >= delay && gap <= delay + lab.slack(), "it was to wait for {delay:?}, and waited for {gap:?}");
    Ok(())
}
