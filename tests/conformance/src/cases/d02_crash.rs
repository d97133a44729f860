//! D2: a process that dies at any instant loses no message.

use std::collections::HashSet;

use convoke_core::broker::Fault;

use crate::act::{on, returning};
use crate::calls::How;
use crate::lab::Lab;
use crate::note::{Note, notes};
use crate::stop::{CaseResult, check, check_eq};

pub(super) async fn d02_a_crash_loses_nothing_and_repeats_only_what_was_not_settled(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let takes = lab.ms(30);
    let work = on("work", topic).concurrency(4).does(move |_| tokio::time::sleep(takes));
    let mut told = Vec::new();
    let mut app = lab.process("1").with(work.clone()).start().await?;
    app.publish(topic, &notes(100, 20)).await?;
    for (life, until) in [("2", 10), ("3", 30), ("4", 55)] {
        lab.until("enough is done", || lab.calls().that(How::Done).len() >= until).await?;
        app.kill().await;
        let done = lab.calls().that(How::Done).0.into_iter().map(|call| call.id);
        let is_known = |id: &String| lab.wire().is_settled(id) && !lab.wire().is_doubtful(id);
        let known: HashSet<_> = done.filter(|id| lab.harness().confirms_settlements() && is_known(id)).collect();
        told.push((lab.calls().len(), known));
        app = lab.process(life).with(work.clone()).start().await?;
    }
    lab.see_the_weather_out().await?;
    // What the broker had not been told of when the process died may come again; nothing else may.
    app.settled().await?;
    lab.calls().each_done(0..100)?;
    for (before, known) in told {
        let again: Vec<_> =
            lab.calls().0[before..].iter().filter(|call| known.contains(&call.id)).map(|call| call.number).collect();
        check!(again.is_empty(), "the broker knew that these were done, and they were repeated after a crash: {again:?}");
    }
    let mut repeats = 0;
    for number in 0..100 {
        let calls = lab.calls().of_number(number);
        for (call, later) in calls.0.iter().zip(calls.0.iter().skip(1)) {
            repeats += usize::from(call.how == How::Done);
            // Its partition may have been lost, and come back.
            check!(
                lab.is_broken() || call.process != later.process,
                "{number} was called twice in one process, {}",
                call.process
            );
        }
    }
    let bound = 3 * lab.may_repeat(4, takes).await?;
    check!(repeats <= bound, "{repeats} of 100 were done again after 3 crashes with 4 in flight each: more than {bound}");
    app.drain().await?;
    Ok(())
}

pub(super) async fn d02_a_crash_before_the_result_is_confirmed_loses_neither_input_nor_result(lab: Lab) -> CaseResult {
    let (input, output) = (lab.topic("in"), lab.topic("out"));
    let work = on("work", input).does(move |call| async move { returning(output, &[call.note]) });
    let app = lab.process("1").with(work.clone()).start().await?;
    lab.inject(Fault::PublishSlow { topic: output.into(), count: 5, by: lab.ms(5000) }).await?;
    app.publish(input, &notes(5, 5)).await?;
    lab.until("the handler has returned", || lab.calls().that(How::Done).len() == 5).await?;
    lab.wait(lab.ms(500)).await;
    app.kill().await;
    lab.wait(lab.ms(10_000)).await;
    let app = lab.process("2").with(work).start().await?;
    app.settled().await?;
    lab.calls().of_process("2").each_done(0..5)?;
    let found = lab.read(output).await?;
    let mut by_id = std::collections::BTreeMap::new();
    for message in &found {
        let number = message.payload.as_deref().and_then(Note::number_in);
        check!(number.is_some(), "what was published is no note: {message:?}");
        let id = message.text("ce-id").unwrap_or_default().to_owned();
        check_eq!(*by_id.entry(id).or_insert(number), number, "the number under an id");
    }
    check_eq!(by_id.len(), 5, "different ids of what was returned, over both attempts: the same attempt has the same id");
    Ok(())
}
