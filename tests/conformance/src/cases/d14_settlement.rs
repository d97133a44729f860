//! D14: settling out of order is safe, by position and by message.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use convoke_core::broker::{Commit, Progress, Settle, SettleBy, Settled, Settlement, SubscribeSpec, SubscriptionEvent};
use tokio::time::Instant;

use crate::act::{Call, on};
use crate::calls::How;
use crate::lab::Lab;
use crate::note::{Note, notes};
use crate::stop::{CaseResult, Stop, check};
use crate::tap::Sent;

pub(super) async fn d14_what_was_settled_above_a_slow_message_is_not_repeated_after_a_crash(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let work = |takes| {
        on("work", topic).does(move |call: Call| async move {
            if call.note.key == "slow" {
                tokio::time::sleep(takes).await;
            }
        })
    };
    let app = lab.process("1").with(work(lab.ms(60_000))).start().await?;
    app.publish(topic, &(0..8).map(|number| Note::new("slow", number)).collect::<Vec<_>>()).await?;
    app.publish(topic, &(8..120).map(|number| Note::new(format!("k{number}"), number)).collect::<Vec<_>>()).await?;
    let settled = || lab.calls().that(How::Done).0.into_iter().filter(|call| lab.wire().is_settled(&call.id)).count();
    lab.until("all but the slow ones are settled", || settled() >= 112).await?;
    if !lab.harness().confirms_settlements() {
        // What the connection was given last is on its way.
        lab.wait(lab.ms(1500)).await;
    }
    let before: BTreeSet<_> = lab.calls().that(How::Done).0.into_iter().map(|call| call.id).collect();
    app.kill().await;
    let app = lab.process("2").with(work(Duration::ZERO)).start().await?;
    app.settled().await?;
    let second = lab.calls().of_process("2");
    let again: Vec<_> = second.0.iter().filter(|call| before.contains(&call.id)).map(|call| call.number).collect();
    if !again.is_empty() {
        return Err(Stop::failed(format!("settled, and repeated after a crash: {again:?}")).about(again));
    }
    lab.calls().each_done_once(0..120)
}

/// What the broker is told to be done is done: at that moment, and not later.
pub(super) async fn d14_nothing_is_settled_before_it_is_done(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let of_lab = lab.clone();
    let work = on("work", topic).unordered().concurrency(32).does(move |call: Call| {
        let takes = of_lab.ms((call.note.number * 7919) % 500);
        tokio::time::sleep(takes)
    });
    let app = lab.process("a").with(work).start().await?;
    app.publish(topic, &notes(300, 300)).await?;
    lab.see_the_weather_out().await?;
    app.settled().await?;
    app.drain().await?;
    // Of one that was repeated, the first time counts.
    let done: BTreeMap<_, _> = lab.calls().that(How::Done).0.into_iter().rev().map(|call| (call.id, call.ended)).collect();
    let is_done = |id: &str, at: Instant| done.get(id).copied().flatten().is_some_and(|ended| ended <= at);
    let mut told = BTreeSet::new();
    for sent in lab.wire().sent() {
        let (ids, at) = match sent {
            Sent::Settled { id, settle: Settle::Ack, applied: true, at } => (vec![id], at),
            Sent::Committed { ids, at } => (ids, at),
            _ => continue,
        };
        let early: Vec<_> = ids.iter().filter(|id| !is_done(id, at)).collect();
        check!(early.is_empty(), "the broker was told that these are done, and they were not: {early:?}");
        told.extend(ids);
    }
    // Of some it may know without that we heard of it.
    check!(lab.is_broken() || told.len() == 300, "the broker was told of {} messages, of 300", told.len());
    lab.calls().each_done(0..300)?;
    // Whoever comes back to what was its own has not died. By position it is not known whose it was.
    if lab.is_falling() && lab.capabilities().await?.settle == SettleBy::Message {
        let dead = |sent: &Sent| matches!(sent, Sent::Owned { unclean: true, .. });
        check!(!lab.wire().sent().iter().any(dead), "nobody has died, and somebody is taken for dead");
    }
    Ok(())
}

pub(super) async fn d14_positions_are_committed_below_what_is_in_flight(lab: Lab) -> CaseResult {
    if lab.capabilities().await?.settle == SettleBy::Message {
        return Err(Stop::lacking("the broker declares that each message is settled by itself"));
    }
    let topic = lab.topic("in");
    let takes = lab.ms(3000);
    let work = on("work", topic).unordered().concurrency(32).does(move |call: Call| async move {
        if call.note.number.is_multiple_of(25) {
            tokio::time::sleep(takes).await;
        }
    });
    let app = lab.process("1").with(work.clone()).start().await?;
    app.publish(topic, &notes(200, 200)).await?;
    lab.until("the quick ones are done", || lab.calls().that(How::Done).len() >= 192).await?;
    lab.wait(lab.ms(1000)).await;
    // A clean stop commits the rest, and what was cut short comes again alone.
    app.handle().abort();
    app.drain_somehow().await;
    let app = lab.process("2").with(work).start().await?;
    app.settled().await?;
    lab.calls().each_done_once(0..200)
}

/// One member of a group, without a runtime: what it says of an assignment that is over is refused.
pub(super) async fn d14_what_is_said_of_an_assignment_that_is_over_is_refused(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic)).start().await?;
    app.handle().abort();
    let group = lab.group("work");
    lab.wait(lab.ms(500)).await;
    let by = app.connection().capabilities().settle;
    let publisher = lab.process("p").with(on("other", topic)).start().await?;
    publisher.publish(topic, &[Note::new("k", 1)]).await?;
    let connection = lab.harness().open().await?;
    let mut member = connection.subscribe(SubscribeSpec::new(group, vec![topic.into()])).await?;
    let deadline = Instant::now() + lab.patience();
    let (mut first, mut lost, mut cut_short) = (None, false, None);
    loop {
        let next = std::future::poll_fn(|cx| member.events.as_mut().poll_next(cx));
        let event = match cut_short {
            // Where an assignment outlives a short cut, only a long one ends it.
            Some(until) if !lost => match tokio::time::timeout_at(until, next).await {
                Ok(event) => event,
                Err(_) => {
                    cut_short = None;
                    lab.harness().cut(lab.ms(10_000)).await?;
                    continue;
                }
            },
            _ => tokio::time::timeout_at(deadline, next).await.ok().flatten(),
        };
        let event =
            event.ok_or_else(|| Stop::failed(format!("the message does not come (the first time: {})", first.is_none())))?;
        match event {
            SubscriptionEvent::Assigned { part, epoch, .. } => member.control.grant(part, epoch, 10, 1 << 20),
            SubscriptionEvent::Lost { .. } => lost = true,
            SubscriptionEvent::Deliveries(mut deliveries) => {
                let Some(incoming) = deliveries.messages.pop() else { continue };
                let Some(old) = first.replace(incoming.token.clone()) else {
                    lab.harness().cut(lab.ms(500)).await?;
                    cut_short = Some(Instant::now() + lab.ms(3000));
                    continue;
                };
                let answers = match by {
                    SettleBy::Watermark => {
                        let commit = Commit::new(old.part, old.epoch, old.position.next(), Progress::default());
                        member.control.commit(vec![commit]).await
                    }
                    _ => member.control.settle(vec![Settlement::new(old.clone(), Settle::Ack)]).await,
                };
                check!(
                    old.epoch < incoming.token.epoch,
                    "the epoch did not rise: {:?}, then {:?}",
                    old.epoch,
                    incoming.token.epoch
                );
                check!(!matches!(answers[..], [Settled::Applied]), "an assignment that is over was settled: {answers:?}");
                break;
            }
            _ => {}
        }
    }
    check!(lost, "nothing said that the assignment was lost");
    member.control.close().await;
    Ok(())
}
