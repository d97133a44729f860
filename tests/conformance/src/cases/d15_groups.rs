//! D15: members share the work, groups each get everything.

use std::time::{Duration, SystemTime};

use convoke_core::BoxError;

use crate::act::{Call, on};
use crate::calls::How;
use crate::lab::Lab;
use crate::note::notes;
use crate::stop::{CaseResult, Stop, check, check_eq};

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
    let mut sent = 200;
    let a = lab.process("a").with(work()).start().await?;
    a.publish(topic, &notes(sent, 40)).await?;
    lab.until("a works", || lab.calls().of_process("a").len() >= 8).await?;
    let b = lab.process("b").with(work()).start().await?;
    b.feed(topic, 40, &mut sent, "b works", || lab.calls().of_process("b").that(How::Done).len() >= 8).await?;
    let since = lab.calls().len();
    let both = || {
        let calls = lab.calls();
        ["a", "b"].iter().all(|name| calls.0[since..].iter().any(|call| call.process == *name))
    };
    b.feed(topic, 40, &mut sent, "both work", both).await?;
    a.drain().await?;
    b.publish(topic, &notes(sent + 60, 40)[usize::try_from(sent).unwrap_or(usize::MAX)..]).await?;
    b.settled().await?;
    lab.calls().each_done_once(0..sent + 60)
}

pub(super) async fn d15_when_a_member_dies_others_take_over(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let takes = lab.ms(30);
    let work = || on("work", topic).concurrency(4).does(move |_| tokio::time::sleep(takes));
    let mut sent = 200;
    let a = lab.process("a").with(work()).start().await?;
    let b = lab.process("b").with(work()).start().await?;
    a.publish(topic, &notes(sent, 40)).await?;
    let worked = |name: &&str| lab.calls().of_process(name).len() >= 8;
    b.feed(topic, 40, &mut sent, "both work", || ["a", "b"].iter().all(worked)).await?;
    // Where positions are committed they may not be taken while the members share out the work.
    let calm = tokio::time::Instant::now() + lab.ms(1000);
    b.feed(topic, 40, &mut sent, "it is calm", || tokio::time::Instant::now() > calm).await?;
    a.kill().await;
    lab.see_the_weather_out().await?;
    b.settled().await?;
    lab.calls().each_done(0..sent)?;
    let (repeats, bound) = (lab.calls().done().len() as u64 - sent, lab.may_repeat(4, takes).await? as u64);
    check!(repeats <= bound, "{repeats} were done again, and {bound} may be: 4 were in flight in the process that died");
    Ok(())
}

pub(super) async fn d15_a_broadcast_gives_every_instance_each_message_while_it_runs(lab: Lab) -> CaseResult {
    if !lab.capabilities().await?.broadcast {
        return Err(Stop::lacking("the broker cannot give every instance each message"));
    }
    let topic = lab.topic("in");
    let work = || on("work", topic).option(|options| options.broadcast = true);
    let a = lab.process("a").with(work()).start().await?;
    let b = lab.process("b").with(work()).start().await?;
    a.publish(topic, &notes(40, 7)).await?;
    a.settled().await?;
    b.settled().await?;
    b.drain().await?;
    a.publish(topic, &notes(60, 7)[40..]).await?;
    let c = lab.process("c").with(work()).start().await?;
    a.settled().await?;
    c.settled().await?;
    lab.calls().of_process("a").each_done_once(0..60)?;
    lab.calls().of_process("b").each_done_once(0..40)?;
    check_eq!(lab.calls().of_process("c").len(), 0, "calls of an instance that came after everything");
    lab.calls().first_starts_in_order()
}

pub(super) async fn d15_reading_to_a_marked_end_ends_when_everything_before_it_is_settled(lab: Lab) -> CaseResult {
    if !lab.capabilities().await?.until_end {
        return Err(Stop::lacking("the broker cannot mark an end"));
    }
    let (topic, delay) = (lab.topic("in"), lab.ms(8000));
    let work = || {
        on("work", topic).passing().retry(3, delay, delay).does(|call: Call| async move {
            if call.note.number == 3 && call.attempt == 1 { Err(BoxError::from("it waits for a retry")) } else { Ok(()) }
        })
    };
    let source = lab.process("0").with(work()).start().await?;
    source.handle().pause("work")?;
    source.publish(topic, &notes(30, 7)).await?;
    source.drain().await?;
    for (run, range) in [("1", 0..30), ("2", 30..40), ("3", 40..40)] {
        let app = lab.process(run).with(work()).configure(convoke_runtime::App::until_end).start().await?;
        if run == "1" {
            app.publish(topic, &notes(40, 7)[30..]).await?;
        }
        if tokio::time::timeout(lab.patience(), app.handle().ended()).await.is_err() {
            return Err(Stop::failed(format!("it does not end: {:?}", app.status("work").await?)));
        }
        app.drain().await?;
        lab.calls().of_process(run).each_done_once(range)?;
    }
    Ok(())
}

pub(super) async fn d15_what_expires_before_its_group_reads_it_is_not_handled_and_all_around_it_is(lab: Lab) -> CaseResult {
    if !lab.capabilities().await?.expiry {
        return Err(Stop::lacking("the broker cannot let messages expire"));
    }
    let (topic, other) = (lab.topic("in"), lab.topic("other"));
    let reader = lab.process("1").with(on("work", topic)).start().await?;
    reader.publish(topic, &notes(10, 5)).await?;
    reader.settled().await?;
    reader.drain().await?;
    let app = lab.process("2").with(on("other", other)).start().await?;
    // Some first and some last of their keys, some by themselves and some in a row.
    let expires = |number: u64| !(15..=35).contains(&number) || number.is_multiple_of(7);
    for note in &notes(40, 5)[10..] {
        let publish = app.handle().publisher().publish(note).topic(topic);
        // The shortest that each broker can do; what lives for longer than the case does is as the rest.
        let life = Duration::from_secs(if expires(note.number) { 1 } else { 3600 });
        if note.number.is_multiple_of(2) && !expires(note.number) {
            publish.await?
        } else {
            publish.expires_at(SystemTime::now() + life).await?
        };
    }
    lab.wait(lab.ms(3000)).await;
    let reader = lab.process("3").with(on("work", topic)).start().await?;
    app.publish(topic, &notes(50, 5)[40..]).await?;
    reader.settled().await?;
    lab.calls().each_done_once((0..50).filter(|number| !(10..40).contains(number) || !expires(*number)))?;
    lab.calls().first_starts_in_order()?;
    let status = reader.status("work").await?;
    check!(status.gaps == 0, "what has expired is taken for lost: {status:?}");
    Ok(())
}
