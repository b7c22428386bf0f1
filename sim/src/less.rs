//! What a run goes without: the shorter a failing run, the sooner it is understood.
//!
//! What is left out leaves the rest of the world as the seed has it, as far as sources of chance can do that: faults and
//! commands of operators have one each, by their numbers, and who stays away keeps its place. What the rest then does is
//! another matter, so whether a run still fails is seen by running it ([`crate::shrink()`]).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::faults::Fault;

/// What a run may go without as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Delays, losses, repeats and refusals of the network.
    Weather,
    /// Commands of operators.
    Operators,
    /// The client that keeps no rules.
    Vandal,
    /// Processes of the build before.
    Skew,
    /// Every fault of this kind.
    Fault(Fault),
}

impl Part {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Part> {
        let whole = [Part::Weather, Part::Operators, Part::Vandal, Part::Skew];
        whole.into_iter().chain(Fault::ALL.into_iter().map(Part::Fault))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Fault(fault) => fmt::Display::fmt(fault, f),
            whole => fmt::Debug::fmt(whole, f),
        }
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(name: &str) -> Result<Part, String> {
        let names = || Part::all().map(|part| part.to_string()).collect::<Vec<_>>().join(", ");
        let known = Part::all().find(|part| part.to_string() == name);
        known.ok_or_else(|| format!("a run cannot go without {name:?}; choose of {}", names()))
    }
}

/// What a run goes without. The default is a run that has everything. Displayed as the flags of `bourse-sim` that ask for
/// it, each after a space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Less {
    /// These as a whole.
    pub parts: BTreeSet<Part>,
    /// Faults by their numbers, from 1, as the trace has them.
    pub strikes: BTreeSet<u64>,
    /// Frameworks by their numbers, from 0, as the trace has their schedulers.
    pub frameworks: BTreeSet<u64>,
    /// Act one lasts so long at most, in whole seconds.
    pub act_one: Option<Duration>,
}

impl Less {
    /// Whether a run goes without this as a whole.
    pub fn lacks(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

impl fmt::Display for Less {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.parts.is_empty() {
            let parts: Vec<String> = self.parts.iter().map(Part::to_string).collect();
            write!(f, " --without {}", parts.join(","))?;
        }
        if !self.strikes.is_empty() {
            write!(f, " --without-strikes {}", ranges(&self.strikes))?;
        }
        if !self.frameworks.is_empty() {
            write!(f, " --without-frameworks {}", ranges(&self.frameworks))?;
        }
        match self.act_one {
            Some(most) => write!(f, " --act-one {}s", most.as_secs()),
            None => Ok(()),
        }
    }
}

fn ranges(numbers: &BTreeSet<u64>) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers.iter().copied() {
        match ranges.last_mut() {
            Some((_, last)) if number == *last + 1 => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let text = |(first, last): (u64, u64)| match first == last {
        true => first.to_string(),
        false => format!("{first}..{}", last + 1),
    };
    ranges.into_iter().map(text).collect::<Vec<_>>().join(",")
}

/// Reads numbers: `1..4,6` is 1, 2, 3 and 6.
///
/// # Errors
/// When they are none, or more than a run has.
pub fn numbers(text: &str) -> Result<BTreeSet<u64>, String> {
    let wrong =
        || format!("{text:?} are no numbers below {MOST}; write them as 1..4,6, which is 1, 2, 3 and 6");
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number <= MOST).ok_or_else(wrong);
    let mut numbers = BTreeSet::new();
    for part in text.split(',') {
        match part.split_once("..") {
            Some((first, end)) => numbers.extend(number(first)?..number(end)?),
            None => _ = numbers.insert(number(part)?),
        }
    }
    Ok(numbers)
}

/// No run has so many of anything that is numbered.
const MOST: u64 = 1_000_000;

/// Reads a time in whole seconds: `83s`.
///
/// # Errors
/// When it is none.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').and_then(|number| number.parse().ok());
    let wrong = || format!("{text:?} is no time in whole seconds; write it as 83s");
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_goes_without_is_told_as_flags_that_are_read_as_the_same() {
        let less = Less {
            parts: BTreeSet::from([Part::Weather, Part::Fault(Fault::SlowDisk)]),
            strikes: BTreeSet::from([1, 2, 3, 6]),
            frameworks: BTreeSet::from([4]),
            act_one: Some(Duration::from_secs(83)),
        };
        let told = less.to_string();
        assert_eq!(
            told,
            " --without Weather,SlowDisk --without-strikes 1..4,6 --without-frameworks 4 --act-one 83s"
        );
        assert_eq!(numbers("1..4,6"), Ok(less.strikes));
        assert_eq!(numbers("4"), Ok(less.frameworks));
        assert_eq!(seconds("83s").ok(), less.act_one);
        assert_eq!(Less::default().to_string(), "");
        for part in Part::all() {
            assert_eq!(part.to_string().parse::<Part>(), Ok(part));
        }
    }

    #[test]
    fn what_is_no_number_time_or_part_is_refused_with_what_would_be_one() {
        for text in ["", "1..", "1,", "one", "0..18446744073709551615"] {
            assert!(numbers(text).is_err_and(|why| why.contains("1..4,6")), "{text:?}");
        }
        assert!(seconds("83").is_err_and(|why| why.contains("83s")));
        assert!("Rain".parse::<Part>().is_err_and(|why| why.contains("Weather") && why.contains("SlowDisk")));
    }
}
