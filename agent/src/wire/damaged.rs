//! What a master says and somebody damages on its way: it is read or refused in words.

use bourse_agent_core::Work;
use bourse_hostile::{damaged, judged, told};
use bourse_proto::agent_link::to_agent::Message as Said;
use bourse_types::{Resources, Size};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn amounts() -> Resources {
    "cpus:1; mem:64; ports:[31000-31001]".parse().expect("valid")
}

fn task() -> v1::TaskInfo {
    v1::TaskInfo {
        name: Some("t".into()),
        task_id: Some(v1::TaskId { value: Some("t1".into()) }),
        agent_id: Some(v1::AgentId { value: Some("S1".into()) }),
        resources: resources::write(&amounts(), Form::Refined),
        command: Some(v1::CommandInfo { value: Some("true".into()), ..Default::default() }),
        ..Default::default()
    }
}

fn run(task_info: Bytes) -> Said {
    let id = FrameworkId::new("F").expect("valid");
    Said::RunTask(link::RunTask {
        framework: Some(write_framework(&id, &FrameworkInfo::new("batch"))),
        task_info,
        role: "*".into(),
        resources: resources::write(&amounts(), Form::Refined),
    })
}

/// One of each kind.
fn messages() -> Vec<Vec<u8>> {
    let (framework_id, task_id) = ("F".to_owned(), "t1".to_owned());
    let known = link::KnownTask { framework_id: framework_id.clone(), task_id: task_id.clone() };
    let said = [
        Said::Registered(link::Registered {
            agent_id: "S1".into(),
            master_id: "M".into(),
            heartbeat_interval: 15.0,
            known_tasks: vec![known],
            reconnect_seconds: Some(2.0),
        }),
        run(task().encode_to_vec().into()),
        Said::KillTask(link::KillTask {
            framework_id: framework_id.clone(),
            task_id: task_id.clone(),
            kill_policy: Some(v1::KillPolicy {
                grace_period: Some(v1::DurationInfo { nanoseconds: Some(5) }),
            }),
            reason: "REASON_TASK_KILLED_DURING_LAUNCH".into(),
        }),
        Said::ResizeTask(link::ResizeTask {
            framework_id: framework_id.clone(),
            task_id: task_id.clone(),
            size: Some(size::write(&Size::of(amounts()), Form::Refined)),
        }),
        Said::AcknowledgeUpdate(link::AcknowledgeUpdate {
            framework_id: framework_id.clone(),
            task_id,
            uuid: vec![7; 16].into(),
        }),
        Said::ShutdownFramework(link::ShutdownFramework { framework_id }),
        Said::HeartbeatAck(link::HeartbeatAck {}),
    ];
    said.map(|message| link::ToAgent { epoch: 3, message: Some(message) }.encode_to_vec()).into()
}

/// What cannot be run is refused in words, too.
fn hears(message: link::ToAgent) {
    if let Some((_, FromMaster::Run { assignment, .. })) = judged(|| read(message))
        && let Work::Refuse(why) = &assignment.work
    {
        told(why);
    }
}

proptest! {
    #[test]
    fn a_damaged_message_of_the_master_is_refused_in_words_or_read(bytes in damaged(select(messages()))) {
        if let Some(message) = judged(|| link::ToAgent::decode(&bytes[..])) {
            hears(message);
        }
    }

    #[test]
    fn a_damaged_task_is_refused_in_words_or_run(bytes in damaged(Just(task().encode_to_vec()))) {
        hears(link::ToAgent { epoch: 3, message: Some(run(bytes.into())) });
    }
}
