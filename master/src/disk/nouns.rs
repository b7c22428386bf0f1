//! The nouns that wire and disk share, through `bourse-wire`: the disk keeps them as wire messages, in the form with
//! refined reservations, which says everything.

use std::fmt::Display;
use std::time::Duration;

use bourse_proto::{disk, v1};
use bourse_types::{Address, AgentInfo, FrameworkInfo, KillPolicy, Labels, Resources, Size, TaskStatus};
use bourse_wire as wire;
use bourse_wire::Form;

use super::BadRecord;

pub(super) fn write_agent(info: &AgentInfo) -> disk::AgentDescription {
    disk::AgentDescription {
        info: Some(wire::agent::write(None, info)),
        host: info.address.host.clone(),
        port: u32::from(info.address.port),
        version: info.version.clone(),
    }
}

pub(super) fn read_agent(record: disk::AgentDescription) -> Result<AgentInfo, BadRecord> {
    let info = record.info.ok_or(BadRecord::Missing("the agent's info"))?;
    let port = u16::try_from(record.port).map_err(BadRecord::bad("the agent's port"))?;
    let address = Address { host: record.host, port };
    wire::agent::read(&info, address, &record.version).map_err(BadRecord::bad("the agent's info"))
}

pub(super) fn write_framework(info: &FrameworkInfo) -> v1::FrameworkInfo {
    wire::framework::write(info)
}

pub(super) fn read_framework(record: v1::FrameworkInfo) -> Result<FrameworkInfo, BadRecord> {
    wire::framework::read(&record).map_err(BadRecord::bad("the framework's info"))
}

pub(super) fn write_status(status: &TaskStatus) -> v1::TaskStatus {
    wire::status::write(status, Form::Refined)
}

pub(super) fn read_status(record: v1::TaskStatus) -> Result<TaskStatus, BadRecord> {
    wire::status::read(&record).map_err(BadRecord::bad("a status"))
}

pub(super) fn write_resources(resources: &Resources) -> Vec<v1::Resource> {
    wire::resources::write(resources, Form::Refined)
}

pub(super) fn read_resources(records: Vec<v1::Resource>) -> Result<Resources, BadRecord> {
    wire::resources::read(&records).map_err(BadRecord::bad("resources"))
}

pub(super) fn write_size(size: &Size) -> v1::TaskSize {
    wire::size::write(size, Form::Refined)
}

pub(super) fn read_size(record: v1::TaskSize) -> Result<Size, BadRecord> {
    wire::size::read(&record).map_err(BadRecord::bad("a size"))
}

/// Always a message, unlike on the wire, where a policy that says nothing is left out: a kill with a policy that says
/// nothing is not a kill without a policy.
pub(super) fn write_kill_policy(policy: &KillPolicy) -> v1::KillPolicy {
    wire::health::write_kill_policy(*policy).unwrap_or_default()
}

pub(super) fn read_kill_policy(record: v1::KillPolicy) -> Result<KillPolicy, BadRecord> {
    wire::health::read_kill_policy(Some(&record)).map_err(BadRecord::bad("a kill policy"))
}

pub(super) fn write_labels(labels: &Labels) -> v1::Labels {
    wire::labels::write(labels).unwrap_or_default()
}

pub(super) fn read_labels(record: v1::Labels) -> Result<Labels, BadRecord> {
    wire::labels::read(Some(&record)).map_err(BadRecord::bad("labels"))
}

/// An id as text; empty when there is none, which no id can be.
pub(super) fn text<T: Display>(id: &Option<T>) -> String {
    id.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// 584 years and more are as good as each other.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
