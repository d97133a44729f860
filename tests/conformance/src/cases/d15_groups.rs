//! D15: members share the work, groups each get everything.

use crate::act::on;
use crate::calls::How;
use crate::lab::Lab;
use crate::note::notes;
use crate::stop::{CaseResult, check};

pub(super) async fn d15_groups_each_get_everything(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("one", topic)).with(on("two", topic)).start().await?;
    app.publish(topic, &notes(60, 7)).await?;
    app.settled().await?;
    // A group that comes later begins at the earliest message; where nothing is kept for nobody, that is the first one after it came.
    let kept_for_nobody = !lab.capabilities().await?.drops_unrouted;
    let late = lab.process("b").with(on("late", topic)).start().await?;
    late.publish(topic, &notes(80, 7)[60..]).await?;
    late.settled().await?;
    app.settled().await?;
    for handler in ["one", "two"] {
        lab.calls().of_handler(handler).each_done_once(0..80)?;
    }
    lab.calls().of_handler("late").each_done_once(if kept_for_nobody { 0..80 } else { 60..80 })?;
    Ok(())
}

pub(super) async fn d15_members_share_the_work_and_joining_and_leaving_loses_nothing(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let takes = lab.ms(30);
    let work = || on("work", topic).concurrency(4).does(move |_| tokio::time::sleep(takes));
    let a = lab.process("a").with(work()).start().await?;
    a.publish(topic, &notes(200, 40)).await?;
    lab.until("a works", || lab.calls().of_process("a").len() >= 8).await?;
    let b = lab.process("b").with(work()).start().await?;
    lab.until("b works", || lab.calls().of_process("b").that(How::Done).len() >= 8).await?;
    let since = lab.calls().len();
    lab.until("both work", || {
        let calls = lab.calls();
        ["a", "b"].iter().all(|name| calls.0[since..].iter().any(|call| call.process == *name))
    })
    .await?;
    a.drain().await?;
    b.publish(topic, &notes(260, 40)[200..]).await?;
    b.settled().await?;
    lab.calls().each_done_once(0..260)
}

pub(super) async fn d15_when_a_member_dies_others_take_over(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let takes = lab.ms(30);
    let work = || on("work", topic).concurrency(4).does(move |_| tokio::time::sleep(takes));
    let a = lab.process("a").with(work()).start().await?;
    let b = lab.process("b").with(work()).start().await?;
    a.publish(topic, &notes(200, 40)).await?;
    lab.until("both work", || ["a", "b"].iter().all(|name| lab.calls().of_process(name).len() >= 8)).await?;
    a.kill().await;
    b.settled().await?;
    lab.calls().each_done(0..200)?;
    let repeats = lab.calls().done().len() - 200;
    check!(repeats <= 4, "{repeats} were done again, and 4 were in flight in the process that died");
    Ok(())
}
