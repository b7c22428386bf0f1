//! Which required field a message lacks.
//!
//! Mesos declares some fields `required`; here they are `optional` with the option `(bourse.v1.required)`, as
//! the generated code could not tell a missing one from its default otherwise. A door asks
//! [`Required::missing`] once for each message that it decodes, and refuses it with the answer. The
//! implementations are generated from the descriptors (`build/required.rs`); this file holds the helpers that
//! they are made of.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// So much of a key of a map is shown.
const KEY_CHARS: usize = 64;

/// A message that knows which of its fields must be there.
pub trait Required {
    /// The path of the first required field that is absent, at any depth, such as
    /// `accept.operations[0].launch.task_infos[2].agent_id.value`, or `None` if nothing is. List items are
    /// named by their position from 0, map values by their key (`limits["cpus"].value`).
    ///
    /// Of a key at most 64 characters are shown.
    ///
    /// A field is absent only if it was not sent: an empty text or a zero is there. What a carrier holds as
    /// bytes is not looked into; decode it and ask that message.
    fn missing(&self) -> Option<String>;
}

impl<M: Required> Required for Box<M> {
    fn missing(&self) -> Option<String> {
        M::missing(self)
    }
}

fn absent(name: &str, is_absent: bool) -> Option<String> {
    is_absent.then(|| name.to_owned())
}

fn below(name: &str, part: &impl Required) -> Option<String> {
    part.missing().map(|path| format!("{name}.{path}"))
}

fn inside(name: &str, part: &Option<impl Required>) -> Option<String> {
    part.as_ref().and_then(|part| below(name, part))
}

fn items(name: &str, list: &[impl Required]) -> Option<String> {
    let missing =
        |(at, item): (usize, &_)| Required::missing(item).map(|path| format!("{name}[{at}].{path}"));
    list.iter().enumerate().find_map(missing)
}

fn values<K: Debug, M: Required>(name: &str, map: &BTreeMap<K, M>) -> Option<String> {
    map.iter().find_map(|(key, value)| value.missing().map(|path| format!("{name}[{}].{path}", shown(key))))
}

/// A key as people find it by: whoever sent it may have made it as long as a message.
fn shown(key: &impl Debug) -> String {
    let text = format!("{key:?}");
    match text.char_indices().nth(KEY_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

include!(concat!(env!("OUT_DIR"), "/required.rs"));
