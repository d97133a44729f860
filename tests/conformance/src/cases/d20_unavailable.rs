//! D20: a handler may say that what it depends on is down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use convoke_core::{BoxError, unavailable};

use crate::act::on;
use crate::lab::Lab;
use crate::note::notes;
use crate::stop::{CaseResult, check, check_eq};

pub(super) async fn d20_while_a_dependency_is_down_nothing_is_counted_or_given_up(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let work = on("work", topic).does(move |_| {
        let up = is_up.load(Ordering::Acquire);
        async move { if up { Ok(()) } else { Err::<(), BoxError>(unavailable("the warehouse is offline").into()) } }
    });
    let app = lab.process("a").with(work).start().await?;
    app.publish(topic, &notes(60, 20)).await?;
    lab.wait(lab.ms(20_000)).await;
    let status = app.status("work").await?;
    check!(status.suspended, "the status does not say that it has paused by itself: {status:?}");
    check_eq!((status.failed, status.dead, status.handled), (0, 0, 0), "(failed attempts, dead, handled)");
    let probes = lab.calls().len();
    check!((2..=16 + 30).contains(&probes), "{probes} calls in 20 s: it is probed, and not stormed");
    up.store(true, Ordering::Release);
    app.settled().await?;
    lab.calls().each_done_once(0..60)?;
    check!(lab.calls().attempts().iter().all(|attempt| *attempt == 1), "an attempt was counted: {:?}", lab.calls().attempts());
    let status = app.status("work").await?;
    check_eq!((status.suspended, status.failed, status.dead), (false, 0, 0), "(suspended, failed attempts, dead)");
    lab.calls().first_starts_in_order()
}
