//! How long what was refused is not offered again.

use std::time::Duration;

use bourse_proto::v1;

use crate::time;

/// The longest that a filter may hold, as in Mesos: 365 days.
pub const MAX_REFUSE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reads how long to refuse. An absent message or field is the wire's default of 5 seconds, and so is a
/// negative number or none at all, as in Mesos; more than [`MAX_REFUSE`] is that. Rounded to microseconds.
/// Zero: no filter.
pub fn read(form: Option<&v1::Filters>) -> Duration {
    let default = v1::Filters::default().refuse_seconds();
    let seconds = form.map_or(default, |form| form.refuse_seconds());
    let seconds = if seconds >= 0.0 { seconds.min(MAX_REFUSE.as_secs_f64()) } else { default };
    Duration::from_micros((seconds * 1e6).round() as u64)
}

/// The refusal as a message.
pub fn write(refuse: Duration) -> v1::Filters {
    v1::Filters { refuse_seconds: Some(time::write_seconds(refuse)) }
}
