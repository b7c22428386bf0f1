//! Which cpus a task runs on.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// The highest number that a cpu may have: no kernel is built for more than 8,192 of them (`NR_CPUS`).
pub const CORE_MAX: u32 = 8191;

/// Cpus of a machine by their numbers, at least one. As text it is the kernel's list (kernel documentation,
/// `admin-guide/cputopology.rst`): `0-3,8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores(BTreeSet<u32>);

/// A text that is no list of cpus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no list of cpus; give their numbers, at most {CORE_MAX}, and ranges of them, such as 0-3,8"
)]
pub struct BadCores(String);

/// So many characters of what is no list are repeated.
const SHOWN_CHARS: usize = 64;

impl Cores {
    /// These; `None` where there are none, or a number is higher than [`CORE_MAX`].
    pub fn of(cores: BTreeSet<u32>) -> Option<Cores> {
        (!cores.is_empty() && cores.iter().all(|core| *core <= CORE_MAX)).then_some(Cores(cores))
    }

    /// Their numbers, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// Whether all of them are among the others.
    pub fn are_within(&self, others: &Cores) -> bool {
        self.0.is_subset(&others.0)
    }
}

impl FromStr for Cores {
    type Err = BadCores;

    fn from_str(text: &str) -> Result<Cores, BadCores> {
        let bad = || BadCores(text.chars().take(SHOWN_CHARS).collect());
        let number =
            |word: &str| word.parse::<u32>().ok().filter(|&number| number <= CORE_MAX).ok_or_else(bad);
        // A list may name the same cpus again and again.
        let mut named = [false; CORE_MAX as usize + 1];
        for part in text.trim().split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(bad());
            }
            named[first as usize..=last as usize].fill(true);
        }
        let cores = (0..).zip(named).filter(|(_, named)| *named);
        Ok(Cores(cores.map(|(core, _)| core).collect()))
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut separator = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|&next| next == last + 1) {
                last = next;
            }
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(text: &str) -> Cores {
        text.parse().unwrap_or_else(|bad| panic!("{bad}"))
    }

    #[test]
    fn a_list_of_cpus_is_read_and_written_as_the_kernel_does() {
        for (given, written) in [
            ("0", "0"),
            ("0-3,8\n", "0-3,8"),
            ("3,2,1,0", "0-3"),
            ("5-5,7", "5,7"),
            ("0-1,1-2", "0-2"),
            ("8191", "8191"),
        ] {
            assert_eq!(cores(given).to_string(), written, "{given:?}");
            assert_eq!(cores(written), cores(given));
        }
    }

    #[test]
    fn what_is_no_list_of_cpus_is_refused_with_an_example() {
        for text in ["", "\n", ",", "1,", "a", "-1", "3-1", "1-", "8192", "0-4294967295", "1 2"] {
            let bad = text.parse::<Cores>().expect_err(text);
            assert!(bad.to_string().contains("such as 0-3,8"), "{bad}");
        }
    }

    #[test]
    fn cpus_are_made_of_their_numbers_and_give_them_back() {
        let some = Cores::of([3, 1].into()).expect("some");
        assert_eq!((some.to_string().as_str(), some.iter().collect::<Vec<_>>()), ("1,3", vec![1, 3]));
        assert_eq!((Cores::of([].into()), Cores::of([CORE_MAX + 1].into())), (None, None));
    }

    #[test]
    fn cpus_are_within_others_when_each_of_them_is() {
        assert!(cores("1,3").are_within(&cores("0-3")));
        assert!(!cores("3-4").are_within(&cores("0-3")));
    }
}
