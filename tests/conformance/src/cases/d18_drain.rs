//! D18: stopping.

use convoke_core::BoxError;
use convoke_core::broker::{LeaseKind, Settle};
use tokio::time::Instant;

use crate::act::{Call, on};
use crate::calls::How;
use crate::lab::Lab;
use crate::note::{Note, notes};
use crate::stop::{CaseResult, check, check_eq};
use crate::tap::Sent;

pub(super) async fn d18_a_drain_finishes_what_runs_and_gives_back_the_rest(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let takes = lab.ms(1000);
    let work = on("work", topic).concurrency(4).does(move |_| tokio::time::sleep(takes));
    let app = lab.process("1").with(work.clone()).start().await?;
    app.publish(topic, &notes(20, 10)).await?;
    lab.until("four run", || lab.calls().len() == 4).await?;
    lab.wait(lab.ms(300)).await;
    let report = app.drain().await?;
    check!(report.took >= lab.ms(400) && report.took <= lab.ms(1000) + lab.slack() * 4, "it took {:?}", report.took);
    check_eq!(lab.calls().that(How::Done).len(), 4, "what ran and is done");
    let app = lab.process("2").with(work).start().await?;
    app.settled().await?;
    lab.calls().each_done_once(0..20)?;
    let firsts = lab.calls().0.iter().filter(|call| call.attempt != 1).count();
    check_eq!(firsts, 0, "calls that count as repeated attempts");
    lab.calls().first_starts_in_order()
}

pub(super) async fn d18_clean_stops_one_after_the_other_repeat_nothing_and_lose_nothing(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let of_lab = lab.clone();
    let work = on("work", topic).concurrency(4).does(move |call: Call| tokio::time::sleep(of_lab.ms(call.note.number % 40)));
    let mut app = lab.process("0").with(work.clone()).start().await?;
    app.publish(topic, &notes(120, 9)).await?;
    for (life, after) in [("1", 0), ("2", 37), ("3", 5), ("4", 101), ("5", 60)] {
        lab.wait(lab.ms(after)).await;
        app.drain().await?;
        app = lab.process(life).with(work.clone()).start().await?;
    }
    lab.see_the_weather_out().await?;
    app.settled().await?;
    app.drain().await?;
    lab.calls().each_done(0..120)?;
    // What the server was told before it fell, it may not have heard.
    check!(lab.is_falling() || lab.calls().len() == 120, "{} calls for 120 messages", lab.calls().len());
    lab.calls().first_starts_in_order()
}

pub(super) async fn d18_at_the_deadline_what_still_runs_is_cancelled_and_delivered_again(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let (within, of_lab) = (lab.ms(2000), lab.clone());
    let work = on("work", topic).does(move |call: Call| {
        let first = call.note.number == 1 && !of_lab.calls().0.iter().any(|other| other.process == "2");
        tokio::time::sleep(of_lab.ms(if first { 60_000 } else { 100 }))
    });
    let app = lab.process("1").with(work.clone()).configure(move |app| app.drain_within(within)).start().await?;
    app.publish(topic, &[Note::new("a", 0), Note::new("b", 1), Note::new("b", 2)]).await?;
    lab.until("both run", || lab.calls().len() == 2).await?;
    let report = app.drain_somehow().await;
    check_eq!((report.clean, report.cancelled, report.unsettled), (false, 1, 0), "(clean, cancelled, unsettled)");
    check!(report.took >= within - lab.ms(50) && report.took <= within + lab.ms(2500), "it took {:?}", report.took);
    let app = lab.process("2").with(work).start().await?;
    app.settled().await?;
    lab.calls().each_done_once(0..3)?;
    check_eq!(lab.calls().of_process("2").attempts(), [1, 1], "attempts after it: a cancelled one has not failed");
    Ok(())
}

pub(super) async fn d18_an_abort_ends_at_once_and_what_ran_is_delivered_again(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let of_lab = lab.clone();
    let work = on("work", topic).concurrency(4).does(move |_| {
        let again = of_lab.calls().0.iter().any(|other| other.process == "2");
        tokio::time::sleep(of_lab.ms(if again { 10 } else { 60_000 }))
    });
    let app = lab.process("1").with(work.clone()).start().await?;
    app.publish(topic, &notes(8, 8)).await?;
    lab.until("four run", || lab.calls().len() == 4).await?;
    let begun = Instant::now();
    app.handle().abort();
    let report = app.drain_somehow().await;
    check!(!report.clean && report.cancelled == 4, "{report:?}");
    check!(begun.elapsed() <= lab.ms(1000) + lab.slack(), "it took {:?}", begun.elapsed());
    let app = lab.process("2").with(work).start().await?;
    app.settled().await?;
    lab.calls().each_done_once(0..8)?;
    check!(lab.calls().attempts().iter().all(|attempt| *attempt == 1), "a cancelled attempt counts as failed");
    Ok(())
}

pub(super) async fn d18_what_a_drain_gave_back_does_not_come_and_go_while_it_waits(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let (takes, delay) = (lab.ms(10_000), lab.ms(20_000));
    let term = match lab.capabilities().await?.lease {
        LeaseKind::Extendable(term) | LeaseKind::Fixed(term) => term,
        _ => takes,
    };
    let work = on("work", topic).concurrency(2).retry(3, delay, delay).does(move |call: Call| async move {
        match (call.note.key.as_str(), call.attempt) {
            ("fails", 1) => return Err(BoxError::from("it waits for a retry")),
            ("slow", _) => tokio::time::sleep(takes).await,
            _ => {}
        }
        Ok(())
    });
    let app = lab.process("1").with(work.clone()).start().await?;
    app.publish(topic, &[Note::new("fails", 0)]).await?;
    lab.until("one waits", || lab.calls().that(How::Failed).len() == 1).await?;
    app.publish(topic, &(1..20).map(|number| Note::new("slow", number)).collect::<Vec<_>>()).await?;
    lab.until("one runs", || lab.calls().len() == 2).await?;
    lab.wait(lab.ms(200)).await;
    app.drain().await?;
    let nack = |sent: &Sent| matches!(sent, Sent::Settled { settle: Settle::Nack { .. }, .. });
    let back = lab.wire().sent().iter().filter(|sent| nack(sent)).count();
    // Once when the drain begins, once when it ends, and once each time that a lease runs out meanwhile.
    let most = 19 * (2 + takes.as_millis().div_ceil(term.as_millis()));
    check!(back as u128 <= most, "19 messages were given back {back} times: more than {most}");
    let app = lab.process("2").with(work).start().await?;
    lab.until("the one that waited is tried again", || lab.calls().of_number(0).len() == 2).await?;
    let calls = lab.calls().of_number(0);
    let (waited, slack) = (calls.0[1].begun - calls.0[0].begun, lab.slack() * 2);
    check!(waited <= delay + slack, "a delay of {delay:?} became one of {waited:?} by the drain");
    app.handle().abort();
    Ok(())
}
