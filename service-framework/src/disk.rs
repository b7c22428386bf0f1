//! What survives the process: the disk form of definitions and slots, and reading it back.
//!
//! Each service is a value of its own, and its slots are, in groups of [`GROUP`]: a change writes what changed and
//! little more, and a launch of hundreds costs a few synced writes and not hundreds. The SDK makes the values durable
//! before anything that depends on them leaves the process.
//!
//! A value is a checksum and JSON with the number of its format; fields that this version does not know are left
//! alone, and those that are missing read as empty, so that one version back and forth can be read.
//!
//! Left out is what the master tells again after a restart: health, messages, agents being drained.

use std::collections::BTreeMap;

use bourse_types::{
    AgentId, BadId, Milli, Mono, Name, Reason, Resources, Role, Size, TaskId, TaskState, Wall,
};
use serde::{Deserialize, Serialize};

use crate::seen::{Attempt, Instance, KillReason, KillSent, Retry, Seen, Slot, SlotName};
use crate::spec::{self, BadName, BadSpec, ServiceName};
use crate::wanted::{Definition, Wanted};

/// Slots that are one value. With five attempts remembered by each, a group is some 50 KB at most.
pub const GROUP: u32 = 64;

/// The format of all values. A reader refuses a greater one.
const FORMAT: u32 = 1;
const SERVICE: &str = "service/";
const SLOTS: &str = "slots/";
const NEXT: &str = "next-task";

/// State that cannot be read. Nothing is thrown away; the process must not go on without it.
#[derive(Debug, thiserror::Error)]
pub enum BadState {
    /// The checksum is wrong.
    #[error("the value under {0:?} is damaged; restore the state directory from a copy")]
    Damaged(String),
    /// Whole, and still not what is written here.
    #[error("the value under {key:?} cannot be read; was it written by another program?")]
    Json {
        /// The key.
        key: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Written by a later version.
    #[error(
        "the value under {key:?} has format {format}, and this version reads up to {FORMAT}; run the later version"
    )]
    Format {
        /// The key.
        key: String,
        /// Its format.
        format: u32,
    },
    /// A key that names nothing.
    #[error("the key {0:?} is not one of this framework; give it a state directory of its own")]
    Key(String),
    /// A name that is none.
    #[error("the value under {key:?} names a service wrongly; restore the state directory from a copy")]
    Name {
        /// The key.
        key: String,
        /// What is wrong.
        source: BadName,
    },
    /// An id that is none.
    #[error("the value under {key:?} holds a wrong id; restore the state directory from a copy")]
    Id {
        /// The key.
        key: String,
        /// What is wrong.
        source: BadId,
    },
    /// A definition that an earlier version took and this one does not.
    #[error(
        "service {service} has a definition that this version does not take; deploy a corrected file with the version \
         that took it"
    )]
    Spec {
        /// The service.
        service: String,
        /// What is wrong.
        source: BadSpec,
    },
}

/// A definition as it is written.
#[derive(Serialize, Deserialize)]
struct DiskService {
    format: u32,
    text: String,
    file: String,
    count: u32,
    version: u64,
    template_version: u64,
    #[serde(default)]
    size_version: u64,
    #[serde(default)]
    removing: bool,
}

/// A group of slots as it is written.
#[derive(Serialize, Deserialize)]
struct DiskGroup {
    format: u32,
    #[serde(default)]
    slots: BTreeMap<u32, DiskSlot>,
}

/// A slot as it is written.
#[derive(Serialize, Deserialize)]
struct DiskSlot {
    #[serde(default)]
    instances: Vec<DiskInstance>,
    #[serde(default)]
    attempts: Vec<DiskAttempt>,
    #[serde(default)]
    ends: u32,
    #[serde(default)]
    retry_ms: Option<u64>,
}

/// A task in flight as it is written.
#[derive(Serialize, Deserialize)]
struct DiskInstance {
    task: String,
    agent: String,
    hostname: String,
    #[serde(default)]
    ports: Vec<u16>,
    version: u64,
    #[serde(default)]
    size: Option<DiskSize>,
    #[serde(default)]
    checked: bool,
    launched_ms: u64,
    #[serde(default)]
    running_ms: Option<u64>,
    #[serde(default)]
    kill: Option<DiskKill>,
}

/// What a task has, as it is written.
#[derive(Serialize, Deserialize)]
struct DiskSize {
    /// In the usual text form.
    resources: String,
    /// By name, in thousandths; nothing: without limit.
    #[serde(default)]
    limits: BTreeMap<String, Option<u64>>,
}

/// Why a task is being killed, as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DiskKill {
    Removed,
    ScaledDown,
    Duplicate,
    Updated,
    Draining,
}

/// A task that ended as it is written.
#[derive(Serialize, Deserialize)]
struct DiskAttempt {
    task: String,
    hostname: String,
    state: String,
    #[serde(default)]
    reason: Option<String>,
    message: String,
    started_ms: u64,
    ended_ms: u64,
}

/// The number of the next task as it is written.
#[derive(Serialize, Deserialize)]
struct DiskNext {
    format: u32,
    next: u64,
}

/// The key of a definition.
pub fn service_key(name: &ServiceName) -> String {
    format!("{SERVICE}{name}")
}

/// The group that a slot is written in: its service, and a number from 0.
pub fn group_of(name: &SlotName) -> (ServiceName, u32) {
    (name.service.clone(), name.index / GROUP)
}

/// The key of a group of slots.
pub fn group_key((service, group): &(ServiceName, u32)) -> String {
    format!("{SLOTS}{service}.{group}")
}

/// The key of the counter of tasks.
pub fn next_key() -> String {
    NEXT.to_owned()
}

/// The value of a definition.
pub fn service_value(definition: &Definition) -> Vec<u8> {
    json(&DiskService {
        format: FORMAT,
        text: definition.text.clone(),
        file: definition.file.clone(),
        count: definition.count,
        version: definition.version,
        template_version: definition.template_version,
        size_version: definition.size_version,
        removing: definition.removing,
    })
}

/// The value of a group of slots; `None` when none of them holds anything.
pub fn group_value(seen: &Seen, (service, group): &(ServiceName, u32)) -> Option<Vec<u8>> {
    let first = SlotName { service: service.clone(), index: group.saturating_mul(GROUP) };
    let last = SlotName { service: service.clone(), index: first.index.saturating_add(GROUP - 1) };
    let slots: BTreeMap<u32, DiskSlot> =
        seen.slots.range(first..=last).map(|(name, slot)| (name.index, slot_to_disk(slot))).collect();
    (!slots.is_empty()).then(|| json(&DiskGroup { format: FORMAT, slots }))
}

fn slot_to_disk(slot: &Slot) -> DiskSlot {
    let instance = |instance: &Instance| DiskInstance {
        task: instance.task.as_str().to_owned(),
        agent: instance.agent.as_str().to_owned(),
        hostname: instance.hostname.clone(),
        ports: instance.ports.clone(),
        version: instance.version,
        size: instance.size.as_ref().and_then(size_to_disk),
        checked: instance.checked,
        launched_ms: instance.launched.as_millis(),
        running_ms: instance.running.map(Wall::as_millis),
        kill: instance.kill.map(|kill| match kill.why {
            KillReason::Removed => DiskKill::Removed,
            KillReason::ScaledDown => DiskKill::ScaledDown,
            KillReason::Duplicate => DiskKill::Duplicate,
            KillReason::Updated => DiskKill::Updated,
            KillReason::Draining => DiskKill::Draining,
        }),
    };
    let attempt = |attempt: &Attempt| DiskAttempt {
        task: attempt.task.as_str().to_owned(),
        hostname: attempt.hostname.clone(),
        state: attempt.state.as_str().to_owned(),
        reason: attempt.reason.map(|reason| reason.as_str().to_owned()),
        message: attempt.message.clone(),
        started_ms: attempt.started.as_millis(),
        ended_ms: attempt.ended.as_millis(),
    };
    DiskSlot {
        instances: slot.instances.iter().map(instance).collect(),
        attempts: slot.attempts.iter().map(attempt).collect(),
        ends: slot.ends,
        retry_ms: slot.retry.map(|retry| retry.wall.as_millis()),
    }
}

/// `None` where the text form does not say all: an instance whose size is not known is replaced, and not resized.
fn size_to_disk(size: &Size) -> Option<DiskSize> {
    let resources = size.resources.to_string();
    let limit =
        |(name, limit): (&Name, &Option<Milli>)| (name.as_str().to_owned(), limit.map(Milli::thousandths));
    let whole = resources.parse().is_ok_and(|read: Resources| read == size.resources);
    whole.then(|| DiskSize { resources, limits: size.limits.iter().map(limit).collect() })
}

fn size_from_disk(disk: DiskSize) -> Option<Size> {
    let limit = |(name, limit): (String, Option<u64>)| Some((Name::new(&name).ok()?, limit.map(Milli::new)));
    Some(Size {
        resources: disk.resources.parse().ok()?,
        limits: disk.limits.into_iter().map(limit).collect::<Option<_>>()?,
    })
}

/// The value of the counter of tasks.
pub fn next_value(next: u64) -> Vec<u8> {
    json(&DiskNext { format: FORMAT, next })
}

/// Eight hexadecimal digits of CRC-32, a space, and the JSON.
fn json(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(value).expect("these structs hold nothing that JSON cannot");
    let mut whole = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    whole.extend(json);
    whole
}

/// Reads everything back. Times on the monotonic clock are meaningless until [`Seen::wake`].
pub fn read<'a>(
    roles: Vec<Role>,
    values: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<(Wanted, Seen), BadState> {
    let mut wanted = Wanted::new(roles);
    let mut seen = Seen::default();
    let mut slots: BTreeMap<SlotName, Slot> = BTreeMap::new();
    for (key, value) in values {
        if let Some(name) = key.strip_prefix(SERVICE) {
            let name =
                ServiceName::new(name).map_err(|source| BadState::Name { key: key.to_owned(), source })?;
            wanted.services.insert(name, service(key, value)?);
        } else if let Some(name) = key.strip_prefix(SLOTS) {
            let service = service_of(key, name)?;
            for (index, disk) in parse::<DiskGroup>(key, value)?.slots {
                slots.insert(SlotName { service: service.clone(), index }, slot(key, disk)?);
            }
        } else if key == NEXT {
            seen.next_task = seen.next_task.max(parse::<DiskNext>(key, value)?.next);
        } else {
            return Err(BadState::Key(key.to_owned()));
        }
    }
    for (name, mut slot) in slots {
        let instances = std::mem::take(&mut slot.instances);
        seen.slots.insert(name.clone(), slot);
        for instance in instances {
            seen.restore(name.clone(), instance);
        }
    }
    Ok((wanted, seen))
}

fn parse<'a, T: Deserialize<'a>>(key: &str, value: &'a [u8]) -> Result<T, BadState> {
    /// Only the format: the rest of a later one may not be readable.
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let damaged = || BadState::Damaged(key.to_owned());
    let (sum, json) = value.split_at_checked(9).ok_or_else(damaged)?;
    let written = std::str::from_utf8(sum).ok().and_then(|sum| u32::from_str_radix(sum.trim_end(), 16).ok());
    if written != Some(crc32fast::hash(json)) {
        return Err(damaged());
    }
    let wrong = |source| BadState::Json { key: key.to_owned(), source };
    let head: Head = serde_json::from_slice(json).map_err(wrong)?;
    if head.format > FORMAT {
        return Err(BadState::Format { key: key.to_owned(), format: head.format });
    }
    serde_json::from_slice(json).map_err(wrong)
}

fn service(key: &str, value: &[u8]) -> Result<Definition, BadState> {
    let disk: DiskService = parse(key, value)?;
    let spec = spec::parse(&disk.text, &disk.file)
        .map_err(|source| BadState::Spec { service: key.trim_start_matches(SERVICE).to_owned(), source })?;
    Ok(Definition {
        text: disk.text,
        file: disk.file,
        spec,
        count: disk.count,
        version: disk.version,
        template_version: disk.template_version,
        // An earlier version knew none.
        size_version: disk.size_version.max(disk.template_version),
        removing: disk.removing,
    })
}

fn service_of(key: &str, name: &str) -> Result<ServiceName, BadState> {
    let (service, _) = name.rsplit_once('.').ok_or_else(|| BadState::Key(key.to_owned()))?;
    ServiceName::new(service).map_err(|source| BadState::Name { key: key.to_owned(), source })
}

fn slot(key: &str, disk: DiskSlot) -> Result<Slot, BadState> {
    let id = |source| BadState::Id { key: key.to_owned(), source };
    let mut slot = Slot {
        ends: disk.ends,
        retry: disk.retry_ms.map(|wall| Retry { at: Mono::ZERO, wall: Wall(wall) }),
        ..Slot::default()
    };
    for instance in disk.instances {
        let why = instance.kill.map(|kill| match kill {
            DiskKill::Removed => KillReason::Removed,
            DiskKill::ScaledDown => KillReason::ScaledDown,
            DiskKill::Duplicate => KillReason::Duplicate,
            DiskKill::Updated => KillReason::Updated,
            DiskKill::Draining => KillReason::Draining,
        });
        slot.instances.push(Instance {
            task: TaskId::new(instance.task).map_err(id)?,
            agent: AgentId::new(instance.agent).map_err(id)?,
            hostname: instance.hostname,
            ports: instance.ports,
            version: instance.version,
            size: instance.size.and_then(size_from_disk),
            resize: None,
            checked: instance.checked,
            // What it is now, the master tells.
            state: TaskState::Staging,
            healthy: None,
            message: None,
            launched: Wall(instance.launched_ms),
            running: instance.running_ms.map(Wall),
            since: Mono::ZERO,
            since_wall: Wall(instance.running_ms.unwrap_or(instance.launched_ms)),
            heard: Mono::ZERO,
            told: false,
            kill: why.map(|why| KillSent { why, sent: false }),
        });
    }
    for attempt in disk.attempts {
        slot.attempts.push_back(Attempt {
            task: TaskId::new(attempt.task).map_err(id)?,
            hostname: attempt.hostname,
            // A word of a later version is told as it is no more; the message still is.
            state: attempt.state.parse().unwrap_or(TaskState::Unknown),
            reason: attempt.reason.and_then(|reason| reason.parse::<Reason>().ok()),
            message: attempt.message,
            started: Wall(attempt.started_ms),
            ended: Wall(attempt.ended_ms),
        });
    }
    Ok(slot)
}

#[cfg(test)]
mod tests;
