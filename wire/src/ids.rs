//! Ids.

use bourse_proto::v1;
use bourse_types::{AgentId, BadId, ContainerId, ExecutorId, FrameworkId, OfferId, OperationId, TaskId};

use crate::at::{At, Missing, Place, Under, needed as needed_field};

/// An id that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadWireId {
    /// Without its text.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// With a text that breaks the rules of ids.
    #[error(transparent)]
    Bad(#[from] BadId),
}

/// An id and the message that it travels as.
pub trait WireId: Sized {
    /// The message.
    type Form;

    /// Reads the id; refuses a missing text and one that breaks the rules of ids.
    fn read(form: &Self::Form) -> Result<Self, At<BadWireId>>;

    /// The id as a message.
    fn write(&self) -> Self::Form;
}

macro_rules! ids {
    ($($id:ident { $($rest:ident: $default:expr)? })*) => {$(
        impl WireId for $id {
            type Form = v1::$id;

            fn read(form: &v1::$id) -> Result<$id, At<BadWireId>> {
                let text = needed_field("value", &form.value)?;
                $id::new(text).at("value")
            }

            fn write(&self) -> v1::$id {
                v1::$id { value: Some(self.as_str().to_owned()) $(, $rest: $default)? }
            }
        }
    )*};
}

ids! {
    AgentId {}
    FrameworkId {}
    OfferId {}
    TaskId {}
    ExecutorId {}
    // The parent of a nested container is not part of our ids: no container is nested yet.
    ContainerId { parent: None }
    OperationId {}
}

/// The id in a required field.
pub fn needed<I: WireId, O: From<BadWireId>>(name: &str, field: &Option<I::Form>) -> Result<I, At<O>> {
    let form = field.as_ref().ok_or(BadWireId::Missing(Missing)).at(name)?;
    I::read(form).under(name)
}

/// The id in an optional field.
pub fn given<I: WireId, O: From<BadWireId>>(name: &str, field: &Option<I::Form>) -> Result<Option<I>, At<O>> {
    field.as_ref().map(|form| I::read(form).under(name)).transpose()
}

/// The ids in a list, in their order.
pub fn list<I: WireId, O: From<BadWireId>>(name: &str, field: &[I::Form]) -> Result<Vec<I>, At<O>> {
    field.iter().enumerate().map(|(at, form)| I::read(form).under(format_args!("{name}[{at}]"))).collect()
}
