//! Calls of schedulers and messages of agents that are damaged on their way: each is refused in words or read, and what was
//! read can be written down and read again, as the master does with what must survive it.

use bourse_hostile::{damaged, judged, told};
use bourse_master_core::{Call, Event, Launch, LinkId, StreamId, Subscription};
use bourse_proto::agent_link as link;
use bourse_proto::v1::scheduler::call::{self, Type};
use bourse_proto::v1::{self, carrier};
use bourse_types::{
    AgentId, AgentInfo, FrameworkInfo, Now, OfferId, Role, Size, Source, TaskId, TaskState, TaskStatus, Wall,
};
use bourse_wire::{Form, agent as wire_agent, framework, resources, size, status};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;

use super::agent::{read_register, read_resized, read_update};
use super::scheduler::{Heard, read};
use crate::disk::event;

fn task_id() -> Option<v1::TaskId> {
    Some(v1::TaskId { value: Some("t1".into()) })
}

fn agent_id() -> Option<v1::AgentId> {
    Some(v1::AgentId { value: Some("S1".into()) })
}

fn amounts() -> Vec<v1::Resource> {
    resources::write(&"cpus:1; mem:64; ports(eng):[31000-31001]".parse().expect("valid"), Form::Refined)
}

fn task() -> v1::TaskInfo {
    let grace = v1::DurationInfo { nanoseconds: Some(5) };
    v1::TaskInfo {
        name: Some("t".into()),
        task_id: task_id(),
        agent_id: agent_id(),
        resources: amounts(),
        command: Some(v1::CommandInfo { value: Some("true".into()), ..Default::default() }),
        kill_policy: Some(v1::KillPolicy { grace_period: Some(grace) }),
        limits: [("mem".to_owned(), v1::value::Scalar { value: Some(128.0) })].into(),
        ..Default::default()
    }
}

fn task_size() -> v1::TaskSize {
    size::write(&Size::of("cpus:2; mem:64".parse().expect("valid")), Form::Refined)
}

fn info() -> v1::FrameworkInfo {
    let mut info = FrameworkInfo::new("batch");
    info.capabilities.multi_role = true;
    info.roles = vec![Role::any(), Role::new("eng/web").expect("a role")];
    framework::write(&info)
}

fn call(kind: Type) -> carrier::Call {
    let framework_id = Some(v1::FrameworkId { value: Some("F".into()) });
    carrier::Call { framework_id, r#type: Some(kind as i32), ..Default::default() }
}

fn accept(operations: Vec<carrier::Operation>) -> carrier::Call {
    let accept = carrier::Accept {
        offer_ids: vec![v1::OfferId { value: Some("O1".into()) }],
        operations: operations.iter().map(|operation| Bytes::from(operation.encode_to_vec())).collect(),
        filters: Some(v1::Filters { refuse_seconds: Some(1.5) }),
    };
    carrier::Call { accept: Some(accept), ..call(Type::Accept) }
}

fn launch(tasks: Vec<Bytes>) -> carrier::Operation {
    carrier::Operation {
        r#type: Some(v1::offer::operation::Type::Launch as i32),
        launch: Some(carrier::Launch { task_infos: tasks }),
        ..Default::default()
    }
}

fn resize(wanted: Bytes) -> carrier::Operation {
    carrier::Operation {
        r#type: Some(v1::offer::operation::Type::Resize as i32),
        resize: Some(wanted),
        ..Default::default()
    }
}

fn wanted() -> Vec<u8> {
    v1::offer::operation::Resize { task_id: task_id(), size: Some(task_size()) }.encode_to_vec()
}

fn group() -> carrier::Operation {
    let tasks = v1::TaskGroupInfo { tasks: vec![task()] };
    carrier::Operation {
        r#type: Some(v1::offer::operation::Type::LaunchGroup as i32),
        launch_group: Some(carrier::LaunchGroup {
            executor: Some(Bytes::new()),
            task_group: Some(tasks.encode_to_vec().into()),
        }),
        ..Default::default()
    }
}

/// One of each kind.
fn calls() -> Vec<Vec<u8>> {
    let subscribe = carrier::Subscribe {
        framework_info: Some(v1::FrameworkInfo {
            id: Some(v1::FrameworkId { value: Some("F".into()) }),
            ..info()
        }),
        suppressed_roles: vec!["eng/web".into()],
        offer_constraints: None,
    };
    let update = carrier::UpdateFramework {
        framework_info: subscribe.framework_info.clone(),
        suppressed_roles: vec!["*".into()],
        ..Default::default()
    };
    let decline = call::Decline { offer_ids: vec![v1::OfferId { value: Some("O1".into()) }], filters: None };
    let kill = call::Kill { task_id: task_id(), agent_id: agent_id(), kill_policy: task().kill_policy };
    let acknowledge = call::Acknowledge {
        agent_id: agent_id(),
        task_id: task_id(),
        uuid: Some(Bytes::from_static(&[7; 16])),
    };
    let asked = call::reconcile::Task { task_id: task_id(), agent_id: None };
    let roles = || vec!["eng/web".to_owned()];
    let all = [
        carrier::Call { subscribe: Some(subscribe), ..call(Type::Subscribe) },
        carrier::Call { update_framework: Some(update), ..call(Type::UpdateFramework) },
        accept(vec![launch(vec![task().encode_to_vec().into()]), resize(wanted().into()), group()]),
        carrier::Call { decline: Some(decline), ..call(Type::Decline) },
        carrier::Call { kill: Some(kill), ..call(Type::Kill) },
        carrier::Call { acknowledge: Some(acknowledge), ..call(Type::Acknowledge) },
        carrier::Call { reconcile: Some(call::Reconcile { tasks: vec![asked] }), ..call(Type::Reconcile) },
        carrier::Call { revive: Some(call::Revive { roles: roles() }), ..call(Type::Revive) },
        carrier::Call { suppress: Some(call::Suppress { roles: roles() }), ..call(Type::Suppress) },
        call(Type::Teardown),
    ];
    all.iter().map(carrier::Call::encode_to_vec).collect()
}

/// Written down and read again it is the same.
fn survives(event: Event) {
    let now = Now::default();
    let again = event::decode(&event::encode(now, &event)).expect("it was taken at the door");
    assert_eq!(again, (now, event));
}

fn hears(bytes: &[u8]) {
    let Some(call) = judged(|| carrier::Call::decode(bytes)) else { return };
    match judged(|| read(call, &|_: &OfferId| Some(Role::any()))) {
        Some(Heard::Subscribe { info, suppressed }) => {
            let subscription = Subscription { info: *info, suppressed, principal: None };
            survives(Event::Subscribes { stream: StreamId(1), subscription: Box::new(subscription) });
        }
        Some(Heard::Call { framework, call: Some(call) }) => {
            if let Call::Accept(accept) = &call {
                for launch in &accept.launches {
                    if let Launch::Invalid { why, .. } = launch {
                        told(why);
                    }
                }
                accept.resizes.iter().filter_map(|resize| resize.wanted.as_ref().err()).for_each(told);
            }
            survives(Event::Call { framework, stream: StreamId(1), call });
        }
        Some(Heard::Call { call: None, .. }) | None => {}
    }
}

fn update() -> v1::TaskStatus {
    let task = TaskId::new("t1").expect("an id");
    let mut status = TaskStatus::new(task, TaskState::Running, Source::Executor, Wall(1_500));
    status.uuid = Some([7; 16]);
    status.message = Some("well".into());
    status::write(&status, Form::Refined)
}

fn register() -> link::Register {
    let info = AgentInfo {
        hostname: "host-a".into(),
        address: wire_agent::read_address("host-a:5051").expect("an address"),
        attributes: "rack:a; cores:4".parse().expect("valid"),
        total: "cpus:4; mem:1024; ports:[31000-32000]".parse().expect("valid"),
        version: "1".into(),
    };
    let report = link::TaskReport {
        framework_id: "F".into(),
        task_info: task().encode_to_vec().into(),
        role: "eng".into(),
        resources: amounts(),
        latest: Some(update()),
        size: Some(task_size()),
        ..Default::default()
    };
    link::Register {
        info: Some(wire_agent::write(None, &info)),
        agent_id: Some("S1".into()),
        address: info.address.to_string(),
        version: info.version,
        tasks: vec![report],
        frameworks: vec![info_of_agent()],
        ..Default::default()
    }
}

fn info_of_agent() -> v1::FrameworkInfo {
    v1::FrameworkInfo { id: Some(v1::FrameworkId { value: Some("F".into()) }), ..info() }
}

proptest! {
    #[test]
    fn a_damaged_call_is_refused_in_words_or_survives(bytes in damaged(select(calls()))) {
        hears(&bytes);
    }

    #[test]
    fn damaged_parts_of_a_call_are_refused_in_words_or_survive(
        task in damaged(Just(task().encode_to_vec())),
        wanted in damaged(Just(wanted())),
    ) {
        let operations = vec![launch(vec![task.into()]), resize(wanted.into())];
        hears(&accept(operations).encode_to_vec());
    }

    #[test]
    fn a_damaged_registration_is_refused_in_words_or_survives(
        bytes in damaged(Just(register().encode_to_vec())),
        task in damaged(Just(task().encode_to_vec())),
    ) {
        let mut within = register();
        within.tasks[0].task_info = task.into();
        for form in [judged(|| link::Register::decode(&bytes[..])), Some(within)].into_iter().flatten() {
            if let Some(registration) = judged(|| read_register(form)) {
                survives(Event::AgentRegisters { link: LinkId(1), registration: Box::new(registration) });
            }
        }
    }

    #[test]
    fn damaged_updates_are_refused_in_words_or_survive(
        updated in damaged(Just(
            link::StatusUpdate { framework_id: "F".into(), status: Some(update()), latest: None }.encode_to_vec(),
        )),
        resized in damaged(Just(
            link::TaskResized {
                framework_id: "F".into(),
                task_id: "t1".into(),
                size: Some(task_size()),
                wanted: Some(task_size()),
            }
            .encode_to_vec(),
        )),
    ) {
        let agent = || AgentId::new("S1").expect("an id");
        let update = judged(|| link::StatusUpdate::decode(&updated[..])).and_then(|form| judged(|| read_update(&form)));
        if let Some(update) = update {
            survives(Event::StatusUpdate { agent: agent(), link: LinkId(1), update: Box::new(update) });
        }
        let resized = judged(|| link::TaskResized::decode(&resized[..])).and_then(|form| judged(|| read_resized(&form)));
        if let Some(resized) = resized {
            survives(Event::TaskResized { agent: agent(), link: LinkId(1), resized: Box::new(resized) });
        }
    }
}

/// Two bytes of a call could take a thousand of memory each.
#[test]
fn what_is_sent_as_a_great_many_empty_parts_is_not_looked_into() {
    let heard = |call: carrier::Call| read(call, &|_: &OfferId| Some(Role::any()));

    // Resources without anything.
    let mut large = task().encode_to_vec();
    large.extend([0x22u8, 0].repeat(200_000));
    let Ok(Heard::Call { call: Some(Call::Accept(accepted)), .. }) =
        heard(accept(vec![launch(vec![large.into()])]))
    else {
        panic!("the rest of the call goes on");
    };
    match &accepted.launches[..] {
        [Launch::Invalid { why, .. }] => assert!(why.contains("256 KiB is the most"), "{why}"),
        other => panic!("{other:?}"),
    }

    let mut large = wanted();
    large.extend([0x12u8, 0].repeat(200_000));
    let refused = heard(accept(vec![resize(large.into())])).expect_err("too large").to_string();
    assert!(refused.starts_with("accept.operations[0].resize: it has "), "{refused}");

    // Constraints that nobody reads.
    let info = v1::FrameworkInfo { id: None, ..info() };
    let offer_constraints = Some(Bytes::from([0x0a, 0].repeat(200_000)));
    let subscribe =
        carrier::Subscribe { framework_info: Some(info), offer_constraints, ..Default::default() };
    let refused = heard(carrier::Call { subscribe: Some(subscribe), ..call(Type::Subscribe) });
    let refused = refused.expect_err("there are some").to_string();
    assert!(refused.starts_with("subscribe.offer_constraints: "), "{refused}");

    // Operations of which none says what it is: each is as large in memory as its bytes, until it is looked into.
    let mut call = accept(Vec::new());
    call.accept.as_mut().expect("an accept").operations = vec![Bytes::new(); 100_000];
    let refused = heard(call).expect_err("no kind").to_string();
    assert!(refused.starts_with("accept.operations[0].type: "), "{refused}");
}

#[test]
fn a_call_is_refused_with_no_more_of_a_key_than_it_takes_to_find_it() {
    let mut endless = task();
    endless.limits.insert("x".repeat(200_000), v1::value::Scalar::default());
    let call = accept(vec![launch(vec![endless.encode_to_vec().into()])]);
    judged(|| read(call, &|_: &OfferId| Some(Role::any())));
}
