//! A message without a field that Mesos requires is named by the path of that field.

use std::collections::BTreeMap;

use bourse_proto::Required;
use bourse_proto::v1::{self, offer::Operation, offer::operation, scheduler};

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn task() -> v1::TaskInfo {
    v1::TaskInfo {
        name: text("t"),
        task_id: Some(v1::TaskId { value: text("t1") }),
        agent_id: Some(v1::AgentId { value: text("a1") }),
        ..Default::default()
    }
}

fn launch(task_infos: Vec<v1::TaskInfo>) -> scheduler::Call {
    let launch = Operation { launch: Some(operation::Launch { task_infos }), ..Default::default() };
    let accept = scheduler::call::Accept { operations: vec![launch], ..Default::default() };
    scheduler::Call { accept: Some(accept), ..Default::default() }
}

#[test]
fn a_complete_message_misses_nothing() {
    assert_eq!(launch(vec![task(), task()]).missing(), None);
    assert_eq!(scheduler::Call::default().missing(), None);
}

#[test]
fn the_first_missing_field_is_named_by_its_path_at_any_depth() {
    let nameless = v1::TaskInfo { agent_id: Some(v1::AgentId { value: None }), ..task() };
    let path = launch(vec![task(), task(), nameless]).missing();
    assert_eq!(path.as_deref(), Some("accept.operations[0].launch.task_infos[2].agent_id.value"));

    let nowhere = v1::TaskInfo { agent_id: None, ..task() };
    let path = launch(vec![nowhere, v1::TaskInfo::default()]).missing();
    assert_eq!(path.as_deref(), Some("accept.operations[0].launch.task_infos[0].agent_id"));
}

#[test]
fn a_value_of_a_map_is_named_by_its_key() {
    let limits = BTreeMap::from([
        ("cpus".to_owned(), v1::value::Scalar { value: Some(1.0) }),
        ("mem".to_owned(), v1::value::Scalar { value: None }),
    ]);
    let task = v1::TaskInfo { limits, ..task() };
    assert_eq!(task.missing().as_deref(), Some(r#"limits["mem"].value"#));
}

#[test]
fn the_chosen_part_of_a_oneof_is_looked_into() {
    use scheduler::attribute_constraint::{Predicate, predicate};

    let chosen = |part| Predicate { predicate: Some(part) };
    let no_text = chosen(predicate::Predicate::TextEquals(predicate::TextEquals { value: None }));
    assert_eq!(no_text.missing().as_deref(), Some("text_equals.value"));
    let exists = chosen(predicate::Predicate::Exists(predicate::Exists {}));
    assert_eq!(exists.missing(), None);
}

#[test]
fn a_message_inside_one_of_its_own_kind_is_looked_into() {
    let parent = v1::ContainerId { value: None, parent: None };
    let nested = v1::ContainerId { value: text("c1"), parent: Some(Box::new(parent)) };
    assert_eq!(nested.missing().as_deref(), Some("parent.value"));
}

#[test]
fn an_empty_text_and_a_zero_are_there() {
    assert_eq!(v1::TaskId { value: text("") }.missing(), None);
    assert_eq!(v1::value::Scalar { value: Some(0.0) }.missing(), None);
}
