//! Messages that a real Mesos and its clients sent are understood whole.

use bourse_proto::Required;
use bourse_proto::v1::{executor, scheduler};
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, SerializeOptions};
use serde_json::Value;

use crate::{POOL, golden};

/// Every captured message: the name of its file, and its text.
pub fn captures() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(golden("captures")).expect("the golden folder has captures") {
        let path = entry.expect("a folder that opened can be listed").path();
        let name = path.file_stem().expect("a listed file has a name").to_string_lossy().into_owned();
        found.push((name, std::fs::read_to_string(&path).expect("a listed file can be read")));
    }
    found.sort();
    assert!(found.len() >= 17, "only {} captures are left", found.len());
    found
}

/// The message type of a capture, by the name of its file.
fn type_of(capture: &str) -> &'static str {
    match capture.split('-').collect::<Vec<_>>()[..] {
        ["scheduler", "call", ..] => "bourse.v1.scheduler.Call",
        ["scheduler", "event", ..] => "bourse.v1.scheduler.Event",
        ["executor", "call", ..] => "bourse.v1.executor.Call",
        ["executor", "event", ..] => "bourse.v1.executor.Event",
        _ => {
            panic!("{capture}: name the file scheduler-call-..., scheduler-event-..., executor-call-..., ...")
        }
    }
}

/// The bytes of a capture. A field or an enum value that no `.proto` declares is an error here.
pub fn encoded(capture: &str, json: &str) -> Vec<u8> {
    let message = POOL.get_message_by_name(type_of(capture)).expect("the schema has the message");
    let mut text = serde_json::Deserializer::from_str(json);
    let strict = DeserializeOptions::new().deny_unknown_fields(true);
    DynamicMessage::deserialize_with_options(message, &mut text, &strict)
        .unwrap_or_else(|error| panic!("{capture}: {error}"))
        .encode_to_vec()
}

fn through<M: Message + Required + Default>(capture: &str, bytes: &[u8]) -> Vec<u8> {
    let message = M::decode(bytes).unwrap_or_else(|error| panic!("{capture}: {error}"));
    assert_eq!(message.missing(), None, "{capture}");
    message.encode_to_vec()
}

#[test]
fn every_captured_message_is_read_and_written_without_a_loss() {
    for (capture, json) in captures() {
        let bytes = encoded(&capture, &json);
        let again = match type_of(&capture) {
            "bourse.v1.scheduler.Call" => through::<scheduler::Call>(&capture, &bytes),
            "bourse.v1.scheduler.Event" => through::<scheduler::Event>(&capture, &bytes),
            "bourse.v1.executor.Call" => through::<executor::Call>(&capture, &bytes),
            _ => through::<executor::Event>(&capture, &bytes),
        };
        assert_eq!(again, bytes, "{capture}: the generated type writes other bytes");

        let message = POOL.get_message_by_name(type_of(&capture)).expect("the schema has the message");
        let message =
            DynamicMessage::decode(message, again.as_slice()).expect("what was written can be read");
        let as_mesos = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
        let text = message
            .serialize_with_options(serde_json::value::Serializer, &as_mesos)
            .unwrap_or_else(|error| panic!("{capture}: {error}"));
        let sent: Value = serde_json::from_str(&json).expect("a capture is JSON");
        assert_eq!(plain(text), plain(sent), "{capture}");
    }
}

/// The value without what means the same: an empty list is an absent one, 32 is 32.0.
fn plain(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            Value::from(number.as_f64().expect("a JSON number of a message is a number"))
        }
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| value != &Value::Array(Vec::new()));
            kept.map(|(name, value)| (name, plain(value))).collect()
        }
        other => other,
    }
}
