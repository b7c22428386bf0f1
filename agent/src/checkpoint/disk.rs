//! Records of the checkpoint as messages of `bourse.disk.v1`, both ways, in one place.

use std::time::Duration;

use bourse_agent_core::{Description, Health, Held, Kill, KillCause, Record, TaskKey};
use bourse_proto::disk as form;
use bourse_proto::disk::checkpoint_kill_begun::Cause;
use bourse_proto::disk::checkpoint_record::Change;
use bourse_proto::v1;
use bourse_types::{
    AgentId, BadId, BadRole, ContainerId, Epoch, FrameworkId, Milli, Reason, Size, TaskId, Wall,
};
use bourse_wire::attributes::BadAttribute;
use bourse_wire::framework::BadFramework;
use bourse_wire::resources::BadResource;
use bourse_wire::status::BadStatus;
use bourse_wire::task::BadTask;
use bourse_wire::{At, Form, attributes, framework, resources, size, status};
use prost::Message;

use crate::wire;

/// A record whose checksum is right and whose content is not.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    #[error("a record is not a message: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("a record of a kind that this release does not know")]
    Unknown,
    #[error("a record has no {0}")]
    Missing(&'static str),
    #[error(transparent)]
    Id(#[from] BadId),
    #[error(transparent)]
    Role(#[from] BadRole),
    #[error(transparent)]
    Status(#[from] At<BadStatus>),
    #[error(transparent)]
    Uuid(#[from] BadStatus),
    #[error(transparent)]
    Framework(#[from] At<BadFramework>),
    #[error(transparent)]
    Resources(#[from] At<BadResource>),
    #[error(transparent)]
    Attributes(#[from] At<BadAttribute>),
    #[error(transparent)]
    Task(#[from] wire::BadMessage),
    #[error(transparent)]
    Size(#[from] At<BadTask>),
}

/// One payload for all of them, so that a torn one leaves none.
pub fn write<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<u8> {
    let mut forms: Vec<form::CheckpointRecord> = records.into_iter().map(write_one).collect();
    match forms.len() {
        1 => forms.remove(0),
        _ => form::CheckpointRecord { change: Some(Change::Batch(form::CheckpointBatch { records: forms })) },
    }
    .encode_to_vec()
}

/// What one payload holds, in order.
pub fn read(bytes: &[u8]) -> Result<Vec<Record>, BadRecord> {
    match form::CheckpointRecord::decode(bytes)?.change.ok_or(BadRecord::Unknown)? {
        Change::Batch(batch) => {
            let changes = batch.records.into_iter().map(|record| record.change.ok_or(BadRecord::Unknown));
            changes.map(|change| read_one(change?)).collect()
        }
        change => Ok(vec![read_one(change)?]),
    }
}

fn write_one(record: &Record) -> form::CheckpointRecord {
    let change = match record {
        Record::Admitted { agent } => {
            Change::Admitted(form::CheckpointAdmitted { agent_id: agent.to_string() })
        }
        Record::Described { description } => Change::Described(form::CheckpointDescribed {
            resources: resources::write(&description.total, Form::Refined),
            attributes: attributes::write(&description.attributes),
        }),
        Record::EpochSeen { epoch } => Change::EpochSeen(form::CheckpointEpochSeen { epoch: epoch.0 }),
        Record::Booted { boot } => Change::Booted(form::CheckpointBooted { boot_id: boot.clone() }),
        Record::FrameworkKnown { framework, info } => {
            Change::FrameworkKnown(form::CheckpointFrameworkKnown {
                framework_id: framework.to_string(),
                info: Some(wire::write_framework(framework, info)),
            })
        }
        Record::FrameworkForgotten { framework } => {
            Change::FrameworkForgotten(form::CheckpointFrameworkForgotten {
                framework_id: framework.to_string(),
            })
        }
        Record::TaskAccepted { assignment, container } => {
            let mut held = resources::write(&assignment.resources, Form::Refined);
            resources::allocate(&mut held, &assignment.role);
            Change::TaskAccepted(form::CheckpointTaskAccepted {
                task: write_key(&assignment.key),
                container_id: container.to_string(),
                task_info: assignment.message.clone(),
                role: assignment.role.to_string(),
                resources: held,
            })
        }
        Record::CoresTaken { task, cores } => Change::CoresTaken(form::CheckpointCoresTaken {
            task: write_key(task),
            cores: cores.iter().copied().collect(),
        }),
        Record::CoresApart { apart } => Change::CoresApart(form::CheckpointCoresApart { apart: *apart }),
        Record::TaskStarted { task, pid, at } => Change::TaskStarted(form::CheckpointTaskStarted {
            task: write_key(task),
            pid: *pid,
            at_ms: at.as_millis(),
        }),
        Record::UpdateMade { task, status: made } => Change::UpdateMade(form::CheckpointUpdateMade {
            task: write_key(task),
            status: Some(status::write(made, Form::Refined)),
        }),
        Record::UpdateAcknowledged { task, uuid } => {
            let uuid = uuid.to_vec().into();
            Change::UpdateAcknowledged(form::CheckpointUpdateAcknowledged { task: write_key(task), uuid })
        }
        Record::KillBegun { task, kill } => Change::KillBegun(write_kill(task, kill)),
        Record::HealthSeen { task, health } => Change::HealthSeen(form::CheckpointHealthSeen {
            task: write_key(task),
            failures: health.failures,
            passed: health.passed,
            healthy: health.healthy,
        }),
        Record::ResizeBegun { task, size } => {
            Change::ResizeBegun(form::CheckpointResizeBegun { task: write_key(task), size: write_size(size) })
        }
        Record::Resized { task, size } => {
            Change::Resized(form::CheckpointResized { task: write_key(task), size: write_size(size) })
        }
        Record::ResizeRefused { task } => {
            Change::ResizeRefused(form::CheckpointResizeRefused { task: write_key(task) })
        }
        Record::TaskSilenced { task } => {
            Change::TaskSilenced(form::CheckpointTaskSilenced { task: write_key(task) })
        }
        Record::TaskForgotten { task } => {
            Change::TaskForgotten(form::CheckpointTaskForgotten { task: write_key(task) })
        }
    };
    form::CheckpointRecord { change: Some(change) }
}

fn read_one(change: Change) -> Result<Record, BadRecord> {
    Ok(match change {
        Change::Batch(_) => return Err(BadRecord::Unknown),
        Change::Admitted(admitted) => Record::Admitted { agent: AgentId::new(&admitted.agent_id)? },
        Change::Described(described) => {
            let total = resources::read(&described.resources)?;
            let attributes = attributes::read(&described.attributes)?;
            Record::Described { description: Box::new(Description { total, attributes }) }
        }
        Change::EpochSeen(seen) => Record::EpochSeen { epoch: Epoch(seen.epoch) },
        Change::Booted(booted) => Record::Booted { boot: booted.boot_id },
        Change::FrameworkKnown(known) => {
            let framework = FrameworkId::new(&known.framework_id)?;
            let mut info = framework::read(&known.info.ok_or(BadRecord::Missing("info"))?)?;
            // It is written with this one.
            info.id = Some(framework.clone());
            Record::FrameworkKnown { framework, info: Box::new(info) }
        }
        Change::FrameworkForgotten(forgotten) => {
            Record::FrameworkForgotten { framework: FrameworkId::new(&forgotten.framework_id)? }
        }
        Change::TaskAccepted(accepted) => {
            let key = read_key(accepted.task)?;
            let role = accepted.role.parse()?;
            let assignment = wire::assignment(key.framework, role, &accepted.resources, accepted.task_info)?;
            let container = ContainerId::new(&accepted.container_id)?;
            Record::TaskAccepted { assignment: Box::new(assignment), container }
        }
        Change::CoresTaken(taken) => {
            Record::CoresTaken { task: read_key(taken.task)?, cores: taken.cores.into_iter().collect() }
        }
        Change::CoresApart(apart) => Record::CoresApart { apart: apart.apart },
        Change::TaskStarted(started) => Record::TaskStarted {
            task: read_key(started.task)?,
            pid: started.pid,
            at: Wall::from_millis(started.at_ms),
        },
        Change::UpdateMade(made) => Record::UpdateMade {
            task: read_key(made.task)?,
            status: Box::new(status::read(&made.status.ok_or(BadRecord::Missing("status"))?)?),
        },
        Change::UpdateAcknowledged(acknowledged) => Record::UpdateAcknowledged {
            task: read_key(acknowledged.task)?,
            uuid: status::read_uuid(&acknowledged.uuid)?,
        },
        Change::KillBegun(begun) => read_kill(begun)?,
        Change::HealthSeen(seen) => Record::HealthSeen {
            task: read_key(seen.task)?,
            health: Health { failures: seen.failures, passed: seen.passed, healthy: seen.healthy },
        },
        Change::ResizeBegun(begun) => {
            Record::ResizeBegun { task: read_key(begun.task)?, size: read_size(begun.size)? }
        }
        Change::Resized(resized) => {
            Record::Resized { task: read_key(resized.task)?, size: read_size(resized.size)? }
        }
        Change::ResizeRefused(refused) => Record::ResizeRefused { task: read_key(refused.task)? },
        Change::TaskSilenced(silenced) => Record::TaskSilenced { task: read_key(silenced.task)? },
        Change::TaskForgotten(forgotten) => Record::TaskForgotten { task: read_key(forgotten.task)? },
    })
}

fn write_key(key: &TaskKey) -> Option<form::CheckpointTask> {
    Some(form::CheckpointTask { framework_id: key.framework.to_string(), task_id: key.task.to_string() })
}

fn read_key(form: Option<form::CheckpointTask>) -> Result<TaskKey, BadRecord> {
    let form = form.ok_or(BadRecord::Missing("task"))?;
    Ok(TaskKey { framework: FrameworkId::new(&form.framework_id)?, task: TaskId::new(&form.task_id)? })
}

fn write_size(size: &Size) -> Option<v1::TaskSize> {
    Some(size::write(size, Form::Refined))
}

fn read_size(form: Option<v1::TaskSize>) -> Result<Box<Size>, BadRecord> {
    Ok(Box::new(size::read(&form.ok_or(BadRecord::Missing("size"))?)?))
}

fn write_kill(task: &TaskKey, kill: &Kill) -> form::CheckpointKillBegun {
    let nanoseconds = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let mut begun = form::CheckpointKillBegun {
        task: write_key(task),
        grace_ns: nanoseconds(kill.grace),
        left_ns: nanoseconds(kill.left),
        at_ms: kill.at.as_millis(),
        ..Default::default()
    };
    let cause = match &kill.cause {
        KillCause::Asked(reason) => {
            begun.reason = reason.map(Reason::as_str).unwrap_or_default().to_owned();
            Cause::Asked
        }
        KillCause::Unhealthy => Cause::Unhealthy,
        KillCause::TookTooLong => Cause::TookTooLong,
        KillCause::OverDisk { held, limit } => {
            begun.disk_used_bytes = held.bytes;
            begun.disk_used_inodes = held.inodes;
            begun.disk_bytes_per_inode = held.bytes_per_inode;
            begun.disk_limit = limit.thousandths();
            Cause::OverDisk
        }
        KillCause::CoresLost => Cause::CoresLost,
        KillCause::AgentRestarted => Cause::AgentRestarted,
        KillCause::AgentStops => Cause::AgentStops,
        KillCause::FrameworkGone => Cause::FrameworkGone,
    };
    begun.cause = cause as i32;
    begun
}

fn read_kill(form: form::CheckpointKillBegun) -> Result<Record, BadRecord> {
    let cause = match form.cause() {
        Cause::Unspecified => return Err(BadRecord::Unknown),
        // A reason of another release is as good as none.
        Cause::Asked => KillCause::Asked(form.reason.parse().ok()),
        Cause::Unhealthy => KillCause::Unhealthy,
        Cause::TookTooLong => KillCause::TookTooLong,
        Cause::OverDisk => {
            let held = Held {
                bytes: form.disk_used_bytes,
                inodes: form.disk_used_inodes,
                bytes_per_inode: form.disk_bytes_per_inode,
            };
            KillCause::OverDisk { held, limit: Milli::new(form.disk_limit) }
        }
        Cause::CoresLost => KillCause::CoresLost,
        Cause::AgentRestarted => KillCause::AgentRestarted,
        Cause::AgentStops => KillCause::AgentStops,
        Cause::FrameworkGone => KillCause::FrameworkGone,
    };
    let kill = Kill {
        cause,
        grace: Duration::from_nanos(form.grace_ns),
        left: Duration::from_nanos(form.left_ns),
        at: Wall::from_millis(form.at_ms),
    };
    Ok(Record::KillBegun { task: read_key(form.task)?, kill })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bourse_hostile::{damaged, judged};
    use bourse_types::{
        Command, Controls, FrameworkInfo, KillPolicy, Name, Pids, Role, Source, TaskSpec, TaskState,
        TaskStatus,
    };
    use proptest::prelude::*;
    use proptest::sample::select;

    fn key() -> TaskKey {
        TaskKey { framework: FrameworkId::new("F").expect("valid"), task: TaskId::new("t1").expect("valid") }
    }

    fn size() -> Box<Size> {
        let limits = [(Name::cpus(), None), (Name::mem(), Some(Milli::whole(128)))].into();
        Box::new(Size { resources: "cpus:2; mem:64".parse().expect("valid"), limits })
    }

    fn accepted() -> Record {
        let controls = Controls {
            swap: Milli::whole(16),
            pids: Some(Pids::new(20).expect("valid")),
            ..Controls::default()
        };
        let plain = TaskSpec::plain(
            key().task,
            key().framework,
            AgentId::new("S1").expect("valid"),
            "cpus:0.5; mem:64; ports:[31000-31001]".parse().expect("valid"),
            Command::shell("echo $HOME"),
        );
        let spec = TaskSpec {
            limits: [(Name::cpus(), None)].into(),
            controls,
            kill_policy: KillPolicy { grace: Some(Duration::from_secs(3)) },
            max_completion_time: Some(Duration::from_millis(1500)),
            ..plain
        };
        let message = bourse_wire::task::write(&spec, Form::Refined);
        let assignment = wire::assignment(
            key().framework,
            Role::any(),
            &message.resources,
            message.encode_to_vec().into(),
        );
        let container = ContainerId::new("c1").expect("valid");
        Record::TaskAccepted { assignment: Box::new(assignment.expect("a plain task")), container }
    }

    fn records() -> Vec<Record> {
        let framework = FrameworkId::new("F").expect("valid");
        let info = FrameworkInfo {
            id: Some(framework.clone()),
            user: "nobody".into(),
            roles: vec![Role::any()],
            ..FrameworkInfo::new("f")
        };
        let mut status =
            TaskStatus::new(key().task, TaskState::Running, Source::Executor, Wall::from_millis(1_500));
        status.uuid = Some([7; 16]);
        let kill = |cause| Record::KillBegun {
            task: key(),
            kill: Kill {
                cause,
                grace: Duration::from_secs(60),
                left: Duration::from_nanos(1),
                at: Wall::from_millis(5),
            },
        };
        vec![
            Record::Admitted { agent: AgentId::new("S1").expect("valid") },
            Record::Described {
                description: Box::new(Description {
                    total: "cpus:4; mem:1024; ports:[31000-32000]".parse().expect("valid"),
                    attributes: "rack:a; cores:4; open:[80-90]".parse().expect("valid"),
                }),
            },
            Record::EpochSeen { epoch: Epoch(u64::MAX) },
            Record::Booted { boot: "b".into() },
            Record::FrameworkKnown { framework: framework.clone(), info: Box::new(info) },
            Record::FrameworkForgotten { framework },
            accepted(),
            Record::TaskStarted { task: key(), pid: 7, at: Wall::from_millis(9) },
            Record::UpdateMade { task: key(), status: Box::new(status) },
            Record::UpdateAcknowledged { task: key(), uuid: [7; 16] },
            kill(KillCause::Asked(None)),
            kill(KillCause::Asked(Some(Reason::AgentDraining))),
            kill(KillCause::Unhealthy),
            kill(KillCause::TookTooLong),
            kill(KillCause::OverDisk {
                held: Held { bytes: u64::MAX, inodes: 7, bytes_per_inode: 4096 },
                limit: Milli::new(1),
            }),
            kill(KillCause::CoresLost),
            kill(KillCause::AgentRestarted),
            kill(KillCause::AgentStops),
            kill(KillCause::FrameworkGone),
            Record::HealthSeen {
                task: key(),
                health: Health { failures: 2, passed: true, healthy: Some(false) },
            },
            Record::HealthSeen { task: key(), health: Health::default() },
            Record::CoresTaken { task: key(), cores: [0, 3].into() },
            Record::CoresTaken { task: key(), cores: [].into() },
            Record::CoresApart { apart: true },
            Record::CoresApart { apart: false },
            Record::ResizeBegun { task: key(), size: size() },
            Record::Resized { task: key(), size: size() },
            Record::ResizeRefused { task: key() },
            Record::TaskSilenced { task: key() },
            Record::TaskForgotten { task: key() },
        ]
    }

    #[test]
    fn every_kind_of_record_is_read_as_it_was_written() {
        let records = records();
        for record in &records {
            assert_eq!(read(&write([record])).expect("its own bytes"), std::slice::from_ref(record));
        }
        assert_eq!(read(&write(&records)).expect("its own bytes"), records);
    }

    fn payloads() -> Vec<Vec<u8>> {
        let records = records();
        let each = records.iter().map(|record| write([record]));
        each.chain([write(&records[..4])]).collect()
    }

    proptest! {
        #[test]
        fn damaged_records_are_refused_in_words_or_come_back(bytes in damaged(select(payloads()))) {
            if let Some(records) = judged(|| read(&bytes)) {
                prop_assert_eq!(read(&write(&records)).expect("they were taken as they were"), records);
            }
        }
    }

    #[test]
    fn a_record_of_a_later_release_is_refused_and_not_skipped() {
        assert!(matches!(read(&[]), Err(BadRecord::Unknown)));
        assert!(matches!(read(&[0xff]), Err(BadRecord::Decode(_))));
    }
}
