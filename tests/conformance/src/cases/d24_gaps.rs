//! D24: what the broker discarded before it was read is seen.

use convoke_runtime::{OnGap, StopReason};

use crate::act::on;
use crate::lab::Lab;
use crate::note::Note;
use crate::process::Process;
use crate::stop::{CaseResult, Stop, check, check_eq};
use crate::weather::Event;

/// A group that has read notes from 0 on; what came then, the broker has discarded, and note 20 000 is there. Gives back a process that
/// goes on publishing.
async fn with_a_gap(lab: &Lab, topic: &'static str) -> Result<Process, Stop> {
    let app = lab.process("1").with(on("work", topic)).start().await?;
    // No fall of the server is taken for a gap.
    let mut read = 0;
    while read == 0 || !lab.is_over() {
        app.publish(topic, &(read..read + 16).map(|number| Note::new(format!("k{number}"), number)).collect::<Vec<_>>()).await?;
        read += 16;
        lab.wait(lab.ms(10)).await;
    }
    lab.see_the_weather_out().await?;
    app.settled().await?;
    check!(app.status("work").await?.gaps == 0, "a gap is reported where there is none");
    app.drain().await?;
    let other = lab.process("2").with(on("other", topic)).start().await?;
    other.publish(topic, &(10_000..10_032).map(|number| Note::new(format!("k{number}"), number)).collect::<Vec<_>>()).await?;
    other.settled().await?;
    lab.harness().discard(topic).await?;
    other.publish(topic, &[Note::new("k", 20_000)]).await?;
    Ok(other)
}

pub(super) async fn d24_what_the_broker_discarded_before_it_was_read_is_reported(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let _other = with_a_gap(&lab, topic).await?;
    if lab.is_falling() {
        Event::Freeze.happen(&lab, lab.ms(500)).await?;
    }
    let app = lab.process("3").with(on("work", topic)).start().await?;
    app.settled().await?;
    let calls = lab.calls().of_process("3");
    if lab.is_broken() { calls.each_done([20_000]) } else { calls.each_done_once([20_000]) }?;
    let status = app.status("work").await?;
    check!(status.gaps > 0, "32 messages were discarded before they were read, and nothing says so: {status:?}");
    Ok(())
}

pub(super) async fn d24_at_a_gap_the_subscription_stops_if_the_policy_says_so(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let other = with_a_gap(&lab, topic).await?;
    let app = lab.process("3").with(on("work", topic)).configure(|app| app.on_gap(OnGap::Stop)).start().await?;
    let status = app.stopped("work").await?;
    let [stopped] = &status.stopped[..] else { return Err(Stop::failed(format!("it stops more than once: {status:?}"))) };
    check_eq!((stopped.reason, stopped.topic.as_str()), (StopReason::Gap, topic), "(reason, topic) of {stopped:?}");
    check!(status.gaps > 0, "the gap is not counted: {status:?}");
    other.publish(topic, &[Note::new("k", 20_001)]).await?;
    lab.wait(lab.ms(2000)).await;
    check!(lab.calls().of_process("3").of_number(20_001).len() == 0, "it goes on all the same");
    app.drain().await?;
    // What is there is lost to nobody: who is told to goes on behind the gap.
    let app = lab.process("4").with(on("work", topic)).start().await?;
    app.settled().await?;
    lab.calls().of_handler("work").each_done_once((0..16).chain([20_000, 20_001]))
}
