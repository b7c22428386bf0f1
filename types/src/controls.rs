//! What a task asks of the kernel besides its resources.
//!
//! Whether a machine can give it is the agent's business.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::Milli;
use crate::ids::shown;
use crate::units::{self, BadUnit};

/// The greatest io weight.
pub const IO_WEIGHT_MAX: u16 = 10_000;

/// The greatest score: a process that has it goes first.
pub const OOM_SCORE_MAX: u16 = 1000;

/// The smallest unit in which the kernel names the size of a page, in bytes.
const PAGE_MIN_BYTES: u64 = 1 << 10;

/// What a task asks of the kernel besides its resources; by default nothing. Without effect where tasks are not isolated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Controls {
    /// How much of its limit of cpus may be saved up while it is not used, and used later on top of it, in cpus over one
    /// period of 100 ms: 0.5 is 50 ms. Cut to the limit; without effect without one, and before Linux 5.14.
    pub cpu_burst: Milli,
    /// Swap on top of its limit of memory, in MiB. Without effect without such a limit, and where the kernel does not
    /// count swap.
    pub swap: Milli,
    /// The most processes and threads at a time; a fork beyond that fails. Cut to what its agent lets every task have.
    /// `None`: just that.
    pub pids: Option<Pids>,
    /// Its share of the disks when they are busy. `None`: as all who do not ask.
    pub io_weight: Option<IoWeight>,
    /// The most memory in huge pages of each size, in MiB, cut to whole pages. A size that is not named has no limit.
    pub huge_pages: BTreeMap<PageSize, Milli>,
    /// Who goes first when the whole machine is out of memory.
    pub oom_score: OomScore,
}

/// A number of processes and threads, 1 at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pids(u64);

/// A share of the disks, from 1 to [`IO_WEIGHT_MAX`]; who does not ask has 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IoWeight(u16);

/// How soon a task goes when the machine is out of memory, from 0 to [`OOM_SCORE_MAX`], the highest first; on top of its
/// agent's own (`oom_score_adj`, proc_pid_oom_score_adj(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OomScore(u16);

/// The size of huge pages: a power of two, 1 KiB at least. 2 MiB and 1 GiB on most machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(u64);

/// What no machine can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadControl {
    /// Not a whole number.
    #[error("{0:?} is no whole number; write one such as 100")]
    NotWhole(String),
    /// No process at all.
    #[error("a task without a process cannot run; let it have 1 at least")]
    Pids,
    /// The weight is out of its range.
    #[error("the io weight is {0}; it must be from 1 to {IO_WEIGHT_MAX}")]
    IoWeight(u64),
    /// The score is out of its range.
    #[error("the OOM score is {0}; it must be from 0 to {OOM_SCORE_MAX}")]
    OomScore(u64),
    /// No page has this size.
    #[error("no page has the size {0:?}; name a size of huge pages, such as 2MiB")]
    PageSize(String),
    /// Two amounts for one size.
    #[error("huge pages of {0} have two amounts; give them one")]
    PageSizeTwice(PageSize),
    /// Not a size and an amount.
    #[error("{0:?} names no huge pages; write their size and how much of them, such as 2MiB=64MiB")]
    HugePages(String),
    /// Not an amount.
    #[error(transparent)]
    Amount(#[from] BadUnit),
}

impl Controls {
    /// Lets the task have this much memory in huge pages of this size. Refuses a second amount for one size.
    pub fn add_huge_pages(&mut self, size: PageSize, amount: Milli) -> Result<(), BadControl> {
        if self.huge_pages.contains_key(&size) {
            return Err(BadControl::PageSizeTwice(size));
        }
        self.huge_pages.insert(size, amount);
        Ok(())
    }
}

/// Reads a size of huge pages and how much of them, in MiB: `2MiB=64MiB`.
pub fn parse_huge_pages(text: &str) -> Result<(PageSize, Milli), BadControl> {
    let (size, amount) = text.split_once('=').ok_or_else(|| BadControl::HugePages(shown(text)))?;
    Ok((size.parse()?, units::parse_size(amount)?))
}

impl Pids {
    /// Checks a number.
    pub fn new(number: u64) -> Result<Pids, BadControl> {
        match number {
            0 => Err(BadControl::Pids),
            number => Ok(Pids(number)),
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl IoWeight {
    /// Checks a weight.
    pub fn new(weight: u64) -> Result<IoWeight, BadControl> {
        match u16::try_from(weight) {
            Ok(known @ 1..=IO_WEIGHT_MAX) => Ok(IoWeight(known)),
            _ => Err(BadControl::IoWeight(weight)),
        }
    }

    /// The weight.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl OomScore {
    /// Checks a score.
    pub fn new(score: u64) -> Result<OomScore, BadControl> {
        match u16::try_from(score) {
            Ok(known @ 0..=OOM_SCORE_MAX) => Ok(OomScore(known)),
            _ => Err(BadControl::OomScore(score)),
        }
    }

    /// The score.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl PageSize {
    /// Checks a size in bytes.
    pub fn from_bytes(bytes: u64) -> Result<PageSize, BadControl> {
        match bytes >= PAGE_MIN_BYTES && bytes.is_power_of_two() {
            true => Ok(PageSize(bytes)),
            false => Err(BadControl::PageSize(format!("{bytes}B"))),
        }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Pids {
    type Err = BadControl;

    fn from_str(text: &str) -> Result<Pids, BadControl> {
        whole(text).and_then(Pids::new)
    }
}

impl FromStr for IoWeight {
    type Err = BadControl;

    fn from_str(text: &str) -> Result<IoWeight, BadControl> {
        whole(text).and_then(IoWeight::new)
    }
}

impl FromStr for OomScore {
    type Err = BadControl;

    fn from_str(text: &str) -> Result<OomScore, BadControl> {
        whole(text).and_then(OomScore::new)
    }
}

fn whole(text: &str) -> Result<u64, BadControl> {
    text.trim().parse().map_err(|_| BadControl::NotWhole(shown(text.trim())))
}

/// Reads `2MiB`, and the kernel's own `2MB` for the same: no page has a decimal size.
impl FromStr for PageSize {
    type Err = BadControl;

    fn from_str(text: &str) -> Result<PageSize, BadControl> {
        let text = text.trim();
        let bad = || BadControl::PageSize(shown(text));
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let each: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
            "kib" | "kb" => 1 << 10,
            "mib" | "mb" => 1 << 20,
            "gib" | "gb" => 1 << 30,
            _ => return Err(bad()),
        };
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(each)).ok_or_else(bad)?;
        PageSize::from_bytes(bytes).map_err(|_| bad())
    }
}

/// With the largest unit that it has one of: `2MiB`.
impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 2] = [(1 << 30, "GiB"), (1 << 20, "MiB")];
        let (unit, word) = UNITS.into_iter().find(|&(unit, _)| self.0 >= unit).unwrap_or((1 << 10, "KiB"));
        write!(f, "{}{word}", self.0 / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: FromStr<Err = BadControl>>(text: &str) -> String {
        text.parse::<T>().err().map_or_else(|| "accepted".to_owned(), |bad| bad.to_string())
    }

    #[test]
    fn what_no_machine_can_do_is_refused_with_the_range() {
        assert_eq!("32".parse::<Pids>().map(Pids::get), Ok(32));
        assert_eq!(refused::<Pids>("0"), "a task without a process cannot run; let it have 1 at least");
        assert_eq!(refused::<Pids>("-1"), "\"-1\" is no whole number; write one such as 100");
        assert_eq!("10000".parse::<IoWeight>().map(IoWeight::get), Ok(10_000));
        for weight in ["0", "10001", "70000"] {
            assert_eq!(
                refused::<IoWeight>(weight),
                format!("the io weight is {weight}; it must be from 1 to 10000")
            );
        }
        assert_eq!("0".parse::<OomScore>(), Ok(OomScore::default()));
        assert_eq!("1000".parse::<OomScore>().map(OomScore::get), Ok(1000));
        assert_eq!(refused::<OomScore>("1001"), "the OOM score is 1001; it must be from 0 to 1000");
    }

    #[test]
    fn the_size_of_a_page_is_a_power_of_two_as_people_or_the_kernel_write_it() {
        for (text, bytes, shown) in [
            ("2MiB", 2 << 20, "2MiB"),
            ("2MB", 2 << 20, "2MiB"),
            ("2048 kib", 2 << 20, "2MiB"),
            ("64KiB", 64 << 10, "64KiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("16gb", 16 << 30, "16GiB"),
        ] {
            let size: PageSize = text.parse().expect(text);
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, shown));
        }
        for text in
            ["", "2", "MiB", "3MiB", "0KiB", "2B", "1.5GiB", "99999999999999999999GiB", "17179869184GiB"]
        {
            assert_eq!(
                refused::<PageSize>(text),
                format!("no page has the size {text:?}; name a size of huge pages, such as 2MiB")
            );
        }
        assert_eq!(PageSize::from_bytes(512), Err(BadControl::PageSize("512B".into())));
    }

    #[test]
    fn huge_pages_are_a_size_and_an_amount_and_each_size_has_one() {
        let (size, amount) = parse_huge_pages("2MiB=64MiB").expect("valid");
        assert_eq!((size.bytes(), amount), (2 << 20, Milli::whole(64)));
        assert_eq!(parse_huge_pages("2MiB"), Err(BadControl::HugePages("2MiB".into())));
        assert!(parse_huge_pages("2MiB=many").is_err_and(|bad| bad.to_string().contains("is not a size")));
        let mut controls = Controls::default();
        assert_eq!(controls.add_huge_pages(size, amount), Ok(()));
        assert_eq!(controls.add_huge_pages(size, Milli::ZERO), Err(BadControl::PageSizeTwice(size)));
        assert_eq!(controls.huge_pages[&size], amount, "the first holds");
    }
}
