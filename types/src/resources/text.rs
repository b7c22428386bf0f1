//! The text form: what people type as a flag and read in a log.

use std::fmt;
use std::str::FromStr;

use super::{
    BadName, Disk, DiskSourceKind, Name, Reservation, ReservationKind, Resource, ResourceKey, ResourceValue,
    Resources,
};
use crate::units::BadUnit;
use crate::{BadAmount, BadItems, BadRanges, BadRole, Labels, Role, VolumeMode};

/// A text that cannot be resources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadResources {
    /// An entry without a name, a colon or a value.
    #[error("{0:?} is not name:value; write resources as cpus:4;mem:1024;ports:[31000-32000]")]
    NotAPair(String),
    /// A bad name.
    #[error(transparent)]
    Name(#[from] BadName),
    /// A bad role between the parentheses.
    #[error("in {entry:?}, {source}")]
    Role {
        /// The entry.
        entry: String,
        /// What is wrong with the role.
        source: BadRole,
    },
    /// A bad value.
    #[error("in {entry:?}, {wrong}")]
    Value {
        /// The entry.
        entry: String,
        /// What is wrong with the value, and what to write.
        wrong: String,
    },
    /// Amounts that are fine by themselves.
    #[error("all {0} together are more than 1e12; give less of it")]
    TooMuch(Name),
}

/// Reads Mesos' text form: entries `name:value` or `name(role):value` with semicolons between them. A value
/// is a number, ranges in brackets, or a set in braces; memory and disk may have a unit (`mem:4GiB`) and are
/// MiB without one. A role means a reservation as by the agent's flags; `*` means none. Entries of one
/// identity are added up, to 1e12 at most.
impl FromStr for Resources {
    type Err = BadResources;
    fn from_str(text: &str) -> Result<Resources, BadResources> {
        let entries = text.split([';', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
        let resources: Resources = entries.map(parse_entry).collect::<Result<_, _>>()?;
        match resources.excess() {
            Some(entry) => Err(BadResources::TooMuch(entry.key.name.clone())),
            None => Ok(resources),
        }
    }
}

fn parse_entry(entry: &str) -> Result<Resource, BadResources> {
    let shown = || crate::ids::shown(entry);
    let not_a_pair = || BadResources::NotAPair(shown());
    let (head, value) = match entry.split_once('(') {
        // The role may hold a colon, a value never "):".
        Some((name, rest)) if !name.contains(':') => {
            let (role, value) = rest.rsplit_once("):").ok_or_else(not_a_pair)?;
            ((name, Some(role.trim())), value)
        }
        _ => {
            let (name, value) = entry.split_once(':').ok_or_else(not_a_pair)?;
            ((name, None), value)
        }
    };
    let (name, value) = (head.0.trim(), value.trim());
    if name.is_empty() || value.is_empty() {
        return Err(not_a_pair());
    }
    let mut key = ResourceKey::plain(Name::new(name)?);
    if let Some(role) = head.1.filter(|role| *role != "*") {
        let role = Role::new(role).map_err(|source| BadResources::Role { entry: shown(), source })?;
        key.reservations.push(Reservation {
            kind: ReservationKind::Static,
            role,
            principal: None,
            labels: Labels::new(),
        });
    }
    let value =
        parse_value(&key.name, value).map_err(|wrong| BadResources::Value { entry: shown(), wrong })?;
    Ok(Resource { key, value })
}

fn parse_value(name: &Name, text: &str) -> Result<ResourceValue, String> {
    match text.as_bytes().first() {
        Some(b'[') => text.parse().map(ResourceValue::Ranges).map_err(|wrong: BadRanges| wrong.to_string()),
        Some(b'{') => text.parse().map(ResourceValue::Set).map_err(|wrong: BadItems| wrong.to_string()),
        // A plain number first: it may have an exponent, which a size may not.
        _ => match text.parse() {
            Err(BadAmount::NotANumber(_)) if name.is_size() => crate::units::parse_size(text)
                .map(ResourceValue::Scalar)
                .map_err(|wrong: BadUnit| wrong.to_string()),
            parsed => parsed.map(ResourceValue::Scalar).map_err(|wrong: BadAmount| wrong.to_string()),
        },
    }
}

/// `cpus:4; mem:1024; ports:[31000-32000]`. What the text form can say is read back as the same; what it
/// cannot (dynamic reservations, volumes, revocability) is shown for people, in Mesos' notation.
impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, resource) in self.iter().enumerate() {
            write!(f, "{}{resource}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ResourceKey { name, reservations, disk, revocable, shared, provider } = &self.key;
        write!(f, "{name}")?;
        if !reservations.is_empty() {
            f.write_str("(")?;
            for (i, reservation) in reservations.iter().enumerate() {
                write!(f, "{}{reservation}", if i == 0 { "" } else { ", " })?;
            }
            f.write_str(")")?;
        }
        if let Some(disk) = disk {
            write!(f, "[{disk}]")?;
        }
        if let Some(provider) = provider {
            write!(f, "<{provider}>")?;
        }
        if *revocable {
            f.write_str("{REV}")?;
        }
        if *shared {
            f.write_str("<SHARED>")?;
        }
        write!(f, ":{}", self.value)
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `eng`, or `eng dynamic by alice {team: web}`.
impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.role)?;
        if self.kind == ReservationKind::Dynamic {
            f.write_str(" dynamic")?;
        }
        if let Some(principal) = &self.principal {
            write!(f, " by {principal}")?;
        }
        if !self.labels.is_empty() {
            write!(f, " {}", self.labels)?;
        }
        Ok(())
    }
}

/// `MOUNT:/mnt/d1,data:path`: the source, the persistence id, where a task finds it.
impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(source) = &self.source {
            let kind = match source.kind {
                DiskSourceKind::Path => "PATH",
                DiskSourceKind::Mount => "MOUNT",
                DiskSourceKind::Block => "BLOCK",
                DiskSourceKind::Raw => "RAW",
            };
            let which = source.root.as_deref().or(source.id.as_deref());
            parts.push(which.map_or_else(|| kind.to_owned(), |which| format!("{kind}:{which}")));
        }
        let id = self.persistence.as_ref().map(|persistence| persistence.id.to_string());
        let path = self.volume.as_ref().map(|volume| match volume.mode {
            VolumeMode::ReadWrite => volume.container_path.to_string(),
            VolumeMode::ReadOnly => format!("{}:ro", volume.container_path),
        });
        match (id, path) {
            (Some(id), Some(path)) => parts.push(format!("{id}:{path}")),
            (Some(one), None) | (None, Some(one)) => parts.push(one),
            (None, None) => {}
        }
        f.write_str(&parts.join(","))
    }
}
