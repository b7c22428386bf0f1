//! Time as an argument.
//!
//! Nothing in a core asks a clock: every event comes with a [`Now`]. Liveness (timeouts, retries, ping) is
//! judged by the monotonic part, which never jumps; what people read, and what survives a restart, uses the
//! wall part. Reading the clocks, and translating a persisted deadline into the next process' monotonic time,
//! is left to the shells.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// A point on a clock that only goes forward: nanoseconds since some start that is fixed for the process.
///
/// Two values of different processes cannot be compared: what must survive is written by the wall clock, and these
/// only into a recording, beside each other. 64 bits of nanoseconds last 584 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

/// When something is due, on the monotonic clock.
pub type Deadline = Mono;

impl Mono {
    /// The start of the clock.
    pub const ZERO: Mono = Mono(0);
    /// Later than everything: a deadline that never comes.
    pub const MAX: Mono = Mono(u64::MAX);

    /// A point so many nanoseconds after the start.
    pub const fn from_nanos(nanoseconds: u64) -> Mono {
        Mono(nanoseconds)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The instant that much later; [`Mono::MAX`] where that would not fit.
    pub fn saturating_add(self, later: Duration) -> Mono {
        let nanoseconds = u64::try_from(later.as_nanos()).unwrap_or(u64::MAX);
        Mono(self.0.saturating_add(nanoseconds))
    }

    /// The instant that much later, or `None` where that would not fit.
    pub fn checked_add(self, later: Duration) -> Option<Mono> {
        self.0.checked_add(u64::try_from(later.as_nanos()).ok()?).map(Mono)
    }

    /// The instant that much earlier, but not before the start.
    pub fn saturating_sub(self, earlier: Duration) -> Mono {
        let nanoseconds = u64::try_from(earlier.as_nanos()).unwrap_or(u64::MAX);
        Mono(self.0.saturating_sub(nanoseconds))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Saturates, so that a hostile timeout gives a deadline that never comes and not a panic.
impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, later: Duration) -> Mono {
        self.saturating_add(later)
    }
}

/// Seconds since the start: `12.5s`.
impl fmt::Debug for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Duration::from_nanos(self.0), f)
    }
}

/// A point on the calendar: milliseconds since the Unix epoch, UTC. May jump when somebody sets the clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Wall(pub u64);

impl Wall {
    /// The first of January 1970.
    pub const EPOCH: Wall = Wall(0);

    /// From milliseconds after the epoch.
    pub const fn from_millis(milliseconds: u64) -> Wall {
        Wall(milliseconds)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Seconds since the epoch, as the wire carries times. Exact to the millisecond for the next 70,000
    /// years.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Reads the wire's seconds, rounded to milliseconds. `None` for what is not a number, negative or
    /// infinite.
    pub fn from_secs_f64(seconds: f64) -> Option<Wall> {
        let milliseconds = (seconds * 1000.0).round();
        // Beyond 2^51 of them a float of seconds no longer tells all milliseconds apart, so no honest sender means it.
        (0.0..=2_251_799_813_685_248.0).contains(&milliseconds).then_some(Wall(milliseconds as u64))
    }

    /// The instant that much later; the last representable instant where that would not fit.
    pub fn saturating_add(self, later: Duration) -> Wall {
        Wall(self.0.saturating_add(u64::try_from(later.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The instant that much later, or `None` where that would not fit.
    pub fn checked_add(self, later: Duration) -> Option<Wall> {
        self.0.checked_add(u64::try_from(later.as_millis()).ok()?).map(Wall)
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Wall) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Saturates, like [`Mono`].
impl Add<Duration> for Wall {
    type Output = Wall;
    fn add(self, later: Duration) -> Wall {
        self.saturating_add(later)
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-03-01T12:00:00.250Z`.
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, of_day) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = civil(days);
        let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
        let (second, millisecond) = (of_day / 1000 % 60, of_day % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
    }
}

impl fmt::Debug for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Year, month and day of a day counted from the epoch, in the Gregorian calendar.
///
/// Howard Hinnant's `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>): years start
/// in March, so that the leap day is the last day of a year and needs no case of its own.
fn civil(days_since_epoch: u64) -> (u64, u64, u64) {
    let days = days_since_epoch + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The time an event is applied at: told to the core by the shell or by the simulator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// For deadlines and liveness.
    pub mono: Mono,
    /// For people, and for what survives a restart.
    pub wall: Wall,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_wall_time_prints_as_rfc_3339_in_utc() {
        // Computed with `date -u -d @SECONDS`.
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_825_600_250, "2000-02-29T12:00:00.250Z"),
            (1_772_323_200_000, "2026-03-01T00:00:00.000Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Wall(milliseconds).to_string(), text);
        }
    }

    #[test]
    fn a_deadline_past_the_end_of_time_never_comes_and_does_not_panic() {
        assert_eq!(Mono(5) + Duration::MAX, Mono::MAX);
        assert_eq!(Mono(5).checked_add(Duration::MAX), None);
        assert_eq!(Wall(5) + Duration::MAX, Wall(u64::MAX));
    }

    #[test]
    fn what_is_not_later_is_zero_later() {
        assert_eq!(Mono(5).since(Mono(9)), Duration::ZERO);
        assert_eq!(Wall(5).since(Wall(9)), Duration::ZERO);
        assert_eq!(Mono(9).since(Mono(5)), Duration::from_nanos(4));
    }

    #[test]
    fn wire_seconds_that_mean_no_time_are_refused() {
        for seconds in [f64::NAN, f64::INFINITY, -1.0, 1e300, 9e12] {
            assert_eq!(Wall::from_secs_f64(seconds), None);
        }
    }

    proptest! {
        #[test]
        fn wire_seconds_round_trip(milliseconds in 0..=1u64 << 51) {
            prop_assert_eq!(Wall::from_secs_f64(Wall(milliseconds).as_secs_f64()), Some(Wall(milliseconds)));
        }

        #[test]
        fn adding_and_asking_since_agree(start in 0..1u64 << 62, nanoseconds in 0..1u64 << 62) {
            let later = Duration::from_nanos(nanoseconds);
            prop_assert_eq!((Mono(start) + later).since(Mono(start)), later);
            prop_assert_eq!((Mono(start) + later).saturating_sub(later), Mono(start));
        }
    }
}
