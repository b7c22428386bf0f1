//! Why it is as it is: a state and a sentence for every slot and every service.
//!
//! Whatever does not run says why; what runs as wanted says nothing. The sentences are for people; programs go by
//! the states.

use bourse_types::{Now, TaskState, units};

use crate::plan::{Plan, ROOM};
use crate::seen::{Instance, Resizing, Seen, Slot, SlotName};
use crate::wanted::Definition;

/// A slot, told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotStory {
    /// A task state's name, `WAITING`, or `BACKING_OFF`.
    pub state: &'static str,
    /// Why it is not running and well; empty when it is.
    pub reason: String,
}

/// A service, told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStory {
    /// `running`, `deploying`, `waiting`, `removing`, `suspended`.
    pub state: &'static str,
    /// Why it is not where it should be; empty when it is.
    pub reason: String,
    /// Slots whose instance runs.
    pub running: u32,
    /// Those of them that are well: running and, where there is a health check, healthy.
    pub healthy: u32,
}

/// The instance that stands for a slot: the one that stays, else the newest.
pub fn shown(slot: &Slot) -> Option<&Instance> {
    slot.keeper().or(slot.instances.last())
}

/// Tells one slot. `None` for a slot that was never filled.
pub fn slot(definition: &Definition, slot: Option<&Slot>, now: Now) -> SlotStory {
    match slot.and_then(shown) {
        Some(instance) => {
            SlotStory { state: instance.state.as_str(), reason: why_instance(definition, instance, now) }
        }
        None => empty(definition, slot, now),
    }
}

/// Tells one service.
pub fn service(definition: &Definition, seen: &Seen, now: Now) -> ServiceStory {
    let name = &definition.spec.name;
    let (mut running, mut healthy) = (0, 0);
    let (mut stale, mut other_size) = (0u64, 0u64);
    let (mut waiting, mut starting) = (Vec::new(), Vec::new());
    for index in 0..definition.wanted() {
        let slot_name = SlotName { service: name.clone(), index };
        let slot = seen.slots.get(&slot_name);
        let keeper = slot.and_then(Slot::keeper);
        match keeper.map(|keeper| keeper.version) {
            Some(version) if version < definition.template_version => stale += 1,
            Some(version) if version < definition.size_version => other_size += 1,
            Some(_) | None => {}
        }
        match keeper {
            Some(keeper) if keeper.state == TaskState::Running => {
                running += 1;
                if keeper.is_serving() { healthy += 1 } else { starting.push(slot_name) }
            }
            Some(_) => starting.push(slot_name),
            None if slot.is_some_and(|slot| !slot.instances.is_empty()) => starting.push(slot_name),
            None => waiting.push(slot_name),
        }
    }
    let left = seen.slots_of(name).map(|(_, slot)| slot.instances.len()).sum::<usize>() as u64;
    let tell = |name: &SlotName| self::slot(definition, seen.slots.get(name), now).reason;
    let of = |names: &[SlotName]| match names {
        [] => String::new(),
        [one] => format!("{one}: {}", tell(one)),
        [one, more @ ..] => format!("{one}: {}; and {} more", tell(one), more.len()),
    };
    let (state, reason) = if definition.removing {
        ("removing", format!("{} still to end", units::format_count(left, "instance")))
    } else if definition.count == 0 {
        let reason = match left {
            0 => "scaled to 0".to_owned(),
            left => format!("scaled to 0; {} still to end", units::format_count(left, "instance")),
        };
        ("suspended", reason)
    } else if !waiting.is_empty() {
        ("waiting", of(&waiting))
    } else if stale > 0 || other_size > 0 {
        let blocked = if starting.is_empty() { String::new() } else { format!("; {}", of(&starting)) };
        let todo = match stale {
            0 => format!("{} to be resized", units::format_count(other_size, "instance")),
            _ => format!("{} of an earlier version to replace", units::format_count(stale, "instance")),
        };
        ("deploying", format!("{todo}{blocked}"))
    } else if !starting.is_empty() {
        ("deploying", of(&starting))
    } else {
        ("running", String::new())
    };
    ServiceStory { state, reason, running, healthy }
}

fn why_instance(definition: &Definition, instance: &Instance, now: Now) -> String {
    let here = units::format_rough(now.wall.since(instance.since_wall));
    let host = &instance.hostname;
    if let Some(kill) = instance.kill {
        return format!("being killed on {host}: {}", kill.why.as_str());
    }
    match instance.state {
        TaskState::Running if instance.is_serving() => why_resized(definition, instance, now),
        TaskState::Running if instance.healthy == Some(false) => {
            let message = instance.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
            format!("fails its health check on {host} for {here}{message}")
        }
        TaskState::Running => format!("runs on {host}; its health check has not passed yet"),
        TaskState::Unreachable => {
            let due = instance.since + definition.spec.replace_unreachable_after;
            let left = due.since(now.mono);
            let then = if left.is_zero() {
                String::new()
            } else {
                format!("; replaced in {}", units::format_rough(left))
            };
            format!("its agent {host} has not answered for {here}{then}")
        }
        TaskState::Killing => format!("ending on {host} for {here}"),
        TaskState::Staging if !instance.told => {
            format!("launched on {host}; not heard of yet since the master was reached again")
        }
        TaskState::Staging | TaskState::Starting => format!("launched on {host} {here} ago, not running yet"),
        TaskState::Finished
        | TaskState::Failed
        | TaskState::Killed
        | TaskState::Error
        | TaskState::Lost
        | TaskState::Dropped
        | TaskState::Gone
        | TaskState::GoneByOperator
        | TaskState::Unknown => format!("ended on {host}"),
    }
}

/// What an instance that serves has yet to come to.
fn why_resized(definition: &Definition, instance: &Instance, now: Now) -> String {
    let host = &instance.hostname;
    let wanted = definition.size_version;
    match &instance.resize {
        Some(Resizing::Asked(size)) => format!("being resized on {host} to {size}"),
        Some(Resizing::Waiting { version, since }) if *version == wanted && instance.version < wanted => {
            let left = units::format_rough((*since + ROOM).since(now.mono));
            format!("waits for {host} to offer what it is to gain; replaced in {left} otherwise")
        }
        Some(Resizing::Refused { version, why }) if *version == wanted => {
            format!("cannot be resized on {host}, so it is replaced: {why}")
        }
        Some(Resizing::Waiting { .. } | Resizing::Refused { .. } | Resizing::Done { .. }) | None => {
            String::new()
        }
    }
}

fn empty(definition: &Definition, slot: Option<&Slot>, now: Now) -> SlotStory {
    if definition.removing {
        return SlotStory { state: "WAITING", reason: "the service is being removed".to_owned() };
    }
    let last = slot.and_then(|slot| slot.attempts.front());
    let after = match (slot.map_or(0, |slot| slot.ends), last) {
        (0, _) | (_, None) => String::new(),
        (ends, Some(last)) => {
            format!(
                " after {}; the last: {}",
                units::format_count(ends.into(), "failed attempt"),
                last.message
            )
        }
    };
    if let Some(retry) = slot.and_then(|slot| slot.retry).filter(|retry| retry.at > now.mono) {
        let left = units::format_rough(retry.at.since(now.mono));
        return SlotStory { state: "BACKING_OFF", reason: format!("backing off {left}{after}") };
    }
    let lack = slot.and_then(|slot| slot.lack.as_deref()).unwrap_or("no offer has come yet");
    SlotStory { state: "WAITING", reason: format!("waiting: {lack}{after}") }
}

/// A plan as lines of text, one action a line: for logs at debug level, and for tests.
pub fn lines(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for kill in &plan.kills {
        lines.push(format!("kill {} on {}: {}", kill.task, kill.agent, kill.why.as_str()));
    }
    for resize in &plan.resizes {
        lines.push(format!("resize {} on {} to {}", resize.task, resize.agent, resize.size));
    }
    for launch in &plan.launches {
        lines.push(format!("launch {} on {} with {}", launch.task, launch.agent, launch.resources));
    }
    lines.extend(plan.declines.iter().map(|offer| format!("decline {offer}")));
    lines.extend(plan.asks.iter().map(|task| format!("ask about {task}")));
    lines.extend(plan.forgets.iter().map(|task| format!("forget {task}")));
    lines.extend(plan.lacks.iter().map(|(slot, lack)| format!("{slot} lacks: {lack}")));
    lines.extend(plan.revive.iter().map(|role| format!("revive {role}")));
    lines.extend(plan.suppress.iter().map(|role| format!("suppress {role}")));
    lines
}
