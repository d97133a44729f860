//! The delivery engine of convoke: ordering, retry, settlement, credit and drain as state machines without I/O.
//!
//! Time comes in as a number, messages stay with the driver, jitter is a hash: the same inputs give the same outputs.
//!
//! # What holds
//!
//! The model test (`tests/simulation`) checks these over random traces, by number, with an oracle that shares no code with the
//! engine.
//!
//! 1. **One end.** Each message that is delivered gets exactly one [`Out::Free`], and is named by no output after it.
//! 2. **Nothing is freed under way.** No message is freed while its handler runs (unless it was cancelled), or while a publish or
//!    a settlement of it other than an extension is unanswered. Only when the time of a drain is over, everything that is left is
//!    freed right before [`Out::Drained`].
//! 3. **One at a time.** Nothing of a lane starts while another message of it runs, publishes, is about to be tried alone, waits
//!    for a retry that holds, or is fenced; members of one batch aside. Nor does a message without a lane while an earlier delivery
//!    of it runs. A settlement that is merely unanswered locks nothing.
//! 4. **In order.** Of the messages of a lane and partition that are held at the same time, first starts are in the order of
//!    positions. A message that is to be given up takes its turn among them. Where the route lets retries pass, one that came in
//!    with a delay is not counted.
//! 5. **Not before.** No attempt begins before the message is due, or before the delay of its retry is over.
//! 6. **Attempts.** Failures are counted, and nothing else is; a message that has used up its attempts does not start.
//! 7. **Settled when final.** A message is acknowledged (by watermark: counted as done) only when it succeeded or was dropped and
//!    everything that its handler returned is confirmed, or its copy (dead letter, retry) is confirmed, or nobody wants it.
//! 8. **Watermark.** A commit says the lowest delivered position that is not done, or the one after the last delivered; exactly
//!    the delivered ranges that are done above it, with what the last owner had done beyond; and attempts and deaths of the rest.
//!    Only what has no room in its text is left out, from the top, and ranges first.
//! 9. **Credit.** Let `r = max(1, messages / 2P)` for `P` partitions. What a partition uses (delivered and not settled, or granted
//!    and not delivered) is raised by a grant up to `r` always; beyond that only if, after it, the sum over the partitions of
//!    `max(used, r)` is at most `max(messages, P)`. So the total is at most that while the assignment does not change; a new
//!    partition may add its `r` to it, which is recovered as credit returns. The same holds for bytes, where one message for each
//!    partition may go over. A partition that uses nothing, and whose intake is not stopped, has been granted something. Of `W`
//!    partitions whose messages wait, none is raised beyond `max(1, messages / 4W)`. A partition that holds something is granted
//!    nothing while its commits have no room for what they have to say.
//! 10. **Leases.** With a lease, everything that is neither settled nor being settled is extended in every third of it.
//! 11. **Local deadline.** Nothing of a partition starts at its deadline or later, until it is renewed.
//! 12. **Limits.** Nothing of a route starts while it is paused, at its concurrency, suspended (but for one probe when it is
//!     time), or soon after its layers did not take a message. A batch is no larger than it may be.
//! 13. **Giving back.** Nothing starts in a drain, or of a partition that is being revoked. `Revoked` and `Drained` come once,
//!     with nothing left open or at their time, and nothing comes after `Drained`.
//! 14. **Suspects run alone**, and only when the mark of it is confirmed, if there is a place for one, and room.
//! 15. **Fenced.** Of a delivery that is lost nothing is published or settled any more.
//! 16. **Progress.** Once the world heals, everything is finished.
//! 17. **Exact waking.** A tick before [`Engine::next_wake`] changes nothing.
//! 18. **Repeats.** Only a delivery of the same position in the same epoch is taken for a repeat.
//! 19. **Status.** What is said of a handler agrees with what it was given and what was freed.
//!
//! # Suspects
//!
//! After an unclean end, these are suspected of having killed the process: where messages are settled one by one, those that the
//! broker has delivered before; by watermark, those up to the highest position that the last commit mentions, and the first
//! `messages` that are delivered, since the last commit is older than the death. Where they are
//! settled one by one, an assignment that is lost before its suspects came, or were tried, leaves the suspicion to the next one, whoever
//! the broker takes for the last owner; by watermark, the last commit does. Without a place for marks a suspect is still
//! tried alone, but deaths are not known, so it is not given up for them.
mod behind;
mod commit;
mod credit;
mod drain;
mod engine;
mod finish;
mod io;
mod lane;
mod list;
mod part;
mod run;
mod settle;
mod slot;
mod timer;

pub use engine::{Engine, RouteStatus};
pub use io::{Answer, Cap, Config, End, In, Meta, Note, Out, Published, Route, RouteId, Slot, Time, Verdict};
