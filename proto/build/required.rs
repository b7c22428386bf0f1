//! Generates the `Required` of every message from the descriptors: what Mesos declares `required` and we
//! declare `optional` with the option `(bourse.v1.required)`.
//!
//! The code that comes out visits only what can fail: a message that holds no required field, itself or
//! further in, answers `None` at once and is not descended into by those around it.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write;

use heck::{ToSnakeCase, ToUpperCamelCase};
use protox::prost_reflect::{
    DescriptorPool, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor,
};

/// The option that marks a field, by its full name.
const OPTION: &str = "bourse.v1.required";

/// The text of the implementations, to be included next to the trait and its helpers.
pub fn generate(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let option = pool.get_extension_by_name(OPTION).ok_or_else(|| format!("no .proto declares {OPTION}"))?;
    let ours = |message: &MessageDescriptor| message.package_name().starts_with("bourse.");
    let messages: Vec<_> = pool.all_messages().filter(|m| ours(m) && !m.is_map_entry()).collect();
    let checked = with_required(&messages, &option);

    let mut text = String::new();
    for message in &messages {
        let tests = tests(message, &option, &checked)?;
        let body = match tests.split_first() {
            None => "None".to_owned(),
            Some((first, rest)) => rest
                .iter()
                .fold(first.clone(), |body, test| format!("{body}\n            .or_else(|| {test})")),
        };
        writeln!(
            text,
            "impl Required for {} {{\n    fn missing(&self) -> Option<String> {{\n        {body}\n    }}\n}}\n",
            rust_path(message),
        )?;
    }
    Ok(text)
}

/// The messages that have a required field or reach a message that has one.
fn with_required(messages: &[MessageDescriptor], option: &ExtensionDescriptor) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    loop {
        let before = found.len();
        for message in messages {
            let fails = |field: FieldDescriptor| {
                is_required(&field, option)
                    || held(&field).is_some_and(|held| found.contains(held.full_name()))
            };
            if message.fields().any(fails) {
                found.insert(message.full_name().to_owned());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// One expression for each way to fail.
fn tests(
    message: &MessageDescriptor,
    option: &ExtensionDescriptor,
    checked: &BTreeSet<String>,
) -> Result<Vec<String>, Box<dyn Error>> {
    let descends = |field: &FieldDescriptor| held(field).is_some_and(|m| checked.contains(m.full_name()));
    let mut tests = Vec::new();
    for field in message.fields() {
        let (name, member) = (field.name(), member(field.name()));
        let required = is_required(&field, option);
        if required && (!field.supports_presence() || field.containing_oneof().is_some()) {
            return Err(format!("{}: only an optional field can have {OPTION}", field.full_name()).into());
        }
        if required {
            tests.push(format!("absent({name:?}, self.{member}.is_none())"));
        }
        if field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic()) || !descends(&field) {
            continue;
        }
        let helper = match (field.is_map(), field.is_list()) {
            (true, _) => "values",
            (_, true) => "items",
            _ => "inside",
        };
        tests.push(format!("{helper}({name:?}, &self.{member})"));
    }
    for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        tests.extend(oneof_test(message, &oneof, &descends)?);
    }
    Ok(tests)
}

fn oneof_test(
    message: &MessageDescriptor,
    oneof: &OneofDescriptor,
    descends: &dyn Fn(&FieldDescriptor) -> bool,
) -> Result<Option<String>, std::fmt::Error> {
    if !oneof.fields().any(|field| descends(&field)) {
        return Ok(None);
    }
    let path = format!("{}::{}", module_path(message), oneof.name().to_upper_camel_case());
    let mut arms = String::new();
    for field in oneof.fields().filter(descends) {
        let variant = field.name().to_upper_camel_case();
        write!(arms, "Some({path}::{variant}(part)) => below({:?}, part), ", field.name())?;
    }
    if !oneof.fields().all(|field| descends(&field)) {
        write!(arms, "Some(_) => None, ")?;
    }
    Ok(Some(format!("match &self.{} {{ {arms}None => None }}", member(oneof.name()))))
}

fn is_required(field: &FieldDescriptor, option: &ExtensionDescriptor) -> bool {
    field.options().get_extension(option).as_bool() == Some(true)
}

/// The message that a field holds, as its value, in a list, or as the values of a map.
fn held(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => match entry.map_entry_value_field().kind() {
            Kind::Message(value) => Some(value),
            _ => None,
        },
        Kind::Message(message) => Some(message),
        _ => None,
    }
}

/// Where prost puts the message: packages and enclosing messages become modules.
fn rust_path(message: &MessageDescriptor) -> String {
    let name = message.name().to_upper_camel_case();
    match message.parent_message() {
        Some(parent) => format!("{}::{name}", module_path(&parent)),
        None => format!("crate::{}::{name}", message.package_name().replace('.', "::")),
    }
}

/// The module that holds what is declared inside the message.
fn module_path(message: &MessageDescriptor) -> String {
    let path = rust_path(message);
    let (outer, _) = path.rsplit_once("::").expect("a path of rust_path has at least a package");
    format!("{outer}::{}", message.name().to_snake_case())
}

/// A field's name in Rust.
fn member(name: &str) -> String {
    let keyword =
        matches!(name, "type" | "as" | "for" | "in" | "match" | "mod" | "move" | "ref" | "use" | "where");
    if keyword { format!("r#{name}") } else { name.to_owned() }
}
