//! Attributes of agents.

use bourse_proto::v1;
use bourse_types::{AttributeValue, Attributes, BadAmount, Milli};

use crate::at::{At, Missing, Place, Under, needed};
use crate::resources::values::{self, BadValue};

/// An attribute that cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadAttribute {
    /// Without name, type, or the value that its type announces.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// With a type that this release does not know.
    #[error("{0} is not the number of a value type; send 0 (SCALAR), 1 (RANGES), 2 (SET) or 3 (TEXT)")]
    Type(i32),
    /// A number that is no amount.
    #[error(transparent)]
    Amount(#[from] BadAmount),
    /// Ranges or a set that cannot be read.
    #[error(transparent)]
    Value(#[from] BadValue),
}

/// Reads attributes. A set is read as its text form, as in Mesos.
pub fn read(forms: &[v1::Attribute]) -> Result<Attributes, At<BadAttribute>> {
    forms.iter().enumerate().map(|(at, form)| read_one(form).under(format_args!("[{at}]"))).collect()
}

fn read_one(form: &v1::Attribute) -> Result<(String, AttributeValue), At<BadAttribute>> {
    let name: &String = needed("name", &form.name)?;
    Ok((name.clone(), read_value(form)?))
}

fn read_value(form: &v1::Attribute) -> Result<AttributeValue, At<BadAttribute>> {
    let number: i32 = *needed("type", &form.r#type)?;
    let kind = v1::value::Type::try_from(number).map_err(|_| BadAttribute::Type(number)).at("type")?;
    match kind {
        v1::value::Type::Scalar => {
            let scalar: &v1::value::Scalar = needed("scalar", &form.scalar)?;
            let number: f64 = *needed("scalar.value", &scalar.value)?;
            Ok(AttributeValue::Scalar(Milli::from_units(number).at("scalar.value")?))
        }
        v1::value::Type::Ranges => {
            let ranges: &v1::value::Ranges = needed("ranges", &form.ranges)?;
            Ok(AttributeValue::Ranges(values::read_ranges(ranges).under("ranges")?))
        }
        v1::value::Type::Set => {
            let set: &v1::value::Set = needed("set", &form.set)?;
            Ok(AttributeValue::text(values::read_set(set).under::<BadAttribute>("set")?.to_string()))
        }
        v1::value::Type::Text => {
            let text: &v1::value::Text = needed("text", &form.text)?;
            let text: &String = needed("text.value", &text.value)?;
            Ok(AttributeValue::text(text))
        }
    }
}

/// The attributes as messages, sorted by name.
pub fn write(attributes: &Attributes) -> Vec<v1::Attribute> {
    let form = |(name, value): (&str, &AttributeValue)| {
        let form = v1::Attribute { name: Some(name.to_owned()), ..Default::default() };
        match value {
            AttributeValue::Text(text) => v1::Attribute {
                r#type: Some(v1::value::Type::Text as i32),
                text: Some(v1::value::Text { value: Some(text.to_string()) }),
                ..form
            },
            AttributeValue::Scalar(number) => v1::Attribute {
                r#type: Some(v1::value::Type::Scalar as i32),
                scalar: Some(v1::value::Scalar { value: Some(number.as_f64()) }),
                ..form
            },
            AttributeValue::Ranges(ranges) => v1::Attribute {
                r#type: Some(v1::value::Type::Ranges as i32),
                ranges: Some(values::write_ranges(ranges)),
                ..form
            },
        }
    };
    attributes.iter().map(form).collect()
}
