//! D9: what fails at once comes no faster than its backoff.

use convoke_core::broker::{AttemptsKept, Fault};
use convoke_core::{BoxError, permanent};

use crate::act::{Call, on};
use crate::lab::Lab;
use crate::note::Note;
use crate::stop::{CaseResult, check};
use crate::tap::Sent;

async fn fails(_: Call) -> Result<(), BoxError> {
    Err("it never works".into())
}

pub(super) async fn d09_what_fails_at_once_comes_no_faster_than_its_backoff_not_even_over_restarts(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let backoff = lab.ms(600);
    let work = on("work", topic).retry(1000, backoff, backoff).does(fails);
    let exact = lab.capabilities().await?.attempts == AttemptsKept::Exact;
    for life in ["1", "2", "3", "4"] {
        let app = lab.process(life).with(work.clone()).start().await?;
        if life == "1" {
            app.publish(topic, &[Note::new("k", 1), Note::new("l", 2)]).await?;
        }
        // How long it takes until a new member may begin is the broker's matter.
        let before = [1, 2].map(|number| lab.calls().of_number(number).len());
        let again = || [1, 2].into_iter().zip(before).all(|(number, before)| lab.calls().of_number(number).len() >= before + 2);
        lab.until("each is tried twice more", again).await?;
        lab.wait(lab.ms(1000)).await;
        app.drain().await?;
    }
    for number in [1, 2] {
        let calls = lab.calls().of_number(number);
        let fast = calls.0.windows(2).filter(|pair| pair[1].begun - pair[0].begun < backoff);
        let fast = fast.filter(|pair| exact || pair[0].process == pair[1].process).count();
        check!(fast == 0, "{number} was tried again before its backoff {fast} times of {}", calls.len());
    }
    Ok(())
}

pub(super) async fn d09_a_dead_letter_topic_that_refuses_is_not_stormed(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let dead = lab.dead(topic, "work");
    let app = lab.process("a").with(on("work", topic).does(|_| async { Err::<(), _>(permanent("never")) })).start().await?;
    lab.inject(Fault::PublishRejected { topic: (&*dead).into(), count: 100_000, retryable: true }).await?;
    app.publish(topic, &[Note::new("k", 1)]).await?;
    lab.wait(lab.ms(10_000)).await;
    let sent = lab.wire().sent();
    let tried = sent.iter().filter(|sent| matches!(sent, Sent::Published { topic, .. } if *topic == dead)).count();
    check!((2..=100).contains(&tried), "the dead letter was published {tried} times in 10 s");
    check!(lab.calls().len() == 1, "the handler was called {} times", lab.calls().len());
    Ok(())
}
