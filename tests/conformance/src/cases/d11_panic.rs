//! D11: a panic is a failed attempt.

use std::panic::resume_unwind;

use crate::act::{Call, on};
use crate::lab::Lab;
use crate::note::Note;
use crate::stop::{CaseResult, check_eq};

pub(super) async fn d11_a_panic_is_a_failed_attempt_and_the_process_lives(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let does = |call: Call| async move {
        if call.note.key == "always" || (call.note.key == "once" && call.attempt == 1) {
            // As `panic!` does, but for the text and the stack that it prints: they would hide what a run really has to say.
            resume_unwind(Box::new(format!("no such case: {}", call.note.key)));
        }
    };
    let app = lab.process("a").with(on("work", topic).retry(3, lab.ms(50), lab.ms(50)).does(does)).start().await?;
    app.publish(topic, &[Note::new("once", 1), Note::new("always", 2), Note::new("fine", 3)]).await?;
    app.settled().await?;
    lab.calls().each_done_once([1, 3])?;
    check_eq!(lab.calls().of_number(1).attempts(), [1, 2], "attempts of the one that panicked once");
    check_eq!(lab.calls().of_number(2).attempts(), [1, 2, 3], "attempts of the one that always panics");
    let letters = lab.read(&lab.dead(topic, "work")).await?;
    check_eq!(letters.len(), 1, "dead letters");
    check_eq!(letters[0].text("convoke-dead-reason"), Some("panic"), "the reason");
    let says = letters[0].text("convoke-dead-error").unwrap_or_default().contains("no such case: always");
    check_eq!(says, true, "whether the error is the panic's message");
    Ok(())
}
