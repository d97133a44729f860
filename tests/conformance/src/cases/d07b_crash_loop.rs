//! D7b: a message that kills the process is given up, and takes no others with it.

use std::future::pending;

use convoke_core::broker::SettleBy;

use crate::act::{Act, Call, on};
use crate::lab::Lab;
use crate::note::Note;
use crate::stop::{CaseResult, Stop, check, check_eq};

/// Marks have a place of their own, or go with the commits.
async fn keeps_marks(lab: &Lab) -> CaseResult {
    let capabilities = lab.capabilities().await?;
    if capabilities.marks || capabilities.settle == SettleBy::Watermark {
        return Ok(());
    }
    Err(Stop::lacking("the broker declares that it has no place for the marks of a death"))
}

/// The process is killed as soon as it holds the bomb.
fn work(lab: &Lab, topic: &'static str) -> Act {
    let takes = lab.ms(20);
    let does = move |call: Call| async move {
        if call.note.key == "bomb" {
            pending::<()>().await;
        }
        tokio::time::sleep(takes).await;
    };
    on("work", topic).concurrency(4).does(does)
}

pub(super) async fn d07b_a_message_that_kills_its_process_is_given_up_and_takes_no_others(lab: Lab) -> CaseResult {
    keeps_marks(&lab).await?;
    let topic = lab.topic("in");
    let mut notes: Vec<_> = (0..40).map(|number| Note::new(format!("k{}", number % 10), number)).collect();
    notes.insert(10, Note::new("bomb", 99));
    let mut deaths = 0;
    for life in ["1", "2", "3", "4", "5", "6", "7", "8"] {
        let app = lab.process(life).with(work(&lab, topic)).start().await?;
        if deaths == 0 {
            app.publish(topic, &notes).await?;
        }
        let explodes = || lab.calls().of_process(life).of_key("bomb").len() > 0;
        let dies = tokio::select! {
            waited = lab.until("the bomb", explodes) => waited.is_ok(),
            settled = app.settled() => settled.is_err(),
        };
        if !dies {
            lab.see_the_weather_out().await?;
            let letters = lab.read(&lab.dead(topic, "work")).await?;
            check_eq!(letters.len(), 1, "dead letters: only the culprit");
            let says = [letters[0].text("convoke-dead-reason"), letters[0].text("convoke-dead-key")];
            check_eq!(says, [Some("too-many-deliveries"), Some("bomb")], "[reason, key] of the dead letter");
            check!((2..=4).contains(&deaths), "it took {deaths} deaths: one among others and three alone are allowed");
            // Of what was done while the server fell, it may not have heard.
            let again = lab.calls().of_process(life).none_done_twice(|_| lab.is_falling());
            return again.and(lab.calls().each_done(0..40));
        }
        if deaths > 0 {
            check_eq!(app.status("work").await?.running, 1, "calls that run beside the bomb, in life {life}");
        }
        // It hurts for a while, so that the server falls meanwhile.
        if lab.is_falling() {
            lab.wait(lab.ms(300)).await;
        }
        app.kill().await;
        deaths += 1;
    }
    Err(Stop::failed(format!("after {deaths} deaths it was still delivered")).about([99]))
}

pub(super) async fn d07b_what_was_in_flight_at_a_death_is_tried_alone_once(lab: Lab) -> CaseResult {
    keeps_marks(&lab).await?;
    let topic = lab.topic("in");
    let takes = lab.ms(200);
    let work = on("work", topic).concurrency(4).does(move |_| tokio::time::sleep(takes));
    let app = lab.process("1").with(work.clone()).start().await?;
    app.publish(topic, &(0..4).map(|number| Note::new(format!("k{number}"), number)).collect::<Vec<_>>()).await?;
    lab.until("all run", || lab.calls().len() == 4).await?;
    app.kill().await;
    let app = lab.process("2").with(work).start().await?;
    app.settled().await?;
    let second = lab.calls().of_process("2");
    check_eq!(second.most_at_once(), 1, "suspects that were tried at the same time");
    second.each_done_once(0..4)
}
