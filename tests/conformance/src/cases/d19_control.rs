//! D19: pause, resume and resize lose and repeat nothing.

use tokio::time::Instant;

use crate::act::on;
use crate::calls::How;
use crate::lab::Lab;
use crate::note::notes;
use crate::stop::{CaseResult, check, check_eq};

pub(super) async fn d19_pause_resume_and_resize_lose_and_repeat_nothing(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let takes = lab.ms(100);
    let act = |name| on(name, topic).concurrency(4).does(move |_| tokio::time::sleep(takes));
    let app = lab.process("a").with(act("work")).with(act("other")).start().await?;
    app.publish(topic, &notes(120, 40)).await?;
    let work = || lab.calls().of_handler("work");
    lab.until("some are done", || work().that(How::Done).len() >= 8).await?;

    app.handle().pause("work")?;
    lab.wait(lab.ms(500)).await;
    check_eq!(work().that(How::Running).len(), 0, "what runs after a pause: it finishes");
    let begun = work().len();
    lab.until("the other handler is done", || lab.calls().of_handler("other").done().len() == 120).await?;
    lab.wait(lab.ms(5000)).await;
    check_eq!(work().len(), begun, "calls after a long pause");
    check!(app.status("work").await?.paused, "the status does not say that it is paused");

    app.handle().resize("work", 1)?;
    let resumed = Instant::now();
    app.handle().resume("work")?;
    lab.wait(lab.ms(1000)).await;
    let since = work().len() - begun;
    let most = 1 + resumed.elapsed().as_millis() / takes.as_millis();
    check!((3..=most).contains(&(since as u128)), "{since} calls in {:?}, one after the other", resumed.elapsed());
    app.handle().resize("work", 12)?;
    app.settled().await?;
    work().each_done_once(0..120)?;
    check_eq!(work().len(), 120, "calls");
    let most = work().most_at_once();
    check!((6..=12).contains(&most), "{most} ran at once, of 12 that may");
    app.was_never_dispossessed()
}

pub(super) async fn d19_a_handler_that_is_paused_for_longer_than_its_lease_loses_and_repeats_nothing(lab: Lab) -> CaseResult {
    let term = match lab.capabilities().await?.lease {
        convoke_core::broker::LeaseKind::Extendable(term) | convoke_core::broker::LeaseKind::Fixed(term) => term,
        _ => lab.ms(10_000),
    };
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic)).start().await?;
    app.handle().pause("work")?;
    app.publish(topic, &notes(50, 10)).await?;
    // Not just when one is over.
    lab.wait(term * 5 / 2).await;
    check_eq!(lab.calls().len(), 0, "calls during a pause");
    app.handle().resume("work")?;
    app.settled().await?;
    lab.calls().each_done_once(0..50)?;
    check_eq!(lab.calls().len(), 50, "calls");
    lab.calls().first_starts_in_order()
}
