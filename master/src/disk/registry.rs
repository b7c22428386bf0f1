//! The registry's records: one for each agent, framework and weight, by key.
//!
//! A change is stored as the records that it leaves behind, so the store never grows with the number of changes and
//! what a change means is said once, by [`Snapshot::apply`].

use std::time::Duration;

use bourse_master_core::registry::{
    Absence, Change, KnownAgent, KnownDrain, KnownFramework, REMOVED_FRAMEWORKS_MAX, Snapshot,
};
use bourse_proto::disk as wire;
use bourse_types::{AgentId, Epoch, FrameworkId, MasterId, Milli, Role, Wall};
use prost::Message;

use super::event::{optional, principal};
use super::{BadRecord, nouns};

/// A record to write, or, without a value, to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Text.
    pub key: String,
    /// An encoded message of `registry.proto`.
    pub value: Option<Vec<u8>>,
}

/// Applies a change to what is in the store, and tells the records that the store must have for it.
pub fn apply(change: &Change, stored: &mut Snapshot) -> Vec<Record> {
    // Remembering one more torn down framework may forget the oldest one.
    let oldest = match change {
        Change::FrameworkRemoved { .. } if stored.removed.len() >= REMOVED_FRAMEWORKS_MAX => {
            stored.removed.iter().min_by_key(|(id, at)| (**at, *id)).map(|(id, _)| id.clone())
        }
        _ => None,
    };
    stored.apply(change);
    match change {
        Change::EpochStarted { .. } => vec![epoch(stored)],
        Change::AgentAdmitted { id, .. }
        | Change::AgentUpdated { id, .. }
        | Change::AgentUnreachable { id, .. }
        | Change::AgentReachable { id }
        | Change::DrainStarted { agent: id, .. }
        | Change::Drained { agent: id }
        | Change::DrainEnded { agent: id } => vec![agent(id, stored)],
        Change::AgentGone { id, .. } | Change::AgentRemoved { id } => {
            vec![agent(id, stored), gone(id, stored)]
        }
        Change::FrameworkSubscribed { id, .. }
        | Change::FrameworkDisconnected { id, .. }
        | Change::FrameworkConnected { id } => vec![framework(id, stored)],
        Change::FrameworkRemoved { id, .. } => {
            let mut records = vec![framework(id, stored), removed(id, stored)];
            records.extend(oldest.map(|oldest| removed(&oldest, stored)));
            records
        }
        Change::WeightSet { role, .. } => vec![weight(role, stored)],
    }
}

/// Every record of a snapshot.
pub fn all(snapshot: &Snapshot) -> Vec<Record> {
    let mut records = vec![epoch(snapshot)];
    records.extend(snapshot.agents.keys().map(|id| agent(id, snapshot)));
    records.extend(snapshot.gone.keys().map(|id| gone(id, snapshot)));
    records.extend(snapshot.frameworks.keys().map(|id| framework(id, snapshot)));
    records.extend(snapshot.removed.keys().map(|id| removed(id, snapshot)));
    records.extend(snapshot.weights.keys().map(|role| weight(role, snapshot)));
    records
}

/// Reads one record back into a snapshot. Their order does not matter.
pub fn read(key: &[u8], value: &[u8], into: &mut Snapshot) -> Result<(), BadRecord> {
    let key = std::str::from_utf8(key).map_err(|_| BadRecord::UnknownKey)?;
    let (kind, name) = key.split_once('/').unwrap_or((key, ""));
    match kind {
        "epoch" => {
            let record = wire::EpochRecord::decode(value)?;
            into.epoch = Epoch(record.epoch);
            let master = Some(record.master_id).filter(|id| !id.is_empty()).map(MasterId::new).transpose();
            into.master = master.map_err(BadRecord::bad("master_id"))?;
        }
        "agent" => {
            let record = wire::AgentRecord::decode(value)?;
            let drain = record.drain.map(|drain| KnownDrain {
                left: Duration::from_nanos(drain.left_nanos),
                at: Wall(drain.at_ms),
                mark_gone: drain.mark_gone,
                drained: drain.drained,
            });
            let known = KnownAgent {
                info: nouns::read_agent(record.info.ok_or(BadRecord::Missing("info"))?)?,
                principal: optional(record.principal, principal)?,
                admitted: Wall(record.admitted_ms),
                unreachable: record.unreachable_ms.map(Wall),
                drain,
            };
            into.agents.insert(agent_id(name)?, known);
        }
        "gone" => {
            let record = wire::GoneRecord::decode(value)?;
            into.gone.insert(agent_id(name)?, Wall(record.at_ms));
        }
        "framework" => {
            let record = wire::FrameworkRecord::decode(value)?;
            let absence = record.absence.map(|absence| Absence {
                left: Duration::from_nanos(absence.left_nanos),
                at: Wall(absence.at_ms),
            });
            let known = KnownFramework {
                info: nouns::read_framework(record.info.ok_or(BadRecord::Missing("info"))?)?,
                registered: Wall(record.registered_ms),
                absence,
            };
            into.frameworks.insert(framework_id(name)?, known);
        }
        "removed" => {
            let record = wire::RemovedRecord::decode(value)?;
            into.removed.insert(framework_id(name)?, Wall(record.at_ms));
        }
        "weight" => {
            let record = wire::WeightRecord::decode(value)?;
            let role = Role::new(name).map_err(BadRecord::bad("the role in the key"))?;
            into.weights.insert(role, Milli::new(record.thousandths));
        }
        _ => return Err(BadRecord::UnknownKey),
    }
    Ok(())
}

fn epoch(of: &Snapshot) -> Record {
    let master_id = of.master.as_ref().map(ToString::to_string).unwrap_or_default();
    put("epoch".to_owned(), Some(wire::EpochRecord { epoch: of.epoch.0, master_id }))
}

fn agent(id: &AgentId, of: &Snapshot) -> Record {
    let record = of.agents.get(id).map(|known| wire::AgentRecord {
        info: Some(nouns::write_agent(&known.info)),
        admitted_ms: known.admitted.as_millis(),
        unreachable_ms: known.unreachable.map(Wall::as_millis),
        drain: known.drain.map(|drain| wire::DrainRecord {
            left_nanos: nouns::nanos(drain.left),
            at_ms: drain.at.as_millis(),
            mark_gone: drain.mark_gone,
            drained: drain.drained,
        }),
        principal: nouns::text(&known.principal),
    });
    put(format!("agent/{id}"), record)
}

fn gone(id: &AgentId, of: &Snapshot) -> Record {
    put(format!("gone/{id}"), of.gone.get(id).map(|at| wire::GoneRecord { at_ms: at.as_millis() }))
}

fn framework(id: &FrameworkId, of: &Snapshot) -> Record {
    let record = of.frameworks.get(id).map(|known| wire::FrameworkRecord {
        info: Some(nouns::write_framework(&known.info)),
        registered_ms: known.registered.as_millis(),
        absence: known.absence.map(|absence| wire::AbsenceRecord {
            left_nanos: nouns::nanos(absence.left),
            at_ms: absence.at.as_millis(),
        }),
    });
    put(format!("framework/{id}"), record)
}

fn removed(id: &FrameworkId, of: &Snapshot) -> Record {
    put(format!("removed/{id}"), of.removed.get(id).map(|at| wire::RemovedRecord { at_ms: at.as_millis() }))
}

fn weight(role: &Role, of: &Snapshot) -> Record {
    let record = of.weights.get(role).map(|weight| wire::WeightRecord { thousandths: weight.thousandths() });
    put(format!("weight/{role}"), record)
}

fn put(key: String, record: Option<impl Message>) -> Record {
    Record { key, value: record.map(|record| record.encode_to_vec()) }
}

fn agent_id(text: &str) -> Result<AgentId, BadRecord> {
    AgentId::new(text).map_err(BadRecord::bad("the agent's id in the key"))
}

fn framework_id(text: &str) -> Result<FrameworkId, BadRecord> {
    FrameworkId::new(text).map_err(BadRecord::bad("the framework's id in the key"))
}
