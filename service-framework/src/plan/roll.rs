//! One at a time: instances of an older definition, and those on an agent that is being drained, are replaced while
//! all others are well; those that lack nothing but another size are given it where they run.
//!
//! An update that does not come up stops after its first instance; the rest go on as they were. So they do while it is
//! not known how they are: after a restart or a gap, until each has been told of.

use std::time::Duration;

use bourse_sdk_core::resized;
use bourse_types::{Mono, Resources, Size};

use super::{Pass, Resize};
use crate::seen::{Instance, KillReason, Resizing, SlotName};
use crate::wanted::Definition;

/// An instance without a health check counts as well once it has run this long: one that dies at its start must not
/// take the next one with it. So does every instance this long after it was resized, as one may die of that.
pub const SETTLE: Duration = Duration::from_secs(5);

/// An instance that is to gain something is replaced when its agent has not offered that for so long: it may well have
/// room elsewhere.
pub const ROOM: Duration = Duration::from_secs(10);

/// What an instance needs that is not as its definition has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cure {
    Replace(KillReason),
    Resize,
}

impl<'a> Pass<'a> {
    /// Replaces or resizes the next instance that needs it, if now is the time.
    pub(super) fn roll(&mut self, definition: &'a Definition) {
        let seen = self.seen;
        let count = definition.wanted();
        let slots = || seen.slots_of(&definition.spec.name).take_while(|(name, _)| name.index < count);
        if slots().filter_map(|(_, slot)| slot.keeper()).any(|keeper| !keeper.told) {
            return; // Whoever seems not to serve may well do. What is missing is heard of.
        }
        let mut stale: Vec<(Cure, &'a SlotName, &'a Instance)> = Vec::new();
        let mut well = 0;
        let mut settled: Option<Mono> = None;
        for (name, slot) in slots() {
            let Some(keeper) = slot.keeper() else { continue };
            if let Some(cure) = self.cure(definition, keeper) {
                if !keeper.is_serving() {
                    // It serves nobody, so nobody loses it; and the new definition may be the cure.
                    let why = match cure {
                        Cure::Replace(why) => why,
                        Cure::Resize => KillReason::Updated,
                    };
                    self.kill(name, keeper, why);
                    continue;
                }
                stale.push((cure, name, keeper));
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
        stale.sort_by_key(|(cure, ..)| *cure != Cure::Replace(KillReason::Draining));
        match stale.first() {
            Some((Cure::Replace(why), name, keeper)) => self.kill(name, keeper, *why),
            Some((Cure::Resize, name, keeper)) => self.resize(definition, name, keeper),
            None => {}
        }
    }

    fn cure(&self, definition: &Definition, instance: &Instance) -> Option<Cure> {
        if self.seen.draining.contains(&instance.agent) {
            return Some(Cure::Replace(KillReason::Draining));
        }
        if instance.version < definition.template_version {
            return Some(Cure::Replace(KillReason::Updated));
        }
        let refused = matches!(
            &instance.resize,
            Some(Resizing::Refused { version, .. }) if *version == definition.size_version
        );
        (instance.version < definition.size_version).then_some(match refused || instance.size.is_none() {
            true => Cure::Replace(KillReason::Updated),
            false => Cure::Resize,
        })
    }

    /// Gives an instance the size that its definition wants: at once where it gains nothing, and else once its agent
    /// offers what it gains. If that takes too long, it is replaced.
    fn resize(&mut self, definition: &'a Definition, name: &'a SlotName, instance: &'a Instance) {
        let Some(has) = instance.size.as_ref().map(|size| &size.resources) else { return };
        let template = &definition.spec.template;
        let (wanted, role) = (template.resources.resources(), self.wanted.role_of(definition));
        if let Some((resources, _)) = resized(has, &Resources::new(), &wanted, role) {
            self.plan.resizes.push(Resize {
                task: instance.task.clone(),
                agent: instance.agent.clone(),
                offer: None,
                has: has.clone(),
                wanted,
                size: Size { resources, limits: template.limits.clone() },
            });
            return;
        }
        let since = match &instance.resize {
            Some(Resizing::Waiting { version, since }) if *version == definition.size_version => *since,
            Some(_) | None => {
                self.plan.waits.push((instance.task.clone(), definition.size_version));
                self.now.mono
            }
        };
        if since + ROOM <= self.now.mono {
            return self.kill(name, instance, KillReason::Updated);
        }
        self.wait_until(since + ROOM);
        self.growing.push((name, definition, instance));
    }
}

/// From when on an instance counts as well; `None` while it is not on the way there.
fn well_at(instance: &Instance) -> Option<Mono> {
    let started = if instance.checked { instance.since } else { instance.since + SETTLE };
    let at = match &instance.resize {
        Some(Resizing::Asked(_)) => return None,
        Some(Resizing::Done { at }) => started.max(*at + SETTLE),
        Some(Resizing::Waiting { .. } | Resizing::Refused { .. }) | None => started,
    };
    instance.is_serving().then_some(at)
}
