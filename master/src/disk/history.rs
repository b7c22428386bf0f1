//! An entry of the history as bytes. Its number is its key.

use std::sync::Arc;

use bourse_master_core::history::{Entry, Kind};
use bourse_proto::disk as wire;
use bourse_types::{AgentId, FrameworkId, Principal, Role, TaskId, Wall};
use prost::Message;

use super::{BadRecord, nouns::text};
use crate::history::Stamped;

/// An encoded `HistoryRecord`.
pub fn encode(stamped: &Stamped) -> Vec<u8> {
    let Stamped { sequence: _, at, entry } = stamped;
    let record = wire::HistoryRecord {
        at_ms: at.as_millis(),
        kind: entry.kind.as_str().to_owned(),
        summary: entry.summary.clone(),
        agent_id: text(&entry.agent),
        framework_id: text(&entry.framework),
        task_id: text(&entry.task),
        role: text(&entry.role),
        reason: entry.reason.clone().unwrap_or_default(),
        principal: text(&entry.principal),
    };
    record.encode_to_vec()
}

/// The entry with this number.
pub fn decode(sequence: u64, bytes: &[u8]) -> Result<Stamped, BadRecord> {
    let record = wire::HistoryRecord::decode(bytes)?;
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let entry = Entry {
        kind: kind(&record.kind).ok_or(BadRecord::Missing("a kind that this build knows"))?,
        summary: record.summary,
        agent: some(record.agent_id).map(AgentId::new).transpose().map_err(BadRecord::bad("agent_id"))?,
        framework: some(record.framework_id)
            .map(FrameworkId::new)
            .transpose()
            .map_err(BadRecord::bad("framework_id"))?,
        task: some(record.task_id).map(TaskId::new).transpose().map_err(BadRecord::bad("task_id"))?,
        role: some(record.role).map(Role::new).transpose().map_err(BadRecord::bad("role"))?,
        reason: some(record.reason),
        principal: some(record.principal)
            .map(Principal::new)
            .transpose()
            .map_err(BadRecord::bad("principal"))?,
    };
    Ok(Stamped { sequence, at: Wall(record.at_ms), entry: Arc::new(entry) })
}

/// The kind with this word.
pub fn kind(word: &str) -> Option<Kind> {
    [Kind::Task, Kind::Agent, Kind::Framework, Kind::Offer, Kind::Operator]
        .into_iter()
        .find(|kind| kind.as_str() == word)
}
