//! Messages of strangers: each reader refuses them in words or takes them, and reads what it took again as it writes it.

use std::fmt::{Debug, Display};
use std::time::Duration;

use bourse_hostile::{damaged, judged, text};
use bourse_proto::v1;
use bourse_types::{Address, FrameworkId, Role, TaskSpec};
use bourse_wire::task::Owner;
use bourse_wire::{
    Form, agent, command, filters, framework, health, labels, linux_info, resources, size, status, task,
    time, volumes,
};
use proptest::prelude::{any as anything, *};
use prost::Message;

use crate::any;

/// Reads bytes, writes what they gave, and reads that.
fn comes_back<M, T, E>(bytes: &[u8], read: impl Fn(&M) -> Result<T, E>, write: impl Fn(&T) -> M)
where
    M: Message + Default,
    T: PartialEq + Debug,
    E: Display,
{
    let Some(form) = judged(|| M::decode(bytes)) else { return };
    let Some(value) = judged(|| read(&form)) else { return };
    let written = write(&value).encode_to_vec();
    let form = M::decode(written.as_slice()).expect("what was encoded can be decoded");
    match read(&form) {
        Ok(again) => assert_eq!(again, value),
        Err(refused) => panic!("{value:?} was taken, and as it is written refused: {refused}"),
    }
}

/// Bytes of messages of this kind, damaged.
fn bytes<T, M: Message>(
    values: impl Strategy<Value = T>,
    write: impl Fn(&T) -> M,
) -> impl Strategy<Value = Vec<u8>> {
    damaged(values.prop_map(move |value| write(&value).encode_to_vec()))
}

fn owner() -> Owner {
    Owner { framework: FrameworkId::new("f").expect("an id"), role: Role::any() }
}

/// A task of that owner.
fn own(task: &TaskSpec) -> TaskSpec {
    let Owner { framework, role } = owner();
    TaskSpec { framework, role, ..task.clone() }
}

fn address() -> Address {
    Address { host: "a".into(), port: 5051 }
}

/// A message with nothing in it but resources.
fn of_resources(all: &bourse_types::Resources) -> v1::TaskResourceLimitation {
    v1::TaskResourceLimitation { resources: resources::write(all, Form::Refined) }
}

fn of_volumes(all: &[bourse_types::Volume]) -> v1::ContainerInfo {
    v1::ContainerInfo { volumes: all.iter().map(volumes::write).collect(), ..Default::default() }
}

/// What a task asks of the kernel, put into some task to be written.
fn of_linux(task: &TaskSpec) -> v1::LinuxInfo {
    linux_info::write(task).unwrap_or_default()
}

proptest! {
    #[test]
    fn damaged_resources_are_refused_in_words_or_come_back(bytes in bytes(any::resources(), of_resources)) {
        comes_back(&bytes, |form: &v1::TaskResourceLimitation| resources::read(&form.resources), of_resources);
    }

    #[test]
    fn damaged_labels_are_refused_in_words_or_come_back(
        bytes in bytes(any::labels(), |all| labels::write(all).unwrap_or_default()),
    ) {
        comes_back(&bytes, |form| labels::read(Some(form)), |all| labels::write(all).unwrap_or_default());
    }

    #[test]
    fn a_damaged_framework_is_refused_in_words_or_comes_back(bytes in bytes(any::framework(), framework::write)) {
        comes_back(&bytes, framework::read, framework::write);
    }

    /// Attributes, too.
    #[test]
    fn a_damaged_agent_is_refused_in_words_or_comes_back(
        bytes in bytes(any::agent(), |info| agent::write(None, info)),
    ) {
        comes_back(&bytes, |form| agent::read(form, address(), "v"), |info| agent::write(None, info));
    }

    #[test]
    fn a_damaged_command_is_refused_in_words_or_comes_back(bytes in bytes(any::command(), command::write)) {
        comes_back(&bytes, command::read, command::write);
    }

    #[test]
    fn a_damaged_health_check_is_refused_in_words_or_comes_back(bytes in bytes(any::health(), health::write)) {
        comes_back(&bytes, health::read, health::write);
    }

    #[test]
    fn damaged_volumes_are_refused_in_words_or_come_back(
        bytes in bytes(any::task(), |task| of_volumes(&task.volumes)),
    ) {
        comes_back(&bytes, |form: &v1::ContainerInfo| volumes::read(&form.volumes), |all| of_volumes(all));
    }

    #[test]
    fn damaged_settings_of_linux_are_refused_in_words_or_come_back(
        (bytes, some) in (bytes(any::task(), of_linux), any::task()),
    ) {
        comes_back(&bytes, |form| linux_info::read(Some(form)), |(controls, namespaces)| {
            let (controls, namespaces) = (controls.clone(), *namespaces);
            of_linux(&TaskSpec { controls, namespaces, ..some.clone() })
        });
    }

    #[test]
    fn a_damaged_size_is_refused_in_words_or_comes_back(
        bytes in bytes(any::size(), |wanted| size::write(wanted, Form::Refined)),
    ) {
        comes_back(&bytes, size::read, |wanted| size::write(wanted, Form::Refined));
    }

    #[test]
    fn a_damaged_task_is_refused_in_words_or_comes_back(
        bytes in bytes(any::task(), |wanted| task::write(&own(wanted), Form::Refined)),
    ) {
        comes_back(&bytes, |form| task::read(form, owner()), |wanted| task::write(wanted, Form::Refined));
    }

    #[test]
    fn a_damaged_status_is_refused_in_words_or_comes_back(
        bytes in bytes(any::status(), |update| status::write(update, Form::Refined)),
    ) {
        comes_back(&bytes, status::read, |update| status::write(update, Form::Refined));
    }

    #[test]
    fn damaged_spans_filters_and_times_are_refused_in_words_or_come_back(
        span in bytes(any::nanos(), |span| time::write_duration(*span)),
        point in bytes(any::wall(), |point| time::write_time(*point)),
        filter in bytes(any::millis(), |refuse| filters::write(*refuse)),
    ) {
        comes_back(&span, time::read_duration, |span| time::write_duration(*span));
        comes_back(&point, time::read_time, |point| time::write_time(*point));
        let read = |form: &v1::Filters| Ok::<Duration, String>(filters::read(Some(form)));
        comes_back(&filter, read, |refuse| filters::write(*refuse));
    }

    #[test]
    fn any_number_of_seconds_is_refused_in_words_or_comes_back(bits in anything::<u64>(), near in 0.0..2e10f64) {
        for seconds in [f64::from_bits(bits), near, near * 1000.0] {
            if let Some(span) = judged(|| time::read_seconds(seconds)) {
                prop_assert_eq!(time::read_seconds(time::write_seconds(span)), Ok(span));
            }
            if let Some(point) = judged(|| time::read_timestamp(seconds)) {
                prop_assert_eq!(time::read_timestamp(point.as_secs_f64()), Ok(point));
            }
        }
    }

    #[test]
    fn a_damaged_address_is_refused_in_words_or_comes_back(
        given in text(prop_oneof![Just("agent-7:5051".to_owned()), Just("[fe80::1%eth0]:5051".to_owned())]),
    ) {
        if let Some(address) = judged(|| agent::read_address(&given)) {
            prop_assert_eq!(agent::read_address(&address.to_string()), Ok(address));
        }
    }
}

/// A master that took in an agent with two of these could not read its own registry any more.
#[test]
fn amounts_that_are_too_large_together_are_refused_by_the_one_who_reads_them() {
    let cpus = v1::Resource {
        name: Some("cpus".into()),
        r#type: Some(v1::value::Type::Scalar as i32),
        scalar: Some(v1::value::Scalar { value: Some(1e12) }),
        ..Default::default()
    };
    resources::read(std::slice::from_ref(&cpus)).expect("it is the most");
    let refused = resources::read(&[cpus.clone(), cpus]).expect_err("it is more");
    assert_eq!(refused.to_string(), "cpus is 2000000000000; it must be a number from 0 to 1e12");
}

#[test]
fn a_refusal_shows_no_more_of_a_key_or_role_than_it_takes_to_find_it() {
    let long = "\n".repeat(100_000);
    let resources = resources::write(&"cpus:1".parse().expect("valid"), Form::Refined);
    let mut form = v1::TaskSize { resources, ..Default::default() };
    form.limits.insert(long.clone(), v1::value::Scalar::default());
    judged(|| size::read(&form));
    assert!(size::read(&form).is_err());

    let mut info = v1::FrameworkInfo { name: Some("f".into()), user: Some("u".into()), ..Default::default() };
    info.offer_filters.insert(long.clone(), v1::OfferFilters::default());
    judged(|| framework::read(&info));
    assert!(framework::read(&info).is_err());

    let role = Some(long);
    let allocated = v1::resource::AllocationInfo { role };
    let form = v1::Resource { allocation_info: Some(allocated), ..Default::default() };
    judged(|| resources::check_allocation(std::slice::from_ref(&form), &Role::any()));

    let level = |depth: usize| v1::resource::ReservationInfo {
        r#type: Some(v1::resource::reservation_info::Type::Dynamic as i32),
        role: Some("ä".repeat(511) + &"a".repeat(depth)),
        ..Default::default()
    };
    let form = v1::Resource { name: Some("cpus".into()), reservations: vec![level(1), level(2)], ..form };
    assert!(judged(|| resources::read_one(&form)).is_none(), "neither refines the other");
}

#[test]
fn the_host_of_an_address_is_nothing_that_means_something_else_in_a_log_or_a_link() {
    let long = format!("{}:5051", "a".repeat(254));
    for text in ["a b:5051", "a\n:5051", "user@a:5051", "a/b:5051", "[a]b]:5051", "\u{1b}[2J:5051", &long] {
        agent::read_address(text).expect_err(text);
    }
}
