//! One at a time: instances of an older definition, and those on an agent that is being drained, are replaced while
//! all others are well.
//!
//! An update that does not come up stops after its first instance; the rest go on as they were. So they do while it is
//! not known how they are: after a restart or a gap, until each has been told of.

use std::time::Duration;

use bourse_types::Mono;

use super::Pass;
use crate::seen::{Instance, KillReason, SlotName};
use crate::wanted::Definition;

/// An instance without a health check counts as well once it has run this long: one that dies at its start must not
/// take the next one with it.
pub const SETTLE: Duration = Duration::from_secs(5);

impl<'a> Pass<'a> {
    /// Kills the next instance that is to be replaced, if now is the time.
    pub(super) fn roll(&mut self, definition: &'a Definition) {
        let seen = self.seen;
        let count = definition.wanted();
        let slots = || seen.slots_of(&definition.spec.name).take_while(|(name, _)| name.index < count);
        if slots().filter_map(|(_, slot)| slot.keeper()).any(|keeper| !keeper.told) {
            return; // Whoever seems not to serve may well do. What is missing is heard of.
        }
        let mut stale: Vec<(KillReason, SlotName, &Instance)> = Vec::new();
        let mut well = 0;
        let mut settled: Option<Mono> = None;
        for (name, slot) in slots() {
            let Some(keeper) = slot.keeper() else { continue };
            if let Some(why) = self.why_stale(definition, keeper) {
                if !keeper.is_serving() {
                    // It serves nobody, so nobody loses it; and the new definition may be the cure.
                    self.kill(name, keeper, why);
                    continue;
                }
                stale.push((why, name.clone(), keeper));
            }
            match well_at(keeper) {
                Some(at) if at <= self.now.mono => well += 1,
                Some(at) => settled = Some(settled.map_or(at, |latest| latest.max(at))),
                None => {}
            }
        }
        if stale.is_empty() {
            return;
        }
        if well < count {
            // What is not well for another reason is heard of; only the passing of time has to be waited for.
            if let Some(at) = settled {
                self.wait_until(at);
            }
            return;
        }
        // A drain has a deadline, an update has none.
        stale.sort_by_key(|(why, ..)| *why != KillReason::Draining);
        if let Some((why, name, keeper)) = stale.first() {
            self.kill(name, keeper, *why);
        }
    }

    fn why_stale(&self, definition: &Definition, instance: &Instance) -> Option<KillReason> {
        if self.seen.draining.contains(&instance.agent) {
            return Some(KillReason::Draining);
        }
        (instance.version < definition.template_version).then_some(KillReason::Updated)
    }
}

/// From when on an instance counts as well; `None` while it is not on the way there.
fn well_at(instance: &Instance) -> Option<Mono> {
    instance.is_serving().then(|| if instance.checked { instance.since } else { instance.since + SETTLE })
}
