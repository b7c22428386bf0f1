//! Points in time and spans, which Mesos carries as nanoseconds in some places and as float seconds in
//! others.

use std::time::Duration;

use bourse_proto::v1;
use bourse_types::Wall;

use crate::at::{At, Missing, Place, needed, number};

/// A time or a span that cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadTime {
    /// Not sent.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Before the epoch, or a span that runs backwards.
    #[error("{0} ns is negative; send 0 or more")]
    Negative(i64),
    /// A span in seconds that is negative, not a number, or beyond what a clock can hold.
    #[error("{} s is no span of time; send a number from 0 to 1e10", number(*.0))]
    Seconds(f64),
    /// A time in seconds that is negative, not a number, or beyond what a float can tell apart.
    #[error("{} s is no time; send seconds since the Unix epoch", number(*.0))]
    Timestamp(f64),
}

/// The longest span in seconds: some 317 years, so that no deadline overflows.
const MAX_SECONDS: f64 = 1e10;

/// Reads a span.
pub fn read_duration(form: &v1::DurationInfo) -> Result<Duration, At<BadTime>> {
    let nanoseconds: i64 = *needed("nanoseconds", &form.nanoseconds)?;
    u64::try_from(nanoseconds)
        .map(Duration::from_nanos)
        .map_err(|_| BadTime::Negative(nanoseconds))
        .at("nanoseconds")
}

/// The span as a message; one beyond 292 years as 292 years, the most that the message can say.
pub fn write_duration(span: Duration) -> v1::DurationInfo {
    v1::DurationInfo { nanoseconds: Some(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)) }
}

/// Reads a point in time, cut to milliseconds.
pub fn read_time(form: &v1::TimeInfo) -> Result<Wall, At<BadTime>> {
    let nanoseconds: i64 = *needed("nanoseconds", &form.nanoseconds)?;
    u64::try_from(nanoseconds)
        .map(|since_epoch| Wall::from_millis(since_epoch / 1_000_000))
        .map_err(|_| BadTime::Negative(nanoseconds))
        .at("nanoseconds")
}

/// The point in time as a message; one beyond the year 2262 as the last that the message can say.
pub fn write_time(time: Wall) -> v1::TimeInfo {
    let nanoseconds = time.as_millis().saturating_mul(1_000_000);
    v1::TimeInfo { nanoseconds: Some(i64::try_from(nanoseconds).unwrap_or(i64::MAX)) }
}

/// The shortest span in seconds of which a microsecond may be lost on the way through a float and back: some 32 years.
const LONG_SECONDS: f64 = 1e9;

/// Reads a span in float seconds, rounded to microseconds, as a float of some months cannot tell less apart, and one of
/// more than 32 years to seconds: so it is read again as the same.
pub fn read_seconds(seconds: f64) -> Result<Duration, BadTime> {
    if !(0.0..=MAX_SECONDS).contains(&seconds) {
        return Err(BadTime::Seconds(seconds));
    }
    match seconds < LONG_SECONDS {
        true => Ok(Duration::from_micros((seconds * 1e6).round() as u64)),
        false => Ok(Duration::from_secs(seconds.round() as u64)),
    }
}

/// The span in float seconds; one that is longer than any that is read as the longest. What
/// [`read_seconds`] gave is read back as it was.
pub fn write_seconds(span: Duration) -> f64 {
    span.as_secs_f64().min(MAX_SECONDS)
}

/// Reads a point in time in float seconds, rounded to milliseconds.
pub fn read_timestamp(seconds: f64) -> Result<Wall, BadTime> {
    Wall::from_secs_f64(seconds).ok_or(BadTime::Timestamp(seconds))
}
