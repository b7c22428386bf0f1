//! Names, numbers, labels, types and defaults are those of Mesos v1.

use std::collections::BTreeSet;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::{POOL, read_golden};

/// The packages that are Mesos' own; ours are elsewhere.
const PACKAGES: [&str; 3] = ["bourse.v1", "bourse.v1.scheduler", "bourse.v1.executor"];
/// Bourse's own messages in those packages.
const OURS: [&str; 5] =
    ["Exit", "LinuxInfo.HugePages", "Offer.Operation.Resize", "TaskSize", "scheduler.CallAccepted"];
/// Its own values, of enums that only Bourse's own clients and agents send: these start there too.
const OUR_VALUES: [&str; 6] = [
    "AgentInfo.Capability.Type TASK_CONTROLS 1003",
    "AgentInfo.Capability.Type TASK_EXCLUSIVE_CPUS 1004",
    "AgentInfo.Capability.Type TASK_NAMESPACES 1002",
    "AgentInfo.Capability.Type TASK_RESIZE 1000",
    "AgentInfo.Capability.Type TASK_ROOTFS 1001",
    "Offer.Operation.Type RESIZE 1000",
];
/// Bourse's own fields in messages of Mesos start here.
const FIRST_OF_OURS: u32 = 1000;

fn short(full_name: &str) -> &str {
    full_name.strip_prefix("bourse.v1.").unwrap_or(full_name)
}

fn kind(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(message) => short(message.full_name()).to_owned(),
        Kind::Enum(names) => short(names.full_name()).to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}

/// The field as a line of the golden table.
fn line(message: &MessageDescriptor, field: &FieldDescriptor) -> String {
    let required = POOL.get_extension_by_name("bourse.v1.required").expect("the option is declared");
    let (label, kind) = match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            ("map".to_owned(), format!("{},{}", kind(&key), kind(&value)))
        }
        _ => {
            let is_required = field.options().get_extension(&required).as_bool() == Some(true);
            let label = match field.containing_oneof() {
                Some(oneof) => format!("oneof:{}", oneof.name()),
                None if field.is_list() => "repeated".to_owned(),
                None if is_required => "required".to_owned(),
                None => "optional".to_owned(),
            };
            (label, kind(field))
        }
    };
    let default = match field.field_descriptor_proto().default_value.as_deref() {
        Some(number) if field.kind() == Kind::Double => {
            format!(" {:?}", number.parse::<f64>().expect("the default of a double is a number"))
        }
        Some(value) => format!(" {value}"),
        None => String::new(),
    };
    format!("{} {} {} {label} {kind}{default}", short(message.full_name()), field.name(), field.number())
}

#[test]
fn every_name_and_number_is_that_of_mesos() {
    let table = read_golden("mesos-v1-names.txt");
    let mesos: BTreeSet<_> = table.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();

    let mut bourse = BTreeSet::new();
    for message in POOL.all_messages() {
        let name = short(message.full_name());
        if !PACKAGES.contains(&message.package_name()) || message.is_map_entry() || OURS.contains(&name) {
            continue;
        }
        let fields: Vec<_> = message.fields().filter(|field| field.number() < FIRST_OF_OURS).collect();
        if fields.is_empty() {
            bourse.insert(format!("message {name}"));
        }
        bourse.extend(fields.iter().map(|field| line(&message, field)));
    }
    for names in POOL.all_enums().filter(|names| PACKAGES.contains(&names.package_name())) {
        for value in names.values() {
            let line = format!("{} {} {}", short(names.full_name()), value.name(), value.number());
            if !OUR_VALUES.contains(&line.as_str()) {
                bourse.insert(format!("enum {line}"));
            }
        }
    }

    let lost: Vec<_> = mesos.difference(&bourse).collect();
    let added: Vec<_> = bourse.difference(&mesos).collect();
    assert!(lost.is_empty() && added.is_empty(), "Mesos has {lost:#?}\nwhere Bourse has {added:#?}");
    assert!(mesos.len() > 700, "the golden table was cut to {} lines", mesos.len());
}

#[test]
fn fields_of_our_own_stay_out_of_the_numbers_of_mesos() {
    let status = POOL.get_message_by_name("bourse.v1.TaskStatus").expect("the schema has TaskStatus");
    let exit = status.get_field_by_name("exit").expect("TaskStatus has our field");
    assert_eq!(exit.number(), FIRST_OF_OURS);
}
