//! Domain and wire know the same states, reasons, sources and capabilities.

use bourse_proto::v1::agent_info;
use bourse_proto::v1::framework_info::{Capability, capability};
use bourse_proto::v1::{self, task_status};
use bourse_types::{AgentCapability, Reason, Source, TaskState};
use bourse_wire::{agent, framework, status};

/// All numbers that an enum of the wire may have.
const NUMBERS: std::ops::Range<i32> = 0..2000;

#[test]
fn every_state_has_one_number_and_every_number_one_state() {
    for state in TaskState::ALL {
        assert_eq!(status::read_state(status::write_state(*state) as i32), Ok(*state));
    }
    let known = NUMBERS.filter(|number| v1::TaskState::try_from(*number).is_ok());
    assert_eq!(known.filter_map(|number| status::read_state(number).ok()).count(), TaskState::ALL.len());
}

#[test]
fn every_reason_has_one_number_and_every_number_one_reason() {
    for reason in Reason::ALL {
        assert_eq!(status::read_reason(status::write_reason(*reason) as i32), Ok(*reason));
    }
    let known: Vec<_> = NUMBERS.filter(|number| task_status::Reason::try_from(*number).is_ok()).collect();
    assert_eq!(known.len(), Reason::ALL.len());
    assert!(known.into_iter().all(|number| status::read_reason(number).is_ok()));
}

#[test]
fn every_source_has_one_number_and_every_number_one_source() {
    for source in Source::ALL {
        assert_eq!(status::read_source(status::write_source(*source) as i32), Ok(*source));
    }
    let known = NUMBERS.filter(|number| task_status::Source::try_from(*number).is_ok());
    assert_eq!(known.count(), Source::ALL.len());
}

#[test]
fn every_capability_of_mesos_is_known_and_others_are_ignored() {
    let numbers: Vec<_> = NUMBERS.filter(|number| capability::Type::try_from(*number).is_ok()).collect();
    let capabilities = numbers.iter().chain(&[9999]).map(|number| Capability { r#type: Some(*number) });
    let form = v1::FrameworkInfo {
        name: Some("f".into()),
        user: Some("nobody".into()),
        capabilities: capabilities.chain([Capability { r#type: None }]).collect(),
        ..Default::default()
    };
    let info = framework::read(&form).expect("a valid framework");
    // UNKNOWN is a number, and no capability.
    assert_eq!(info.capabilities.names().count(), numbers.len() - 1);
}

#[test]
fn what_agents_can_do_comes_back_and_what_nobody_asks_for_is_passed_over() {
    for capability in AgentCapability::ALL {
        let written = agent::write_capabilities(&[capability].into());
        assert_eq!(agent::read_capabilities(&written), [capability].into());
    }
    let written = agent::write_capabilities(&AgentCapability::all());
    let numbers: Vec<_> = written.iter().filter_map(|form| form.r#type).collect();
    assert_eq!(numbers, [8, 1000, 1001, 1002, 1003, 1004]);
    let all = NUMBERS.chain([9999]).map(|number| agent_info::Capability { r#type: Some(number) });
    let all: Vec<_> = all.chain([agent_info::Capability { r#type: None }]).collect();
    assert_eq!(agent::read_capabilities(&all), AgentCapability::all());
    assert_eq!(agent::read_capabilities(&[]), [].into());
}
