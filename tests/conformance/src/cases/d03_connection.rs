//! D3: restarts of the server, cuts, and servers that do not answer.

use convoke_core::ErrorKind;
use convoke_core::broker::{Durability, Health};
use tokio::time::Instant;

use crate::act::{Act, on};
use crate::calls::How;
use crate::lab::Lab;
use crate::note::{Note, notes};
use crate::stop::{CaseResult, Stop, check, check_eq};
use crate::weather::BROKEN;

fn work(lab: &Lab, topic: &'static str) -> Act {
    let takes = lab.ms(100);
    on("work", topic).concurrency(4).does(move |_| tokio::time::sleep(takes))
}

pub(super) async fn d03_after_a_cut_work_goes_on_by_itself_and_readiness_tells(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(work(&lab, topic)).start().await?;
    app.publish(topic, &notes(40, 8)).await?;
    lab.until("some are done", || lab.calls().that(How::Done).len() >= 4).await?;
    check!(app.handle().status().await.ready, "it is not ready before the cut");
    lab.harness().cut(lab.ms(5000)).await?;
    let (cut, before) = (Instant::now(), lab.calls().done().len());
    let mut red = None;
    while red.is_none() && cut.elapsed() < lab.ms(4000) {
        lab.wait(lab.ms(20)).await;
        red = Some(app.handle().status().await).filter(|status| !status.ready);
    }
    let red = red.ok_or_else(|| Stop::failed("readiness did not go red while the connection was cut"))?;
    check!(
        red.broker != Health::Up || red.handlers.iter().any(|one| one.connection_failures > 0),
        "red, but of no failure: {red:#?}"
    );
    let publisher = app.handle().publisher().clone();
    publisher.publish(&Note::new("k0", 40)).topic(topic).await?;
    check!(cut.elapsed() >= lab.ms(4000), "a publish was confirmed while the broker could not be reached");
    let meanwhile = lab.calls().done().len() - before;
    app.settled().await?;
    lab.calls().each_done(0..41)?;
    let repeats = lab.calls().done().len() - 41;
    let mut bound = lab.may_repeat(4, lab.ms(100)).await?;
    if app.was_never_dispossessed().is_err() {
        // The membership was over before the connection was back: nothing that was done meanwhile could be settled.
        bound += meanwhile;
    }
    check!(repeats <= bound, "{repeats} were done again, and 4 were in flight: more than {bound}");
    let green = app.handle().status().await;
    check!(green.ready && green.handlers[0].connection_failures == 0, "not green again: {green:#?}");
    app.drain().await?;
    Ok(())
}

pub(super) async fn d03_a_publish_that_finds_no_broker_is_an_error_and_never_silently_gone(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let patience = lab.ms(3000);
    let app = lab.process("a").with(on("work", topic)).configure(move |app| app.publish_within(patience)).start().await?;
    lab.harness().cut(lab.ms(30_000)).await?;
    let begun = Instant::now();
    let Err(error) = app.handle().publisher().publish(&Note::new("k", 1)).topic(topic).await else {
        return Err(Stop::failed("a publish was confirmed while the broker could not be reached"));
    };
    let (kind, took) = (error.kind(), begun.elapsed());
    check!(matches!(kind, ErrorKind::Connection | ErrorKind::Unknown | ErrorKind::Timeout), "{kind:?}: {error}");
    check!(took <= patience * 2 + lab.slack(), "it took {took:?} to say so, and was given {patience:?}");
    // It is repeated by whoever wanted it published, and arrives once the broker is there.
    app.publish_in_turn(topic, &[]).await?;
    lab.wait(lab.ms(31_000)).await;
    app.publish_in_turn(topic, &[Note::new("k", 1)]).await?;
    app.settled().await?;
    lab.calls().each_done([1])
}

pub(super) async fn d03_a_restart_of_the_server_loses_nothing(lab: Lab) -> CaseResult {
    if lab.capabilities().await?.durability < Durability::Accepted {
        return Err(Stop::lacking("the broker declares that nothing outlives its process"));
    }
    let topic = lab.topic("in");
    let app = lab.process("a").with(work(&lab, topic)).start().await?;
    app.publish(topic, &notes(60, 8)).await?;
    for round in 0..2 {
        lab.until("some are done", || lab.calls().that(How::Done).len() >= 8 * (round + 1)).await?;
        lab.harness().restart().await?;
        let number = 60 + round as u64;
        app.publish_in_turn(topic, &[Note::new("late", number)]).await?;
    }
    app.settled().await?;
    lab.calls().each_done(0..62)?;
    lab.calls().first_starts_in_order()
}

pub(super) async fn d03_a_frozen_server_loses_nothing(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(work(&lab, topic)).start().await?;
    app.publish(topic, &notes(40, 8)).await?;
    lab.until("some are done", || lab.calls().that(How::Done).len() >= 4).await?;
    lab.harness().freeze(lab.ms(8000)).await?;
    app.publish_in_turn(topic, &notes(44, 8)[40..]).await?;
    app.settled().await?;
    lab.calls().each_done(0..44)?;
    check_eq!(app.handle().status().await.ready, true, "ready again");
    Ok(())
}

/// Each way a wire can fail, one after the other, and a publish in the midst of it.
pub(super) async fn d03_whatever_happens_on_the_wire_loses_nothing(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let takes = lab.ms(100);
    let app = lab.process("a").with(on("work", topic).concurrency(4).does(move |_| tokio::time::sleep(takes))).start().await?;
    let mut sent = 20;
    app.publish(topic, &notes(sent, 8)).await?;
    for event in BROKEN {
        event.happen(&lab, lab.ms(1000)).await?;
        app.publish_in_turn(topic, &notes(sent + 2, 8)[usize::try_from(sent).unwrap_or(usize::MAX)..]).await?;
        sent += 2;
        lab.until("what was published is done", || lab.calls().each_done(0..sent).is_ok()).await?;
        lab.wait(lab.ms(1000)).await;
    }
    app.settled().await?;
    lab.calls().each_done(0..sent)?;
    lab.calls().first_starts_in_order()?;
    let green = app.handle().status().await;
    check!(green.ready && green.handlers[0].connection_failures == 0, "not green again: {green:#?}");
    app.drain().await?;
    Ok(())
}
