//! D23: what can be seen of a running application.

use convoke_core::BoxError;
use convoke_core::broker::Health;
use convoke_runtime::STALLED;

use crate::act::{Call, on};
use crate::lab::Lab;
use crate::note::Note;
use crate::stop::{CaseResult, check, check_eq};

pub(super) async fn d23_what_a_handler_does_and_has_before_it_can_be_read(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let (takes, delay) = (lab.ms(10_000), lab.ms(20_000));
    let work = on("work", topic).concurrency(2).retry(2, delay, delay).does(move |call: Call| async move {
        match call.note.key.as_str() {
            "fails" => return Err(BoxError::from("no")),
            "slow" => tokio::time::sleep(takes).await,
            _ => {}
        }
        Ok(())
    });
    let app = lab.process("a").with(work).start().await?;
    let mut notes: Vec<_> = (0..3).map(|number| Note::new(format!("k{number}"), number)).collect();
    notes.extend([Note::new("fails", 3), Note::new("slow", 4), Note::new("slow", 5)]);
    app.publish(topic, &notes).await?;
    // How long it takes until somebody has the partitions is the broker's matter.
    lab.until("one of the slow ones runs, and what is quick is done", || lab.calls().len() == 5).await?;
    lab.wait(lab.ms(2000)).await;
    let status = app.status_with_lag("work").await?;
    check_eq!(
        (status.handled, status.failed, status.dead, status.dropped, status.skipped),
        (3, 1, 0, 0, 0),
        "(handled, failed, dead, dropped, skipped)"
    );
    check_eq!((status.running, status.waiting, status.in_flight), (1, 1, 3), "(running, waiting, in flight)");
    check!(
        status.oldest.is_some_and(|oldest| oldest >= lab.ms(1500) && oldest <= lab.ms(10_000)),
        "the oldest is of {:?}",
        status.oldest
    );
    check_eq!(
        (status.concurrency, status.paused, status.suspended, status.healthy),
        (2, false, false, true),
        "(concurrency, paused, suspended, healthy)"
    );
    check_eq!((status.connection_failures, status.gaps, &*status.group), (0, 0, &*lab.group("work")), "(failures, gaps, group)");
    let lag = status.lag.unwrap_or_default();
    check_eq!(lag.backlog, Some(0), "the backlog");
    check!(lag.unsettled.is_none_or(|unsettled| unsettled == 3), "unsettled at the broker: {lag:?}");
    let app_status = app.handle().status().await;
    check_eq!((app_status.ready, app_status.broker), (true, Health::Up), "(ready, broker)");
    // What nobody takes is a backlog.
    app.drain().await?;
    let app = lab.process("b").with(on("other", topic)).start().await?;
    app.publish(topic, &[Note::new("k", 6), Note::new("k", 7)]).await?;
    let lag = app.connection().lag(&lab.group("work"), &[topic.into()]).await?;
    let before = lag.backlog.unwrap_or(0) + lag.unsettled.unwrap_or(0) + lag.delayed.unwrap_or(0);
    check!(before >= 4, "a group that is away is behind by {before} messages only: {lag:?}");
    Ok(())
}

pub(super) async fn d23_who_is_connected_and_makes_no_progress_is_unhealthy(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let takes = STALLED + lab.ms(10_000);
    let app = lab.process("a").with(on("work", topic).does(move |_| tokio::time::sleep(takes))).start().await?;
    app.publish(topic, &[Note::new("k", 1)]).await?;
    lab.wait(STALLED / 2).await;
    check!(app.status("work").await?.healthy, "it is unhealthy after half of the time");
    lab.wait(STALLED / 2 + lab.ms(5000)).await;
    let status = app.handle().status().await;
    check!(!status.handlers[0].healthy && !status.ready, "it is not seen that it stands still: {status:?}");
    app.settled().await?;
    check!(app.handle().status().await.ready, "it does not get healthy again");
    Ok(())
}
