//! Resources, in both forms that Mesos clients know.
//!
//! Frameworks with RESERVATION_REFINEMENT see a stack of `reservations`, and `role` is absent. All others see
//! the form before it: `role`, and for a dynamic reservation `reservation`. Both are read, told apart by what
//! is set; which one is written is for the caller to say.
//!
//! `allocation_info` is not part of a resource here: an offer and a launch are allocated to one role as a
//! whole, and the master keeps that role. [`allocate`] sets it on what is sent, [`check_allocation`] compares
//! it in what comes back.

mod disk;
mod reservations;
pub mod values;

use std::sync::Arc;

use bourse_proto::v1;
use bourse_types::{
    BadAmount, BadId, BadName, BadRole, Milli, Name, Quantities, Resource, ResourceKey, Resources, Role,
};

use crate::at::{At, Key, Missing, Place, Under, needed, number};
use crate::labels::BadLabels;
use values::BadValue;

/// How reservations are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As a stack in `reservations`, with `role` absent: for frameworks with RESERVATION_REFINEMENT, and
    /// everywhere inside Bourse.
    Refined,
    /// As `role` and `reservation`: for frameworks without it. More than one reservation cannot be said in
    /// this form; such a resource is left out, as Mesos never offers it to such a framework.
    PreRefinement,
}

/// A resource that cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadResource {
    /// A required field that was not sent, or not the value that the type announces.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A bad name.
    #[error(transparent)]
    Name(#[from] BadName),
    /// An amount that is none.
    #[error("{name} is {}; it must be a number from 0 to 1e12", number(*units))]
    Amount {
        /// Of which resource.
        name: String,
        /// What was sent.
        units: f64,
    },
    /// Bad ranges or items.
    #[error(transparent)]
    Value(#[from] BadValue),
    /// A type that this release does not know.
    #[error("{0} is not the number of a value type; send 0 (SCALAR), 1 (RANGES) or 2 (SET)")]
    Type(i32),
    /// TEXT, which is for attributes.
    #[error("a resource cannot be TEXT; send SCALAR, RANGES or SET")]
    Text,
    /// A value of another type beside the announced one.
    #[error("the type is {0}, but this value is set too; leave it out")]
    OtherValue(&'static str),
    /// A bad role.
    #[error(transparent)]
    Role(#[from] BadRole),
    /// A bad principal.
    #[error(transparent)]
    Principal(#[from] BadId),
    /// Bad labels.
    #[error(transparent)]
    Labels(#[from] BadLabels),
    /// Something reserved for everybody.
    #[error(
        "role * means unreserved; name the role that the reservation is for, or leave the reservation out"
    )]
    ReservedForAny,
    /// Both forms at once.
    #[error("set beside reservations, which say it all; leave it out")]
    BothForms,
    /// A reservation that does not say how it came about.
    #[error("the reservation is neither STATIC nor DYNAMIC; set its type")]
    ReservationType,
    /// A refinement that the agent's flags cannot have made.
    #[error("only the first reservation of a stack can be STATIC; send DYNAMIC")]
    StaticRefinement,
    /// A refinement for a role that is not below the one before.
    // Of each enough to find it by: a role may have 1,024 bytes.
    #[error(
        "role {role:.64} does not refine {below:.64}; name a role below it, such as {below:.64}/{role:.64}"
    )]
    NotARefinement {
        /// The role of the reservation.
        role: Role,
        /// The role that it stands on.
        below: Role,
    },
    /// A number that means nothing here.
    #[error("{0} is not a value of {1} that this release knows; leave it out or send a known one")]
    Unknown(i32, &'static str),
    /// A volume of a persistent disk with an image or a source of its own.
    #[error("the volume of a disk resource cannot have an image or a source; leave them out")]
    VolumeSource,
    /// Allocated to another role.
    #[error(
        "allocated to role {found}, but the offer was to {wanted}; send the offer's allocation_info or none"
    )]
    Allocation {
        /// The role that was sent, cut to 64 characters, without control characters.
        found: String,
        /// The role of the offer.
        wanted: Role,
    },
}

/// Reads a list of resources in either form. Equal identities are added up, and empty ones left out. Refuses a sum that
/// could not be read again when it is written.
pub fn read(forms: &[v1::Resource]) -> Result<Resources, At<BadResource>> {
    let one = |(at, form)| read_one(form).under(format_args!("[{at}]"));
    let resources: Resources = forms.iter().enumerate().map(one).collect::<Result<_, At<BadResource>>>()?;
    match resources.excess() {
        Some(entry) => {
            let units = entry.value.quantity().as_f64();
            Err(At::new("", BadResource::Amount { name: entry.key.name.to_string(), units }))
        }
        None => Ok(resources),
    }
}

/// Reads one resource in either form.
pub fn read_one(form: &v1::Resource) -> Result<Resource, At<BadResource>> {
    let name: &String = needed("name", &form.name)?;
    let provider = match &form.provider_id {
        Some(id) => Some(Arc::from(needed::<String, BadResource>("provider_id.value", &id.value)?.as_str())),
        None => None,
    };
    let key = ResourceKey {
        name: Name::new(name).at("name")?,
        reservations: reservations::read(form)?,
        disk: form.disk.as_ref().map(|disk| disk::read(disk).under("disk")).transpose()?,
        revocable: form.revocable.is_some(),
        shared: form.shared.is_some(),
        provider,
    };
    Ok(Resource { key, value: values::read(form)? })
}

/// The resources as messages, not allocated to anybody.
pub fn write(resources: &Resources, form: Form) -> Vec<v1::Resource> {
    resources.iter().filter_map(|resource| write_one(resource, form)).collect()
}

/// One resource as a message, or none where the older form cannot say it.
pub fn write_one(resource: &Resource, form: Form) -> Option<v1::Resource> {
    let key = &resource.key;
    let mut message = v1::Resource {
        name: Some(key.name.as_str().to_owned()),
        disk: key.disk.as_ref().map(disk::write),
        revocable: key.revocable.then_some(v1::resource::RevocableInfo {}),
        shared: key.shared.then_some(v1::resource::SharedInfo {}),
        provider_id: key.provider.as_ref().map(|id| v1::ResourceProviderId { value: Some(id.to_string()) }),
        ..Default::default()
    };
    values::write(&resource.value, &mut message);
    reservations::write(&key.reservations, form, &mut message).then_some(message)
}

/// Marks resources as allocated to a role, as every offer and every task of an update does.
pub fn allocate(forms: &mut [v1::Resource], role: &Role) {
    for form in forms {
        form.allocation_info = Some(v1::resource::AllocationInfo { role: Some(role.as_str().to_owned()) });
    }
}

/// Refuses resources that are allocated to another role than `role`. Without `allocation_info`, as frameworks
/// without MULTI_ROLE send them, they pass: the offer says whose they are.
pub fn check_allocation(forms: &[v1::Resource], role: &Role) -> Result<(), At<BadResource>> {
    for (at, form) in forms.iter().enumerate() {
        let Some(found) = form.allocation_info.as_ref().and_then(|info| info.role.as_deref()) else {
            continue;
        };
        if found != role.as_str() {
            // It was never checked to be a role.
            let found: String = found.chars().take(64).collect();
            let found = found.escape_debug().to_string();
            let wrong = BadResource::Allocation { found, wanted: role.clone() };
            return Err(At::new(format_args!("[{at}].allocation_info.role"), wrong));
        }
    }
    Ok(())
}

/// Reads amounts by name, as quotas and minimums carry them.
pub fn read_quantities<'a>(
    forms: impl IntoIterator<Item = (&'a String, &'a v1::value::Scalar)>,
) -> Result<Quantities, At<BadResource>> {
    let named = |(name, form)| read_quantity(name, form).under(format_args!("quantities[{}]", Key(name)));
    forms.into_iter().map(named).collect()
}

fn read_quantity(name: &String, form: &v1::value::Scalar) -> Result<(Name, Milli), At<BadResource>> {
    let units: f64 = *needed("value", &form.value)?;
    Ok((Name::new(name).at("")?, read_amount(name, units).at("value")?))
}

/// Reads an amount of the resource `name`.
pub(crate) fn read_amount(name: &str, units: f64) -> Result<Milli, BadResource> {
    let wrong = |_: BadAmount| BadResource::Amount { name: name.chars().take(64).collect(), units };
    Milli::from_units(units).map_err(wrong)
}
