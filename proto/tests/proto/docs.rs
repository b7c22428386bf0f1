//! A client that asks by reflection finds everything explained.

use std::collections::BTreeSet;

use prost_reflect::FileDescriptor;

use crate::POOL;

fn our_files() -> impl Iterator<Item = FileDescriptor> {
    POOL.files().filter(|file| file.package_name().starts_with("bourse."))
}

/// Is there a comment in front of what the path names?
fn has_doc(file: &FileDescriptor, path: &[i32]) -> bool {
    let locations = file.file_descriptor_proto().source_code_info.iter().flat_map(|info| &info.location);
    let mut comments = locations.filter(|location| location.path == path).map(|l| l.leading_comments());
    comments.any(|comment| !comment.trim().is_empty())
}

/// Names of messages that say nothing that their call does not: `XRequest` and `XResponse` of a call `X`.
fn named_by_their_call() -> BTreeSet<String> {
    let calls = POOL.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    calls
        .flat_map(|call| {
            [(call.input(), "Request"), (call.output(), "Response")].into_iter().filter_map(
                move |(message, kind)| {
                    let stem = message.name().strip_suffix(kind)?;
                    stem.contains(call.name()).then(|| message.full_name().to_owned())
                },
            )
        })
        .collect()
}

#[test]
fn each_message_enum_and_service_has_a_doc() {
    let exempt = named_by_their_call();
    let mut bare = Vec::new();
    for message in
        POOL.all_messages().filter(|m| m.package_name().starts_with("bourse.") && !m.is_map_entry())
    {
        if !exempt.contains(message.full_name()) && !has_doc(&message.parent_file(), message.path()) {
            bare.push(message.full_name().to_owned());
        }
    }
    for names in POOL.all_enums().filter(|names| names.package_name().starts_with("bourse.")) {
        if !has_doc(&names.parent_file(), names.path()) {
            bare.push(names.full_name().to_owned());
        }
    }
    for service in POOL.services() {
        if !has_doc(&service.parent_file(), service.path()) {
            bare.push(service.full_name().to_owned());
        }
    }
    assert!(bare.is_empty(), "write a comment line in front of each of: {bare:#?}");
}

#[test]
fn each_file_says_first_what_it_is_for() {
    // 12 is the number of `syntax` in a file's descriptor: the comment in front of it opens the file.
    let bare: Vec<_> =
        our_files().filter(|file| !has_doc(file, &[12])).map(|file| file.name().to_owned()).collect();
    assert!(bare.is_empty(), "write what the file is for in front of `syntax` in each of: {bare:#?}");
}

#[test]
fn the_descriptors_hold_every_service_for_reflection() {
    let found: BTreeSet<_> = POOL.services().map(|service| service.full_name().to_owned()).collect();
    for service in
        ["bourse.v1.scheduler.Scheduler", "bourse.operator.v1.Operator", "bourse.agent.v1.AgentLink"]
    {
        assert!(found.contains(service), "{service} is not among {found:?}");
    }
}
