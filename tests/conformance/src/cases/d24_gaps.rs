//! D24: what the broker discarded before it was read is seen.

use crate::act::on;
use crate::lab::Lab;
use crate::note::{Note, notes};
use crate::stop::{CaseResult, check};

pub(super) async fn d24_what_the_broker_discarded_before_it_was_read_is_reported(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("1").with(on("work", topic)).start().await?;
    app.publish(topic, &notes(16, 16)).await?;
    app.settled().await?;
    check!(app.status("work").await?.gaps == 0, "a gap is reported where there is none");
    app.drain().await?;
    let other = lab.process("2").with(on("other", topic)).start().await?;
    other.publish(topic, &(100..132).map(|number| Note::new(format!("k{number}"), number)).collect::<Vec<_>>()).await?;
    other.settled().await?;
    lab.harness().discard(topic).await?;
    other.publish(topic, &[Note::new("k", 200)]).await?;
    let app = lab.process("3").with(on("work", topic)).start().await?;
    app.settled().await?;
    lab.calls().of_process("3").each_done_once([200])?;
    let status = app.status("work").await?;
    check!(status.gaps > 0, "32 messages were discarded before they were read, and nothing says so: {status:?}");
    Ok(())
}
