//! D12: order within a key, and nothing else held up.

use convoke_core::BoxError;
use convoke_core::broker::{LeaseKind, Ordering};

use crate::act::{Act, Call, on};
use crate::calls::How;
use crate::lab::Lab;
use crate::note::{Note, notes};
use crate::stop::{CaseResult, Stop, check, check_eq};

/// A number that depends on this one and looks random (the finaliser of splitmix64).
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Takes up to 40 ms, and fails every eighth time.
fn stumbling(lab: &Lab, topic: &'static str) -> Act {
    let of_lab = lab.clone();
    let does = move |call: Call| {
        let chance = mix(call.note.number * 64 + u64::from(call.attempt));
        let takes = of_lab.ms(chance % 40);
        async move {
            tokio::time::sleep(takes).await;
            if (chance >> 32).is_multiple_of(8) { Err(BoxError::from("it stumbled")) } else { Ok(()) }
        }
    };
    on("work", topic).concurrency(8).retry(50, lab.ms(10), lab.ms(80)).does(does)
}

async fn needs_order(lab: &Lab) -> CaseResult {
    match lab.capabilities().await?.ordering {
        Ordering::None => Err(Stop::lacking("the broker declares that nothing keeps the order of keys")),
        _ => Ok(()),
    }
}

pub(super) async fn d12_a_key_is_in_order_and_never_beside_itself_across_retries(lab: Lab) -> CaseResult {
    needs_order(&lab).await?;
    let topic = lab.topic("in");
    let app = lab.process("a").with(stumbling(&lab, topic)).start().await?;
    app.publish(topic, &notes(200, 10)).await?;
    app.settled().await?;
    lab.calls().each_done_once(0..200)?;
    lab.calls().no_key_beside_itself()?;
    // Held keys: not even a retry is overtaken.
    for key in 0..10 {
        let numbers = lab.calls().of_key(&format!("k{key}")).numbers();
        check!(numbers.is_sorted(), "key k{key} was called out of order: {numbers:?}");
    }
    check!(lab.calls().most_at_once() >= 4, "different keys did not run beside each other");
    Ok(())
}

pub(super) async fn d12_a_key_is_in_order_across_restarts_and_crashes(lab: Lab) -> CaseResult {
    needs_order(&lab).await?;
    let topic = lab.topic("in");
    let mut app = lab.process("1").with(stumbling(&lab, topic)).start().await?;
    app.publish(topic, &notes(200, 10)).await?;
    for (life, until, clean) in [("2", 30, true), ("3", 60, false), ("4", 90, true), ("5", 120, false)] {
        lab.until("enough is done", || lab.calls().that(How::Done).len() >= until).await?;
        if clean {
            app.drain().await?;
        } else {
            app.kill().await;
        }
        app = lab.process(life).with(stumbling(&lab, topic)).start().await?;
    }
    lab.see_the_weather_out().await?;
    app.settled().await?;
    lab.calls().each_done(0..200)?;
    lab.calls().first_starts_in_order()?;
    lab.calls().no_key_beside_itself()
}

pub(super) async fn d12_a_key_is_in_order_while_members_come_and_go(lab: Lab) -> CaseResult {
    needs_order(&lab).await?;
    let topic = lab.topic("in");
    let work = || stumbling(&lab, topic);
    let worked = |process: &str, calls: usize| lab.calls().of_process(process).len() >= calls;
    let mut sent = 400;
    let a = lab.process("a").with(work()).start().await?;
    a.publish(topic, &notes(sent, 40)).await?;
    lab.until("some are done", || lab.calls().that(How::Done).len() >= 20).await?;
    let b = lab.process("b").with(work()).start().await?;
    b.feed(topic, 40, &mut sent, "b works", || worked("b", 10)).await?;
    let c = lab.process("c").with(work()).start().await?;
    b.feed(topic, 40, &mut sent, "c works", || worked("c", 5)).await?;
    a.drain().await?;
    lab.until("more are done", || lab.calls().that(How::Done).len() >= 250).await?;
    c.drain().await?;
    b.settled().await?;
    lab.calls().each_done_once(0..sent)?;
    lab.calls().first_starts_in_order()?;
    lab.calls().no_key_beside_itself()
}

pub(super) async fn d12_a_slow_key_does_not_hold_up_others(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let takes = lab.ms(20_000);
    let work = on("work", topic).concurrency(4).does(move |call: Call| async move {
        if call.note.key == "slow" {
            tokio::time::sleep(takes).await;
        }
    });
    let app = lab.process("a").with(work).start().await?;
    let mut all: Vec<_> = (0..10).map(|number| Note::new("slow", number)).collect();
    all.extend((10..200).map(|number| Note::new(format!("k{number}"), number)));
    app.publish(topic, &all).await?;
    lab.until("the messages of other keys are done", || lab.calls().that(How::Done).len() >= 190).await?;
    check_eq!(lab.calls().of_key("slow").numbers(), [0], "calls of the slow key");
    Ok(())
}

pub(super) async fn d12_a_process_that_was_frozen_starts_nothing_that_another_has_taken_over(lab: Lab) -> CaseResult {
    needs_order(&lab).await?;
    let term = match lab.capabilities().await?.lease {
        LeaseKind::Extendable(term) | LeaseKind::Fixed(term) => term,
        _ => lab.ms(10_000),
    };
    let topic = lab.topic("in");
    let takes = lab.ms(50);
    let work = || on("work", topic).concurrency(2).does(move |_| tokio::time::sleep(takes));
    let a = lab.process("a").with(work()).start().await?;
    let b = lab.process("b").with(work()).start().await?;
    a.publish(topic, &notes(200, 20)).await?;
    lab.until("both work", || ["a", "b"].iter().all(|name| lab.calls().of_process(name).len() >= 4)).await?;
    let frozen = tokio::time::Instant::now();
    a.freeze(term * 3)?;
    lab.wait(term * 3 + lab.ms(500)).await;
    b.settled().await?;
    a.settled().await?;
    lab.calls().each_done(0..200)?;
    for call in lab.calls().of_process("a").0.iter().filter(|call| call.begun > frozen + term) {
        let earlier = lab.calls().of_process("b").of_number(call.number);
        let taken = earlier.0.iter().any(|other| other.begun < call.begun);
        check!(!taken, "after it was frozen, `a` began {}, which `b` had begun", call.number);
    }
    Ok(())
}
