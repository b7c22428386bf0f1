//! Labels.

use bourse_proto::v1;
use bourse_types::Labels;

use crate::at::{At, Missing, needed};

/// Labels that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLabels {
    /// One without a key.
    #[error(transparent)]
    Missing(#[from] Missing),
}

/// Reads labels; an absent message is no labels. Their order is not kept, as it means nothing.
pub fn read(form: Option<&v1::Labels>) -> Result<Labels, At<BadLabels>> {
    let forms = form.map(|form| form.labels.as_slice()).unwrap_or_default();
    let label = |(at, label): (usize, &v1::Label)| {
        let key: &String =
            needed("key", &label.key).map_err(|e: At<BadLabels>| e.under(format_args!("labels[{at}]")))?;
        Ok((key.clone(), label.value.clone()))
    };
    forms.iter().enumerate().map(label).collect::<Result<Vec<_>, _>>().map(Labels::from_iter)
}

/// The labels as a message, or none where there are none.
pub fn write(labels: &Labels) -> Option<v1::Labels> {
    let label = |(key, value): (&str, Option<&str>)| v1::Label {
        key: Some(key.to_owned()),
        value: value.map(str::to_owned),
    };
    (!labels.is_empty()).then(|| v1::Labels { labels: labels.iter().map(label).collect() })
}
