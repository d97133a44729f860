//! D17: a slow handler blocks no other.

use crate::act::on;
use crate::lab::Lab;
use crate::note::notes;
use crate::stop::{CaseResult, check_eq};

pub(super) async fn d17_a_slow_handler_blocks_no_other(lab: Lab) -> CaseResult {
    let (topic, other) = (lab.topic("in"), lab.topic("other"));
    let group = lab.name("together");
    let takes = lab.ms(3_600_000);
    let slow = || on("slow", topic).does(move |_| tokio::time::sleep(takes));
    // Another handler of the same topic, and another of the same group.
    let (beside, within) = (on("beside", topic), on("within", other).group(group));
    let app = lab.process("a").with(slow().group(group)).with(beside).with(within).start().await?;
    // Where everybody gives everything back when somebody joins, nobody runs yet who would have to finish first.
    lab.wait(lab.ms(1000)).await;
    for _ in 0..2 {
        // More than the slow one may have in flight.
        app.publish(topic, &notes(500, 100)).await?;
    }
    app.publish(other, &notes(100, 10)).await?;
    lab.until("a handler of the same topic is done", || lab.calls().of_handler("beside").done().len() == 1000).await?;
    lab.until("a handler of the same group is done", || lab.calls().of_handler("within").done().len() == 100).await?;
    lab.until("the slow one runs what it may", || lab.calls().of_handler("slow").len() >= 16).await?;
    check_eq!(app.status("slow").await?.running, 16, "what the slow one runs");
    Ok(())
}
