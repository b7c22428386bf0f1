//! What a framework says about itself.

use std::collections::{BTreeMap, BTreeSet};

use bourse_proto::v1;
use bourse_proto::v1::framework_info::{Capability, capability};
use bourse_proto::v1::offer_filters::{MinAllocatableResources, ResourceQuantities};
use bourse_types::{BadId, BadRole, Capabilities, FrameworkInfo, Principal, Quantities, Role};

use crate::at::{At, Key, Missing, Place, Under, needed};
use crate::ids::{BadWireId, WireId};
use crate::labels::{self, BadLabels};
use crate::resources::{self, BadResource};
use crate::role;
use crate::time::{self, BadTime};

/// A framework's description that cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadFramework {
    /// A required field that was not sent.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A bad id.
    #[error(transparent)]
    Id(#[from] BadWireId),
    /// A bad role.
    #[error(transparent)]
    Role(#[from] BadRole),
    /// A role that is there twice.
    #[error("role {0} is there twice; leave one out")]
    Repeated(Role),
    /// `role` of a framework with MULTI_ROLE.
    #[error("a framework with MULTI_ROLE has roles and no role; leave role out and put it into roles")]
    RoleAndMultiRole,
    /// `roles` of a framework without MULTI_ROLE.
    #[error("roles need the capability MULTI_ROLE; add it, or send one role as role")]
    RolesWithoutMultiRole,
    /// A bad principal.
    #[error(transparent)]
    Principal(#[from] BadId),
    /// A bad failover timeout.
    #[error(transparent)]
    Time(#[from] BadTime),
    /// Bad labels.
    #[error(transparent)]
    Labels(#[from] BadLabels),
    /// Bad minimums.
    #[error(transparent)]
    Quantities(#[from] BadResource),
}

/// Reads a framework's description.
///
/// A framework without MULTI_ROLE has exactly one role, `*` where it names none. One with it has the roles it
/// lists, which may be none. An id without text counts as no id, as the old clients send it. Capabilities
/// that this release does not know are ignored.
pub fn read(form: &v1::FrameworkInfo) -> Result<FrameworkInfo, At<BadFramework>> {
    let name: &String = needed("name", &form.name)?;
    let user: &String = needed("user", &form.user)?;
    let capabilities = read_capabilities(&form.capabilities);
    let id = form.id.as_ref().filter(|id| id.value.as_deref() != Some(""));
    Ok(FrameworkInfo {
        id: id.map(|id| WireId::read(id).under::<BadFramework>("id")).transpose()?,
        name: name.clone(),
        user: user.clone(),
        principal: form.principal.as_ref().map(Principal::new).transpose().at("principal")?,
        roles: read_roles(form, capabilities)?,
        failover_timeout: time::read_seconds(form.failover_timeout()).at("failover_timeout")?,
        checkpoint: form.checkpoint(),
        hostname: form.hostname.clone(),
        webui_url: form.webui_url.clone(),
        capabilities,
        labels: labels::read(form.labels.as_ref()).under("labels")?,
        min_allocatable: read_minimums(&form.offer_filters)?,
    })
}

fn read_capabilities(forms: &[Capability]) -> Capabilities {
    let mut capabilities = Capabilities::default();
    let known = forms.iter().filter_map(|form| capability::Type::try_from(form.r#type?).ok());
    for capability in known {
        capabilities.insert(capability.as_str_name());
    }
    capabilities
}

fn read_roles(form: &v1::FrameworkInfo, capabilities: Capabilities) -> Result<Vec<Role>, At<BadFramework>> {
    if !capabilities.multi_role {
        if !form.roles.is_empty() {
            return Err(At::new("roles", BadFramework::RolesWithoutMultiRole));
        }
        return Ok(vec![Role::new(form.role()).at("role")?]);
    }
    if form.role.is_some() {
        return Err(At::new("role", BadFramework::RoleAndMultiRole));
    }
    let roles = role::read_list("roles", &form.roles)?;
    let repeated = {
        let mut seen = BTreeSet::new();
        roles.iter().position(|role| !seen.insert(role))
    };
    match repeated {
        Some(at) => Err(At::new(format_args!("roles[{at}]"), BadFramework::Repeated(roles[at].clone()))),
        None => Ok(roles),
    }
}

type Minimums = BTreeMap<Role, Vec<Quantities>>;

fn read_minimums(forms: &BTreeMap<String, v1::OfferFilters>) -> Result<Minimums, At<BadFramework>> {
    let mut minimums = BTreeMap::new();
    for (name, filters) in forms {
        let role = Role::new(name).at(format_args!("offer_filters[{}]", Key(name)))?;
        let Some(minimum) = &filters.min_allocatable_resources else { continue };
        let list = |(at, form): (usize, &ResourceQuantities)| {
            let key = Key(name);
            let path = format_args!("offer_filters[{key}].min_allocatable_resources.quantities[{at}]");
            resources::read_quantities(&form.quantities).under(path)
        };
        minimums.insert(role, minimum.quantities.iter().enumerate().map(list).collect::<Result<_, _>>()?);
    }
    Ok(minimums)
}

/// The description as a message, with the failover timeout and checkpoint said even where they are the
/// default.
///
/// Several roles without MULTI_ROLE have no form on the wire; they are written so that a reader refuses them
/// with the remedy.
pub fn write(info: &FrameworkInfo) -> v1::FrameworkInfo {
    let (role, roles) = match (info.capabilities.multi_role, &info.roles[..]) {
        (false, []) => (None, Vec::new()),
        (false, [one]) => (Some(one.as_str().to_owned()), Vec::new()),
        (_, several) => (None, role::write_list(several)),
    };
    v1::FrameworkInfo {
        user: Some(info.user.clone()),
        name: Some(info.name.clone()),
        id: info.id.as_ref().map(WireId::write),
        failover_timeout: Some(time::write_seconds(info.failover_timeout)),
        checkpoint: Some(info.checkpoint),
        role,
        roles,
        hostname: info.hostname.clone(),
        principal: info.principal.as_ref().map(|principal| principal.as_str().to_owned()),
        webui_url: info.webui_url.clone(),
        capabilities: write_capabilities(info.capabilities),
        labels: labels::write(&info.labels),
        offer_filters: info.min_allocatable.iter().map(write_minimum).collect(),
    }
}

fn write_capabilities(capabilities: Capabilities) -> Vec<Capability> {
    let known = capabilities.names().filter_map(capability::Type::from_str_name);
    known.map(|capability| Capability { r#type: Some(capability as i32) }).collect()
}

fn write_minimum((role, minimum): (&Role, &Vec<Quantities>)) -> (String, v1::OfferFilters) {
    let quantities = |quantities: &Quantities| ResourceQuantities {
        quantities: quantities
            .iter()
            .map(|(name, amount)| {
                (name.as_str().to_owned(), v1::value::Scalar { value: Some(amount.as_f64()) })
            })
            .collect(),
    };
    let quantities = minimum.iter().map(quantities).collect();
    let filters =
        v1::OfferFilters { min_allocatable_resources: Some(MinAllocatableResources { quantities }) };
    (role.as_str().to_owned(), filters)
}
