//! What readers take, to begin with: small, and with something in most fields.

use bourse_proto::agent_link as link;
use bourse_proto::v1::scheduler::call::{self, Type};
use bourse_proto::v1::{self, carrier};
use bourse_types::{
    AgentInfo, FrameworkInfo, Resources, Role, Size, Source, TaskId, TaskState, TaskStatus, Wall,
};
use bourse_wire::{Form, agent, framework, resources, size, status};
use bytes::Bytes;
use prost::Message as _;

pub fn amounts() -> Resources {
    "cpus:1; mem:64; ports(eng):[31000-31001]".parse().expect("valid")
}

pub fn agent_id() -> v1::AgentId {
    v1::AgentId { value: Some("S1".into()) }
}

pub fn task_id() -> v1::TaskId {
    v1::TaskId { value: Some("t1".into()) }
}

fn framework_id() -> v1::FrameworkId {
    v1::FrameworkId { value: Some("F".into()) }
}

pub fn task() -> v1::TaskInfo {
    let grace = v1::DurationInfo { nanoseconds: Some(5) };
    v1::TaskInfo {
        name: Some("t".into()),
        task_id: Some(task_id()),
        agent_id: Some(agent_id()),
        resources: resources::write(&amounts(), Form::Refined),
        command: Some(v1::CommandInfo { value: Some("true".into()), ..Default::default() }),
        kill_policy: Some(v1::KillPolicy { grace_period: Some(grace) }),
        limits: [("mem".to_owned(), v1::value::Scalar { value: Some(128.0) })].into(),
        ..Default::default()
    }
}

pub fn task_size() -> v1::TaskSize {
    size::write(&Size::of("cpus:2; mem:64".parse().expect("valid")), Form::Refined)
}

pub fn framework_info() -> v1::FrameworkInfo {
    let mut info = FrameworkInfo::new("batch");
    info.capabilities.multi_role = true;
    info.roles = vec![Role::any(), Role::new("eng/web").expect("a role")];
    v1::FrameworkInfo { id: Some(framework_id()), ..framework::write(&info) }
}

pub fn update() -> v1::TaskStatus {
    let mut update =
        TaskStatus::new(TaskId::new("t1").expect("an id"), TaskState::Running, Source::Executor, Wall(1_500));
    update.uuid = Some([7; 16]);
    update.message = Some("well".into());
    status::write(&update, Form::Refined)
}

pub fn agent_info() -> AgentInfo {
    AgentInfo {
        hostname: "host-a".into(),
        address: agent::read_address("host-a:5051").expect("an address"),
        attributes: "rack:a; cores:4; open:[80-90]".parse().expect("valid"),
        total: "cpus:4; mem:1024; ports:[31000-32000]".parse().expect("valid"),
        version: "1".into(),
    }
}

pub fn register() -> link::Register {
    let info = agent_info();
    let report = link::TaskReport {
        framework_id: "F".into(),
        task_info: task().encode_to_vec().into(),
        role: "eng".into(),
        resources: resources::write(&amounts(), Form::Refined),
        latest: Some(update()),
        size: Some(task_size()),
        ..Default::default()
    };
    link::Register {
        info: Some(agent::write(None, &info)),
        agent_id: Some("S1".into()),
        address: info.address.to_string(),
        version: info.version,
        tasks: vec![report],
        frameworks: vec![framework_info()],
        ..Default::default()
    }
}

/// One of each kind.
pub fn calls() -> Vec<carrier::Call> {
    let blank = |kind: Type| carrier::Call {
        framework_id: Some(framework_id()),
        r#type: Some(kind as i32),
        ..carrier::Call::default()
    };
    let offer_ids = || vec![v1::OfferId { value: Some("O1".into()) }];
    let roles = || vec!["eng/web".to_owned()];
    let subscribe = carrier::Subscribe {
        framework_info: Some(framework_info()),
        suppressed_roles: roles(),
        ..Default::default()
    };
    let update = carrier::UpdateFramework {
        framework_info: Some(framework_info()),
        suppressed_roles: roles(),
        ..Default::default()
    };
    let launch = carrier::Operation {
        r#type: Some(v1::offer::operation::Type::Launch as i32),
        launch: Some(carrier::Launch { task_infos: vec![task().encode_to_vec().into()] }),
        ..Default::default()
    };
    let wanted = v1::offer::operation::Resize { task_id: Some(task_id()), size: Some(task_size()) };
    let resize = carrier::Operation {
        r#type: Some(v1::offer::operation::Type::Resize as i32),
        resize: Some(wanted.encode_to_vec().into()),
        ..Default::default()
    };
    let accept = carrier::Accept {
        offer_ids: offer_ids(),
        operations: vec![launch.encode_to_vec().into(), resize.encode_to_vec().into()],
        filters: Some(v1::Filters { refuse_seconds: Some(1.5) }),
    };
    let kill =
        call::Kill { task_id: Some(task_id()), agent_id: Some(agent_id()), kill_policy: task().kill_policy };
    let acknowledge = call::Acknowledge {
        agent_id: Some(agent_id()),
        task_id: Some(task_id()),
        uuid: Some(Bytes::from_static(&[7; 16])),
    };
    let asked = call::reconcile::Task { task_id: Some(task_id()), agent_id: None };
    let decline = call::Decline { offer_ids: offer_ids(), filters: None };
    vec![
        carrier::Call { subscribe: Some(subscribe), ..blank(Type::Subscribe) },
        carrier::Call { update_framework: Some(update), ..blank(Type::UpdateFramework) },
        carrier::Call { accept: Some(accept), ..blank(Type::Accept) },
        carrier::Call { decline: Some(decline), ..blank(Type::Decline) },
        carrier::Call { kill: Some(kill), ..blank(Type::Kill) },
        carrier::Call { acknowledge: Some(acknowledge), ..blank(Type::Acknowledge) },
        carrier::Call { reconcile: Some(call::Reconcile { tasks: vec![asked] }), ..blank(Type::Reconcile) },
        carrier::Call { revive: Some(call::Revive { roles: roles() }), ..blank(Type::Revive) },
        carrier::Call { suppress: Some(call::Suppress { roles: roles() }), ..blank(Type::Suppress) },
        blank(Type::Teardown),
    ]
}
