//! Values: amounts, ranges and sets, and what a resource's type has to do with them.

use std::ops::RangeInclusive;

use bourse_proto::v1;
use bourse_types::{BadItems, ItemSet, Ranges, ResourceValue};

use crate::at::{At, Missing, Place, needed};

/// Ranges or a set that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    /// A range without its begin or end.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A range that runs backwards.
    #[error("the range {0}-{1} ends before it begins; send the smaller number as begin")]
    Reversed(u64, u64),
    /// A bad item of a set.
    #[error(transparent)]
    Item(#[from] BadItems),
}

/// Reads ranges in any order; what touches or overlaps is joined.
pub fn read_ranges(form: &v1::value::Ranges) -> Result<Ranges, At<BadValue>> {
    let read = |(at, range): (usize, &v1::value::Range)| -> Result<RangeInclusive<u64>, At<BadValue>> {
        let end_of = |name: &str, end: &Option<u64>| {
            end.ok_or(BadValue::Missing(Missing)).at(format_args!("range[{at}].{name}"))
        };
        let (begin, end) = (end_of("begin", &range.begin)?, end_of("end", &range.end)?);
        if begin > end {
            return Err(At::new(format_args!("range[{at}]"), BadValue::Reversed(begin, end)));
        }
        Ok(begin..=end)
    };
    // Together and not one by one: each range that comes before the others would move all of them.
    form.range.iter().enumerate().map(read).collect()
}

/// The ranges as a message, lowest first.
pub fn write_ranges(ranges: &Ranges) -> v1::value::Ranges {
    let range = |range: RangeInclusive<u64>| v1::value::Range {
        begin: Some(*range.start()),
        end: Some(*range.end()),
    };
    v1::value::Ranges { range: ranges.iter().map(range).collect() }
}

/// Reads a set; an item that is there twice counts once.
pub fn read_set(form: &v1::value::Set) -> Result<ItemSet, At<BadValue>> {
    let mut set = ItemSet::default();
    for (at, item) in form.item.iter().enumerate() {
        set.insert(item).at(format_args!("item[{at}]"))?;
    }
    Ok(set)
}

/// The set as a message, sorted.
pub fn write_set(set: &ItemSet) -> v1::value::Set {
    v1::value::Set { item: set.iter().map(str::to_owned).collect() }
}

/// Sets the type of a resource and the one of its value fields that belongs to it.
pub(super) fn write(value: &ResourceValue, form: &mut v1::Resource) {
    let kind = match value {
        ResourceValue::Scalar(amount) => {
            form.scalar = Some(v1::value::Scalar { value: Some(amount.as_f64()) });
            v1::value::Type::Scalar
        }
        ResourceValue::Ranges(ranges) => {
            form.ranges = Some(write_ranges(ranges));
            v1::value::Type::Ranges
        }
        ResourceValue::Set(set) => {
            form.set = Some(write_set(set));
            v1::value::Type::Set
        }
    };
    form.r#type = Some(kind as i32);
}

/// The one value field of a resource that its type announces.
pub(super) fn read(form: &v1::Resource) -> Result<ResourceValue, At<super::BadResource>> {
    use super::BadResource;
    use crate::at::Under;

    let number: i32 = *needed("type", &form.r#type)?;
    let kind = v1::value::Type::try_from(number).map_err(|_| BadResource::Type(number)).at("type")?;
    if kind == v1::value::Type::Text {
        return Err(At::new("type", BadResource::Text));
    }
    let present = [
        (v1::value::Type::Scalar, "scalar", form.scalar.is_some()),
        (v1::value::Type::Ranges, "ranges", form.ranges.is_some()),
        (v1::value::Type::Set, "set", form.set.is_some()),
    ];
    if let Some((_, other, _)) = present.into_iter().find(|(of, _, is_set)| *is_set && *of != kind) {
        return Err(At::new(other, BadResource::OtherValue(kind.as_str_name())));
    }
    match kind {
        v1::value::Type::Scalar => {
            let scalar: &v1::value::Scalar = needed("scalar", &form.scalar)?;
            let units: f64 = *needed("scalar.value", &scalar.value)?;
            super::read_amount(form.name(), units).at("scalar.value").map(ResourceValue::Scalar)
        }
        v1::value::Type::Ranges => {
            let ranges: &v1::value::Ranges = needed("ranges", &form.ranges)?;
            read_ranges(ranges).under("ranges").map(ResourceValue::Ranges)
        }
        v1::value::Type::Set => {
            let set: &v1::value::Set = needed("set", &form.set)?;
            read_set(set).under("set").map(ResourceValue::Set)
        }
        v1::value::Type::Text => Err(At::new("type", BadResource::Text)),
    }
}
