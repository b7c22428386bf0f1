//! Bytes written out by hand are read as what they mean, and what we write are those bytes.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bourse_proto::Required;
use bourse_proto::agent_link;
use bourse_proto::v1::{self, offer::Operation, offer::operation, scheduler};
use bytes::Bytes;
use prost::Message;

use crate::read_golden;

/// The bytes of a `.hex` file: pairs of digits, with remarks behind `#`.
fn hex(name: &str) -> Vec<u8> {
    let text = read_golden(&format!("bytes/{name}.hex"));
    let digits = text.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap_or_else(|e| panic!("{name}: {pair:?}: {e}")))
        .collect()
}

fn check<M: Message + Required + Default + PartialEq + Debug>(name: &str, meaning: M) {
    let bytes = hex(name);
    let read = M::decode(bytes.as_slice()).expect("the golden bytes are a message");
    assert_eq!(read, meaning, "{name}.hex is read as something else");
    assert_eq!(read.missing(), None, "{name}.hex misses a required field");
    assert_eq!(meaning.encode_to_vec(), bytes, "the message is written as other bytes than {name}.hex");
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn scalar(name: &str, value: f64) -> v1::Resource {
    v1::Resource {
        name: text(name),
        r#type: Some(v1::value::Type::Scalar as i32),
        scalar: Some(v1::value::Scalar { value: Some(value) }),
        ..Default::default()
    }
}

fn framework_id() -> Option<v1::FrameworkId> {
    Some(v1::FrameworkId { value: text("m-0000") })
}

fn agent_id() -> Option<v1::AgentId> {
    Some(v1::AgentId { value: text("m-S0") })
}

fn task_id() -> Option<v1::TaskId> {
    Some(v1::TaskId { value: text("t1") })
}

#[test]
fn an_offer_has_the_bytes_of_mesos() {
    let allocated = || Some(v1::resource::AllocationInfo { role: text("web") });
    let reservation = v1::resource::ReservationInfo {
        r#type: Some(v1::resource::reservation_info::Type::Dynamic as i32),
        role: text("web"),
        ..Default::default()
    };
    let cpus =
        v1::Resource { allocation_info: allocated(), reservations: vec![reservation], ..scalar("cpus", 1.5) };
    let range = v1::value::Range { begin: Some(31000), end: Some(32000) };
    let ports = v1::Resource {
        name: text("ports"),
        r#type: Some(v1::value::Type::Ranges as i32),
        ranges: Some(v1::value::Ranges { range: vec![range] }),
        allocation_info: allocated(),
        ..Default::default()
    };
    let rack = v1::Attribute {
        name: text("rack"),
        r#type: Some(v1::value::Type::Text as i32),
        text: Some(v1::value::Text { value: text("a") }),
        ..Default::default()
    };
    let url = v1::Url {
        scheme: text("http"),
        address: Some(v1::Address { ip: text("10.0.0.1"), port: Some(5051), ..Default::default() }),
        path: text("/slave(1)"),
        ..Default::default()
    };
    let offer = v1::Offer {
        id: Some(v1::OfferId { value: text("m-O0") }),
        framework_id: framework_id(),
        agent_id: agent_id(),
        hostname: text("node1"),
        url: Some(url),
        resources: vec![cpus, ports],
        attributes: vec![rack],
        executor_ids: vec![v1::ExecutorId { value: text("e1") }],
        allocation_info: allocated(),
        ..Default::default()
    };
    check("offer", offer);
}

#[test]
fn a_task_has_the_bytes_of_mesos() {
    let command = v1::CommandInfo {
        shell: Some(false),
        value: text("echo"),
        arguments: vec!["echo".into(), "hi".into()],
        ..Default::default()
    };
    let health = v1::HealthCheck {
        r#type: Some(v1::health_check::Type::Http as i32),
        interval_seconds: Some(2.0),
        http: Some(v1::health_check::HttpCheckInfo {
            port: Some(8080),
            path: text("/health"),
            ..Default::default()
        }),
        ..Default::default()
    };
    let task = v1::TaskInfo {
        name: text("hello"),
        task_id: task_id(),
        agent_id: agent_id(),
        resources: vec![scalar("cpus", 0.5), scalar("mem", 64.0)],
        command: Some(command),
        health_check: Some(health),
        kill_policy: Some(v1::KillPolicy {
            grace_period: Some(v1::DurationInfo { nanoseconds: Some(3_000_000_000) }),
        }),
        labels: Some(v1::Labels { labels: vec![v1::Label { key: text("team"), value: text("a") }] }),
        limits: BTreeMap::from([("mem".to_owned(), v1::value::Scalar { value: Some(128.0) })]),
        ..Default::default()
    };
    check("task-info", task);
}

#[test]
fn a_task_status_has_the_bytes_of_mesos() {
    let container = v1::ContainerStatus {
        container_id: Some(v1::ContainerId { value: text("c1"), parent: None }),
        executor_pid: Some(4711),
        ..Default::default()
    };
    let status = v1::TaskStatus {
        task_id: task_id(),
        state: Some(v1::TaskState::TaskFailed as i32),
        message: text("out of memory"),
        source: Some(v1::task_status::Source::Agent as i32),
        reason: Some(v1::task_status::Reason::ContainerLimitationMemory as i32),
        agent_id: agent_id(),
        executor_id: Some(v1::ExecutorId { value: text("t1") }),
        timestamp: Some(1_795_455_916.25),
        uuid: Some(Bytes::from_iter(0..16)),
        healthy: Some(false),
        container_status: Some(container),
        limitation: Some(v1::TaskResourceLimitation { resources: vec![scalar("mem", 64.0)] }),
        ..Default::default()
    };
    check("task-status", status);
}

#[test]
fn an_accept_has_the_bytes_of_mesos() {
    let task = v1::TaskInfo {
        name: text("t"),
        task_id: task_id(),
        agent_id: agent_id(),
        resources: vec![scalar("cpus", 0.1)],
        command: Some(v1::CommandInfo { value: text("true"), ..Default::default() }),
        ..Default::default()
    };
    let launch = Operation {
        r#type: Some(operation::Type::Launch as i32),
        launch: Some(operation::Launch { task_infos: vec![task] }),
        ..Default::default()
    };
    let accept = scheduler::call::Accept {
        offer_ids: vec![v1::OfferId { value: text("m-O0") }],
        operations: vec![launch],
        filters: Some(v1::Filters { refuse_seconds: Some(3600.0) }),
    };
    let call = scheduler::Call {
        framework_id: framework_id(),
        r#type: Some(scheduler::call::Type::Accept as i32),
        accept: Some(accept),
        ..Default::default()
    };
    check("call-accept", call);
}

#[test]
fn what_an_agent_can_do_keeps_its_numbers() {
    use v1::agent_info::{Capability, capability::Type};
    let kinds = [
        Type::TaskResourceLimits,
        Type::TaskResize,
        Type::TaskRootfs,
        Type::TaskNamespaces,
        Type::TaskControls,
        Type::TaskExclusiveCpus,
    ];
    let register = agent_link::Register {
        address: "host:1".to_owned(),
        version: "0.1.0".to_owned(),
        capabilities: kinds.map(|kind| Capability { r#type: Some(kind as i32) }).to_vec(),
        ..Default::default()
    };
    check("agent-capabilities", register);
}

#[test]
fn what_is_not_sent_is_read_as_the_default_of_mesos() {
    assert_eq!(v1::Filters::default().refuse_seconds(), 5.0);
    assert!(v1::CommandInfo::default().shell());
    assert_eq!(v1::HealthCheck::default().consecutive_failures(), 3);
    assert_eq!(v1::HealthCheck::default().delay_seconds(), 15.0);
    assert_eq!(v1::Resource::default().role(), "*");
    assert_eq!(v1::FrameworkInfo::default().failover_timeout(), 0.0);
    assert!(!v1::FrameworkInfo::default().checkpoint());
    assert_eq!(v1::AgentInfo::default().port(), 5051);
}
