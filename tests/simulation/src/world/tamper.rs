//! Faults that are planted between the engine and the oracle.

use convoke_core::broker::Settle;
use convoke_engine::{Note, Out, Slot};

use super::World;
use super::driver::Body;
use crate::Sabotage;

impl World {
    /// Plants the fault.
    pub(super) fn tamper(&mut self, out: &mut Vec<Out>) {
        let Some(sabotage) = self.sabotage else { return };
        let watermark = self.watermark();
        let ack = |slot| Out::Settle { slot, settle: Settle::Ack };
        match sabotage {
            Sabotage::AckBeforeConfirmed if !watermark => {
                if let Some(&Out::PublishReturned { slot }) = out.iter().find(|out| matches!(out, Out::PublishReturned { .. })) {
                    out.push(ack(slot));
                }
            }
            Sabotage::SettleDropped => out.retain(|out| !matches!(out, Out::Settle { settle: Settle::Ack, .. })),
            Sabotage::DeadLetterDropped if !watermark => {
                for out in out {
                    if let Out::PublishDead { slot, .. } = *out {
                        *out = ack(slot);
                    }
                }
            }
            Sabotage::AttemptForgotten => {
                for out in out {
                    if let Out::Start { attempt, .. } = out
                        && *attempt > 1
                    {
                        *attempt -= 1;
                    }
                }
            }
            Sabotage::CreditInflated => {
                for out in out {
                    if let Out::Grant { messages, .. } = out {
                        *messages += 1000;
                    }
                }
            }
            Sabotage::CreditLeaked => out.retain(|out| !matches!(out, Out::Grant { .. })),
            Sabotage::LeaseNeverExtended => out.retain(|out| !matches!(out, Out::Settle { settle: Settle::Extend, .. })),
            Sabotage::FreedTwice => {
                if let Some(&free) = out.iter().find(|out| matches!(out, Out::Free { .. })) {
                    out.push(free);
                }
            }
            Sabotage::KeyReordered => {
                for out in out {
                    if let Out::Start { slot, route, attempt: 1, shard } = *out
                        && let Some(later) = self.later(slot)
                    {
                        *out = Out::Start { slot: later, route, attempt: 1, shard };
                    }
                }
            }
            Sabotage::KeyReleasedEarly => {
                for k in 0..out.len() {
                    if let Out::Note(Note::Retrying { slot, hold: true, .. }) = out[k]
                        && let Some(later) = self.later(slot)
                    {
                        let body = self.bodies[slot.index as usize];
                        let route = self.logs[body.part].kept[body.index].meta.route;
                        out.insert(k + 1, Out::Start { slot: later, route, attempt: 1, shard: 0 });
                        return;
                    }
                }
            }
            _ => {}
        }
    }

    /// A message that is held behind this one in its lane, and has not been tried.
    fn later(&self, slot: Slot) -> Option<Slot> {
        let first = self.bodies[slot.index as usize];
        let kept = &self.logs[first.part].kept[first.index];
        let route = kept.meta.route.0 as usize;
        if self.paused[route] || self.config.routes[route].batch.is_some() || kept.meta.lane.is_none() {
            return None;
        }
        let fits = |body: &Body| {
            let other = &self.logs[body.part].kept[body.index];
            body.live
                && (body.part, body.epoch) == (first.part, first.epoch)
                && other.meta.lane == kept.meta.lane
                && other.meta.route == kept.meta.route
                && body.index > first.index
                && other.meta.dead.is_none()
                && !other.meta.skip
                && other.due.is_none()
                && other.attempts == 0
        };
        let index = self.bodies.iter().position(fits)?;
        let later = Slot { index: index as u32, generation: self.bodies[index].generation };
        (self.engine.attempt(later) == 1 && !self.running.contains(&later)).then_some(later)
    }
}
