//! The carriers are the messages that they stand for, and keep what this build does not know.

use bourse_proto::v1::{self, carrier, scheduler};
use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::POOL;
use crate::captures::{captures, encoded};

/// Each carrier and the message that it stands for.
const PAIRS: [(&str, &str); 7] = [
    ("bourse.v1.carrier.Call", "bourse.v1.scheduler.Call"),
    ("bourse.v1.carrier.Subscribe", "bourse.v1.scheduler.Call.Subscribe"),
    ("bourse.v1.carrier.UpdateFramework", "bourse.v1.scheduler.Call.UpdateFramework"),
    ("bourse.v1.carrier.Accept", "bourse.v1.scheduler.Call.Accept"),
    ("bourse.v1.carrier.Operation", "bourse.v1.Offer.Operation"),
    ("bourse.v1.carrier.Launch", "bourse.v1.Offer.Operation.Launch"),
    ("bourse.v1.carrier.LaunchGroup", "bourse.v1.Offer.Operation.LaunchGroup"),
];

fn message(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(name).unwrap_or_else(|| panic!("no message {name}"))
}

/// Does `carried` hold the same bytes as `real`?
fn same_bytes(carried: &FieldDescriptor, real: &FieldDescriptor) -> bool {
    match (carried.kind(), real.kind()) {
        (Kind::Bytes, Kind::Message(_)) => true,
        (Kind::Message(carried), Kind::Message(real)) => {
            carried == real || PAIRS.contains(&(carried.full_name(), real.full_name()))
        }
        (carried, real) => carried == real,
    }
}

#[test]
fn a_carrier_has_every_field_of_its_message_by_the_same_name_and_number() {
    for (carrier, real) in PAIRS {
        let (carrier, real) = (message(carrier), message(real));
        assert_eq!(
            carrier.fields().count(),
            real.fields().count(),
            "{} and {}",
            carrier.full_name(),
            real.full_name()
        );
        for field in real.fields() {
            let carried = carrier.get_field(field.number());
            let carried = carried.unwrap_or_else(|| panic!("{} lacks {}", carrier.full_name(), field.name()));
            assert_eq!(carried.name(), field.name());
            assert_eq!(carried.is_list(), field.is_list(), "{}", carried.full_name());
            assert!(same_bytes(&carried, &field), "{} and {}", carried.full_name(), field.full_name());
        }
    }
}

#[test]
fn every_captured_call_has_the_same_bytes_through_the_carrier() {
    let calls: Vec<_> =
        captures().into_iter().filter(|(name, _)| name.starts_with("scheduler-call")).collect();
    assert!(calls.iter().any(|(name, _)| name.ends_with("accept-launch")));
    assert!(calls.iter().any(|(name, _)| name.ends_with("accept-launch-group")));
    for (name, json) in calls {
        let bytes = encoded(&name, &json);
        let carried =
            carrier::Call::decode(bytes.as_slice()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(carried.encode_to_vec(), bytes, "{name}");
    }
}

/// A task as a later build would send it: with a field that this build does not know.
fn task_of_tomorrow() -> Vec<u8> {
    let today = v1::TaskInfo { name: Some("t".into()), ..Default::default() };
    let mut bytes = today.encode_to_vec();
    encode_key(2000, WireType::Varint, &mut bytes);
    encode_varint(42, &mut bytes);
    bytes
}

fn accept(operation: carrier::Operation) -> Vec<u8> {
    let operations = vec![operation.encode_to_vec().into()];
    let accept = carrier::Accept { operations, ..Default::default() };
    carrier::Call { accept: Some(accept), ..Default::default() }.encode_to_vec()
}

fn operations(call: &[u8]) -> Vec<carrier::Operation> {
    let call = carrier::Call::decode(call).expect("a call that was encoded");
    let accept = call.accept.expect("that has an accept");
    let decoded = |bytes: Bytes| carrier::Operation::decode(bytes).expect("an operation that was encoded");
    accept.operations.into_iter().map(decoded).collect()
}

#[test]
fn fields_of_a_task_that_this_build_does_not_know_survive_the_carrier() {
    let task = task_of_tomorrow();
    let launch = carrier::Launch { task_infos: vec![Bytes::from(task.clone())] };
    let call = accept(carrier::Operation { launch: Some(launch), ..Default::default() });

    let carried = operations(&call).remove(0).launch.expect("the operation is a launch");
    assert_eq!(carried.task_infos[0], task);

    // The plain message reads the same task and would lose the field: this is why there are carriers.
    let real = scheduler::Call::decode(call.as_slice()).expect("the carrier has the bytes of the real call");
    let real = real.accept.expect("it has an accept").operations.remove(0).launch.expect("it is a launch");
    assert_eq!(real.task_infos[0].name(), "t");
    assert_ne!(real.task_infos[0].encode_to_vec(), task);
}

#[test]
fn fields_of_a_group_that_this_build_does_not_know_survive_the_carrier() {
    let task = task_of_tomorrow();
    let mut group = Vec::new();
    encode_key(1, WireType::LengthDelimited, &mut group);
    encode_varint(task.len() as u64, &mut group);
    group.extend(&task);
    let executor = v1::ExecutorInfo { name: Some("e".into()), ..Default::default() }.encode_to_vec();
    let launch = carrier::LaunchGroup {
        executor: Some(Bytes::from(executor.clone())),
        task_group: Some(Bytes::from(group.clone())),
    };
    let call = accept(carrier::Operation { launch_group: Some(launch), ..Default::default() });

    let carried = operations(&call).remove(0).launch_group.expect("the operation is a launch of a group");
    assert_eq!(carried.task_group.as_deref(), Some(group.as_slice()));
    assert_eq!(carried.executor.as_deref(), Some(executor.as_slice()));

    let real = scheduler::Call::decode(call.as_slice()).expect("the carrier has the bytes of the real call");
    let real =
        real.accept.expect("it has an accept").operations.remove(0).launch_group.expect("it is a group");
    assert_eq!(real.task_group.expect("the group is there").tasks[0].name(), "t");
}
