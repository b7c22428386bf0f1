//! Exact amounts.
//!
//! Mesos promises three decimal digits and computes in floating point; sums then drift, and what was offered
//! no longer equals what was used. Here a scalar is a whole number of thousandths: sums are exact, and their
//! order does not matter. Floats exist on the wire and in the eyes of people, and are converted at the door.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

/// A scalar amount in thousandths: of a cpu, of a MiB, of a GPU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Milli(u64);

/// The most that [`Milli::from_units`] takes, in units. More than any cluster has, and so small that sums of
/// eighteen thousand of them still fit.
pub const MAX_UNITS: f64 = 1e12;

/// [`MAX_UNITS`] as an amount.
pub const MAX_AMOUNT: Milli = Milli(MAX_UNITS as u64 * 1000);

/// A number that cannot be an amount.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadAmount {
    /// Negative, not a number, infinite, or above [`MAX_UNITS`].
    #[error("the amount is {0}; it must be a number from 0 to 1e12")]
    OutOfRange(f64),
    /// Not a number at all.
    #[error("{0:?} is not a number; write an amount such as 4 or 0.5")]
    NotANumber(String),
}

impl Milli {
    /// Nothing.
    pub const ZERO: Milli = Milli(0);

    /// From thousandths.
    pub const fn new(thousandths: u64) -> Milli {
        Milli(thousandths)
    }

    /// From whole units; the greatest amount where that would not fit.
    pub const fn whole(units: u64) -> Milli {
        Milli(units.saturating_mul(1000))
    }

    /// Reads the wire's number, rounded to the nearest thousandth. Refuses what is negative,
    /// not a number, or above [`MAX_UNITS`].
    pub fn from_units(units: f64) -> Result<Milli, BadAmount> {
        if !(0.0..=MAX_UNITS).contains(&units) {
            return Err(BadAmount::OutOfRange(units));
        }
        // At most 1e15, which is below 2^53: the product is off by less than half a thousandth.
        Ok(Milli((units * 1000.0).round() as u64))
    }

    /// The amount in units, for the wire and for ratios. Exact to the thousandth up to [`MAX_UNITS`].
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// The amount in thousandths.
    pub const fn thousandths(self) -> u64 {
        self.0
    }

    /// Whether there is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` where it would not fit.
    pub fn checked_add(self, other: Milli) -> Option<Milli> {
        self.0.checked_add(other.0).map(Milli)
    }

    /// The difference. `None` when more would be taken than there is: the caller decides what that means.
    pub fn checked_sub(self, other: Milli) -> Option<Milli> {
        self.0.checked_sub(other.0).map(Milli)
    }

    /// The sum, or the greatest amount where it would not fit.
    pub fn saturating_add(self, other: Milli) -> Milli {
        Milli(self.0.saturating_add(other.0))
    }

    /// The difference, or nothing when more would be taken than there is.
    pub fn saturating_sub(self, other: Milli) -> Milli {
        Milli(self.0.saturating_sub(other.0))
    }
}

/// Saturating, so that no order of the summands gives another result.
impl Sum for Milli {
    fn sum<I: Iterator<Item = Milli>>(amounts: I) -> Milli {
        amounts.fold(Milli::ZERO, Milli::saturating_add)
    }
}

/// The shortest exact form: `4`, `0.5`, `0.001`.
impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, rest) = (self.0 / 1000, self.0 % 1000);
        if rest == 0 {
            return f.pad(&units.to_string());
        }
        f.pad(format!("{units}.{rest:03}").trim_end_matches('0'))
    }
}

impl fmt::Debug for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads `4`, `0.5`, `1e3`; rounded to the nearest thousandth.
impl FromStr for Milli {
    type Err = BadAmount;
    fn from_str(text: &str) -> Result<Milli, BadAmount> {
        let units: f64 =
            text.trim().parse().map_err(|_| BadAmount::NotANumber(crate::ids::shown(text.trim())))?;
        Milli::from_units(units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_amount_prints_in_its_shortest_exact_form() {
        for (thousandths, text) in [(0, "0"), (1, "0.001"), (500, "0.5"), (4_000, "4"), (1_230, "1.23")] {
            assert_eq!(Milli(thousandths).to_string(), text);
        }
    }

    #[test]
    fn what_no_machine_can_have_is_refused_at_the_door() {
        for units in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1, -1e-9, 1.1e12] {
            assert!(Milli::from_units(units).is_err(), "{units}");
        }
        assert_eq!(
            Milli::from_units(-1.0).expect_err("negative").to_string(),
            "the amount is -1; it must be a number from 0 to 1e12"
        );
        assert_eq!(Milli::from_units(-0.0), Ok(Milli::ZERO));
        assert_eq!(Milli::from_units(MAX_UNITS), Ok(Milli(1_000_000_000_000_000)));
    }

    #[test]
    fn the_wire_number_is_rounded_to_the_nearest_thousandth() {
        assert_eq!(Milli::from_units(0.1 + 0.2), Ok(Milli(300)));
        assert_eq!(Milli::from_units(0.0004), Ok(Milli(0)));
        assert_eq!(Milli::from_units(0.0006), Ok(Milli(1)));
    }

    #[test]
    fn ten_tenths_are_one() {
        let tenth = Milli::from_units(0.1).expect("valid");
        assert_eq!(std::iter::repeat_n(tenth, 10).sum::<Milli>(), Milli::whole(1));
    }

    proptest! {
        #[test]
        fn the_wire_and_the_text_bring_every_amount_back(thousandths in 0..=1_000_000_000_000_000u64) {
            let amount = Milli(thousandths);
            prop_assert_eq!(Milli::from_units(amount.as_f64()), Ok(amount));
            prop_assert_eq!(amount.to_string().parse::<Milli>(), Ok(amount));
        }

        #[test]
        fn adding_then_taking_gives_back_the_same(a in any::<u64>(), b in any::<u64>()) {
            match Milli(a).checked_add(Milli(b)) {
                Some(sum) => prop_assert_eq!(sum.checked_sub(Milli(b)), Some(Milli(a))),
                None => prop_assert!(u128::from(a) + u128::from(b) > u128::from(u64::MAX)),
            }
        }
    }
}
