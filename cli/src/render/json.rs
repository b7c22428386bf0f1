//! The API's messages as JSON.

use std::sync::LazyLock;

use anyhow::Context;
use bourse_proto::FILE_DESCRIPTOR_SET;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the build compiled these descriptors itself")
});

/// A message as a JSON value: proto names, enum names, numbers as numbers, defaults written out so that a key is always
/// there.
pub fn json<M: Message + Name>(message: &M) -> anyhow::Result<serde_json::Value> {
    let name = M::full_name();
    let descriptor = POOL.get_message_by_name(&name).with_context(|| format!("no descriptor of {name}"))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    Ok(dynamic.serialize_with_options(serde_json::value::Serializer, &options)?)
}
