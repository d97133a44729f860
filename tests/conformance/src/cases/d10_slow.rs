//! D10: a handler that outlives the broker's own deadline is kept alive.

use convoke_core::ErrorKind;
use convoke_core::broker::LeaseKind;
use tokio::time::Instant;

use crate::act::{Call, on};
use crate::lab::Lab;
use crate::note::Note;
use crate::stop::{CaseResult, Stop, check, check_eq};
use crate::tap::Sent;

/// Waits until these members have shared out the work: a partition that is given to another is waited for, and not as long as a slow
/// handler takes.
async fn shared_out(lab: &Lab, members: [&str; 2]) -> CaseResult {
    let (begun, mut before) = (Instant::now(), 0);
    loop {
        lab.wait(lab.ms(if lab.is_slow() { 3000 } else { 1000 })).await;
        let sent = lab.wire().sent();
        let owners = sent.iter().filter_map(|sent| match sent {
            Sent::Owned { process, assigned, .. } => Some((process, assigned)),
            _ => None,
        });
        let (count, has) =
            (owners.clone().count(), |member: &str| owners.clone().any(|(process, given)| *given && process == member));
        if count == before && members.into_iter().all(has) {
            return Ok(());
        }
        before = count;
        check!(begun.elapsed() < lab.patience(), "the members do not share out the work");
    }
}

pub(super) async fn d10_a_slow_handler_is_kept_alive_with_all_that_waits_behind_it(lab: Lab) -> CaseResult {
    let takes = match lab.capabilities().await?.lease {
        // Longer than it takes the server to fall and to come back.
        _ if lab.is_falling() => lab.ms(2500),
        LeaseKind::Extendable(term) => term * 3,
        LeaseKind::Fixed(term) => term * 2 / 3,
        _ => lab.ms(20_000),
    };
    let topic = lab.topic("in");
    let work = on("work", topic).does(move |call: Call| async move {
        if call.note.number == 0 {
            tokio::time::sleep(takes).await;
        }
    });
    let app = lab.process("a").with(work.clone()).start().await?;
    // Somebody else is there who would get what runs out.
    let other = lab.process("b").with(work).start().await?;
    if !lab.is_falling() {
        shared_out(&lab, ["a", "b"]).await?;
    }
    app.publish(topic, &(0..10).map(|number| Note::new("slow", number)).collect::<Vec<_>>()).await?;
    lab.see_the_weather_out().await?;
    app.settled().await?;
    other.settled().await?;
    lab.calls().each_done(0..10)?;
    lab.calls().first_starts_in_order()?;
    // A lease that the server cannot extend runs out.
    if lab.is_falling() {
        return Ok(());
    }
    check_eq!(lab.calls().len(), 10, "calls");
    let again: Vec<_> = lab.calls().0.iter().filter(|call| call.deliveries > 1).map(|call| call.number).collect();
    check!(again.is_empty(), "delivered more than once: {again:?}");
    Ok(())
}

pub(super) async fn d10_where_no_lease_can_be_extended_a_longer_timeout_is_refused(lab: Lab) -> CaseResult {
    let LeaseKind::Fixed(limit) = lab.capabilities().await?.lease else {
        return Err(Stop::lacking("the broker declares that leases can be extended, or that there are none"));
    };
    let topic = lab.topic("in");
    let work = on("work", topic).option(|options| options.timeout = Some(limit * 2));
    match lab.process("a").with(work).try_start().await? {
        Err(error) if error.kind() == ErrorKind::Configuration => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Err(Stop::failed(format!("a timeout of {:?} was not refused, with a lease of {limit:?}", limit * 2))),
    }
}
