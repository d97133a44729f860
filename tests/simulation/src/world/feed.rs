//! The way of an input through the engine, and of its outputs through the oracle to the driver.

use convoke_core::PartId;
use convoke_core::broker::Commit;
use convoke_engine::{Engine, In, Out, RouteId, Time, Verdict};

use super::{Lived, PARTS, World};
use crate::{Reached, Sabotage, Violation};

impl World {
    /// An input: a step of its own, or one of several of the same step.
    pub(super) fn feed(&mut self, input: In<'_>) -> Lived {
        if !self.gathering {
            self.catch_up(&input)?;
        }
        self.inputs += 1;
        self.oracle.input(self.now, &input, &mut self.stats);
        if self.record {
            self.trace.push(format!("{:>12} {input:?}", self.now.0));
        }
        let mut out = Vec::new();
        if self.gathering {
            self.take(input, &mut out);
            return self.judge(out);
        }
        self.engine.elapse(self.now, &mut out);
        self.take(input, &mut out);
        self.engine.follow(self.now, &mut out);
        self.judge(out)?;
        self.end_step()
    }

    /// What was due happens before anything else does.
    fn catch_up(&mut self, input: &In<'_>) -> Lived {
        if !matches!(input, In::Tick) && self.engine.next_wake().is_some_and(|wake| wake <= self.now) {
            self.feed(In::Tick)?;
        }
        Ok(())
    }

    /// Several inputs of one moment in one step, as a busy driver has them. Its outputs are carried out when the step is over.
    pub(super) fn several(&mut self) -> Lived {
        if self.engine.next_wake().is_some_and(|wake| wake <= self.now) {
            return self.feed(In::Tick);
        }
        self.stats.count(Reached::Several);
        self.together(|world| {
            for _ in 0..2 + world.rng.below(4) {
                if world.gathered.last() == Some(&Out::Drained) {
                    break;
                }
                match world.rng.below(100) {
                    0..30 => world.deliver()?,
                    30..55 => world.finish()?,
                    55..80 => world.answer()?,
                    80..84 => world.revoke()?,
                    84..88 => world.lose()?,
                    88..94 => world.renew()?,
                    _ => world.assign()?,
                }
            }
            Ok(())
        })
    }

    /// These inputs are taken in one step, which may be one that is under way.
    pub(super) fn together(&mut self, inputs: impl FnOnce(&mut Self) -> Lived) -> Lived {
        if self.gathering {
            return inputs(self);
        }
        if self.engine.next_wake().is_some_and(|wake| wake <= self.now) {
            self.feed(In::Tick)?;
        }
        let mut out = Vec::new();
        self.engine.elapse(self.now, &mut out);
        if !out.is_empty() {
            return Err(Violation { number: 17, what: format!("nothing was due, but {out:?}") });
        }
        self.gathering = true;
        inputs(self)?;
        self.gathering = false;
        if self.record {
            self.trace.push(format!("{:>12} what follows", self.now.0));
        }
        self.engine.follow(self.now, &mut out);
        self.judge(out)?;
        self.end_step()
    }

    /// What the engine takes in, unless a planted fault keeps it from it.
    fn take(&mut self, input: In<'_>, out: &mut Vec<Out>) {
        let halved;
        let input = match (self.sabotage, input) {
            (Some(Sabotage::RevokeIgnored), In::Revoking { .. })
            | (Some(Sabotage::DeadlineUnknown), In::Renewed { .. })
            | (Some(Sabotage::WaitUnheard), In::Waits { .. }) => return,
            (Some(Sabotage::DeadlineUnknown), In::Assigned { part, epoch, resume, .. }) => {
                In::Assigned { part, epoch, until: None, resume }
            }
            (Some(Sabotage::DelayCutShort), In::Finished { slot, verdicts, returned }) => {
                let halve = |verdict: &Verdict| match *verdict {
                    Verdict::Failed { after: Some(after), reason } => Verdict::Failed { after: Some(after / 2), reason },
                    other => other,
                };
                halved = verdicts.iter().map(halve).collect::<Vec<_>>();
                In::Finished { slot, verdicts: &halved, returned }
            }
            (_, input) => input,
        };
        self.engine.take(self.now, input, out);
    }

    /// Has the oracle judge what comes out.
    fn judge(&mut self, mut out: Vec<Out>) -> Lived {
        self.tamper(&mut out);
        if self.record {
            self.trace.extend(out.iter().map(|out| format!("{:>16}{out:?}", "")));
        }
        let engine = &self.engine;
        let commit = |part| said(engine, self.now, self.sabotage, part);
        self.oracle.outputs(self.now, &out, &|slot| engine.batch(slot).to_vec(), &commit, &mut self.stats)?;
        self.gathered.append(&mut out);
        Ok(())
    }

    /// The step is over: the driver carries out what came of it.
    fn end_step(&mut self) -> Lived {
        let engine = &self.engine;
        let commit = |part| said(engine, self.now, self.sabotage, part);
        self.oracle.end_of_step(self.now, &commit, &mut self.stats)?;
        for route in (0..self.paused.len()).map(|r| RouteId(r as u16)) {
            self.oracle.check_status(route, engine.status(route))?;
        }
        let out = std::mem::take(&mut self.gathered);
        let commits = if out.iter().any(|out| matches!(out, Out::Commit { .. })) {
            (0..PARTS as u32).map(commit).collect()
        } else {
            Vec::new()
        };
        for &out in &out {
            self.carry_out(out, &commits);
        }
        self.gathered = out;
        self.gathered.clear();
        Ok(())
    }
}

/// What a commit of the partition says, or what a planted fault makes of it.
fn said(engine: &Engine, now: Time, sabotage: Option<Sabotage>, part: u32) -> Option<Commit> {
    let mut commit = engine.commit(now, PartId(part))?;
    if sabotage == Some(Sabotage::CommitPastGap)
        && let Some(range) = commit.progress.done.last()
    {
        commit.upto = range.1.next();
        commit.progress.done.clear();
    }
    Some(commit)
}
