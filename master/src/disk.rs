//! Disk forms: what the core says survives, happened, or was told, as the messages of `proto/bourse/disk/v1`.
//!
//! **What is this room for?** The one place where registry, history, events and a whole master become bytes and are read
//! back.
//!
//! **What does it promise?** Writing and reading back is the identity. Records of a build before this one are read; a
//! record that makes no sense is an error that says where.
//!
//! **What does it leave to others?** Where the bytes are: a [`Registry`](crate::registry::Registry) or
//! [`History`](crate::history::History).

pub mod event;
pub mod history;
pub mod registry;
pub mod state;

mod nouns;

#[cfg(test)]
mod tests;

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    /// Not a message of its kind.
    #[error("the bytes are no record of this kind")]
    Bytes(#[from] prost::DecodeError),
    /// The key says nothing to this build.
    #[error("this build knows no record of that name; start the newer build that wrote it")]
    UnknownKey,
    /// A part is missing that every build writes.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A part makes no sense.
    #[error("{what} makes no sense")]
    Bad {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl BadRecord {
    pub(crate) fn bad<E>(what: &'static str) -> impl Fn(E) -> BadRecord
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| BadRecord::Bad { what, source: source.into() }
    }
}
