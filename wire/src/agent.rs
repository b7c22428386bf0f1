//! What an agent says about itself.
//!
//! Mesos' `AgentInfo` has no room for the address of the agent's API and for its version; the link and the
//! disk form carry them beside it, and the caller puts them together.

use std::collections::BTreeSet;

use bourse_proto::v1::{self, agent_info::Capability, agent_info::capability};
use bourse_types::{Address, AgentCapability, AgentId, AgentInfo};

use crate::at::{At, Missing, Under, needed};
use crate::attributes::{self, BadAttribute};
use crate::ids::WireId;
use crate::resources::{self, BadResource, Form};

/// The most bytes of a host: of a name (RFC 1035, with dots between the parts), and more than any address has.
const HOST_BYTES_MAX: usize = 253;

/// An agent's description that cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadAgent {
    /// A required field that was not sent.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Bad resources.
    #[error(transparent)]
    Resource(#[from] BadResource),
    /// Bad attributes.
    #[error(transparent)]
    Attribute(#[from] BadAttribute),
    /// An address that is none.
    #[error("{0:?} is not the address of an agent; write host:port, such as agent-7:5051 or [::1]:5051")]
    Address(String),
}

/// Reads an agent's description, with what travels beside it. Its id is left to the caller, who knows it
/// otherwise.
pub fn read(form: &v1::AgentInfo, address: Address, version: &str) -> Result<AgentInfo, At<BadAgent>> {
    let hostname: &String = needed("hostname", &form.hostname)?;
    Ok(AgentInfo {
        hostname: hostname.clone(),
        address,
        attributes: attributes::read(&form.attributes).under::<BadAgent>("attributes")?,
        total: resources::read(&form.resources).under("resources")?,
        version: version.to_owned(),
    })
}

/// The description as a message; resources in the refined form. Address (but for its port) and version travel
/// beside it.
pub fn write(id: Option<&AgentId>, info: &AgentInfo) -> v1::AgentInfo {
    v1::AgentInfo {
        hostname: Some(info.hostname.clone()),
        port: Some(i32::from(info.address.port)),
        resources: resources::write(&info.total, Form::Refined),
        attributes: attributes::write(&info.attributes),
        id: id.map(WireId::write),
        domain: None,
    }
}

/// Reads what an agent can do, or what a task needs of one. Passed over is what this release does not ask for: what all
/// agents can do, and what only later ones can.
pub fn read_capabilities(forms: &[Capability]) -> BTreeSet<AgentCapability> {
    let named = |form: &Capability| capability::Type::try_from(form.r#type?).ok();
    let kinds: Vec<capability::Type> = forms.iter().filter_map(named).collect();
    AgentCapability::ALL.into_iter().filter(|it| kinds.contains(&number_of(*it))).collect()
}

/// The same as messages, in the order of their numbers.
pub fn write_capabilities(capabilities: &BTreeSet<AgentCapability>) -> Vec<Capability> {
    let mut numbers: Vec<i32> = capabilities.iter().map(|it| number_of(*it) as i32).collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|number| Capability { r#type: Some(number) }).collect()
}

fn number_of(capability: AgentCapability) -> capability::Type {
    capability::Type::from_str_name(capability.as_str()).expect("a test compares the names of both sets")
}

/// Reads `host:port`; an IPv6 address stands in brackets. What [`Address`] displays is read back as the same.
pub fn read_address(text: &str) -> Result<Address, BadAgent> {
    let bad = || BadAgent::Address(text.chars().take(64).collect());
    let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(host) => host,
        // Without brackets nobody can tell where an IPv6 address ends.
        None if host.contains([':', '[', ']']) => return Err(bad()),
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?;
    if !is_host(host) {
        return Err(bad());
    }
    Ok(Address { host: host.to_owned(), port })
}

/// Whether it can stand for a host in an address and in a log: other signs would mean something else there.
fn is_host(text: &str) -> bool {
    let is_foreign = |c: char| c.is_whitespace() || c.is_control() || "/?#@\\\"<>[]".contains(c);
    (1..=HOST_BYTES_MAX).contains(&text.len()) && !text.contains(is_foreign)
}
