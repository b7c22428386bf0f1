//! The API's messages as JSON.

use std::sync::LazyLock;

use anyhow::Context;
use bourse_proto::FILE_DESCRIPTOR_SET;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, SerializeOptions, Value};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the build compiled these descriptors itself")
});

/// A message as a JSON value: proto names, enum names, numbers as numbers, defaults written out and what is not known
/// as null, so that a key is always there. Of a oneof there is the one that is set.
pub fn json<M: Message + Name>(message: &M) -> anyhow::Result<serde_json::Value> {
    let name = M::full_name();
    let descriptor = POOL.get_message_by_name(&name).with_context(|| format!("no descriptor of {name}"))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    let mut value = dynamic.serialize_with_options(serde_json::value::Serializer, &options)?;
    add_nulls(&dynamic, &mut value);
    Ok(value)
}

/// Proto's JSON leaves out messages and optional fields that are not set: a reader could not tell them from a mistake in
/// a key.
fn add_nulls(message: &DynamicMessage, value: &mut serde_json::Value) {
    // A duration or a timestamp is a string.
    let serde_json::Value::Object(object) = value else { return };
    for field in message.descriptor().fields() {
        if field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic()) {
            continue;
        }
        if field.supports_presence() && !message.has_field(&field) {
            object.insert(field.name().to_owned(), serde_json::Value::Null);
            continue;
        }
        let Some(inner) = object.get_mut(field.name()) else { continue };
        match (&*message.get_field(&field), inner) {
            (Value::Message(message), inner) => add_nulls(message, inner),
            (Value::List(messages), serde_json::Value::Array(values)) => {
                for (message, value) in messages.iter().zip(values) {
                    if let Some(message) = message.as_message() {
                        add_nulls(message, value);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bourse_proto::operator::{Task, TaskUse};

    use super::*;

    #[test]
    fn what_is_not_known_is_null_and_not_missing() {
        let mut task = Task { id: "t".into(), ..Task::default() };
        let keys =
            |value: &serde_json::Value| value.as_object().expect("an object").keys().cloned().collect();
        let without: Vec<String> = keys(&json(&task).expect("JSON"));
        assert_eq!(json(&task).expect("JSON")["used"], serde_json::Value::Null);
        task.used = Some(TaskUse::default());
        let with: Vec<String> = keys(&json(&task).expect("JSON"));
        assert_eq!(with, without);
    }
}
