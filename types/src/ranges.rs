//! Sets of whole numbers written as ranges: ports above all.
//!
//! Always in canonical form: sorted, disjoint, and with neighbours joined, so that equal sets are equal
//! values and print alike. Ranges are inclusive at both ends, as in Mesos.

use std::cmp::Ordering;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A set of `u64` in canonical form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ranges(Vec<(u64, u64)>);

/// A text that cannot be ranges.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRanges {
    /// No brackets around it.
    #[error("the ranges {0:?} have no brackets; write them as [31000-31999, 32005-32005]")]
    NoBrackets(String),
    /// One of them is not two numbers with a dash between.
    #[error("{0:?} is not a range; write two whole numbers with a dash between, such as 31000-31999")]
    NotARange(String),
    /// The first number is above the second.
    #[error("the range {0}-{1} ends before it begins; write the smaller number first")]
    Reversed(u64, u64),
}

impl Ranges {
    /// The empty set.
    pub const fn new() -> Ranges {
        Ranges(Vec::new())
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers are in it; `u64::MAX` for the set of all `u64`, which has one more.
    pub fn len(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, (begin, end)| sum.saturating_add((end - begin).saturating_add(1)))
    }

    /// Adds a range. One that ends before it begins is empty, and changes nothing.
    pub fn insert(&mut self, range: RangeInclusive<u64>) {
        let (mut begin, mut end) = (*range.start(), *range.end());
        if begin > end {
            return;
        }
        // Everything that overlaps or touches lies between `first` and `last`, and melts into one.
        let first = self.0.partition_point(|&(_, e)| e.saturating_add(1) < begin);
        let last = self.0.partition_point(|&(b, _)| b <= end.saturating_add(1));
        if first < last {
            begin = begin.min(self.0[first].0);
            end = end.max(self.0[last - 1].1);
        }
        self.0.splice(first..last, [(begin, end)]);
    }

    /// Whether the number is in it.
    pub fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|&(_, end)| end < number);
        self.0.get(at).is_some_and(|&(begin, _)| begin <= number)
    }

    /// Whether every number of `other` is in it.
    pub fn contains_all(&self, other: &Ranges) -> bool {
        // Both are canonical, so a range of `other` lies within one of ours or not at all.
        let mut ours = self.0.iter().peekable();
        other.0.iter().all(|&(begin, end)| {
            while ours.next_if(|&&(_, e)| e < begin).is_some() {}
            ours.peek().is_some_and(|&&(b, e)| b <= begin && end <= e)
        })
    }

    /// Whether some number is in both.
    pub fn intersects(&self, other: &Ranges) -> bool {
        overlaps(self, other).next().is_some()
    }

    /// The numbers that are in one or the other.
    pub fn union(&self, other: &Ranges) -> Ranges {
        let (mut ours, mut theirs) = (self.0.iter().copied().peekable(), other.0.iter().copied().peekable());
        let mut union: Vec<(u64, u64)> = Vec::with_capacity(self.0.len() + other.0.len());
        loop {
            let next = match (ours.peek(), theirs.peek()) {
                (Some(a), Some(b)) if a <= b => ours.next(),
                (Some(_), None) => ours.next(),
                (_, _) => theirs.next(),
            };
            let Some((begin, end)) = next else { return Ranges(union) };
            match union.last_mut() {
                Some(last) if begin <= last.1.saturating_add(1) => last.1 = last.1.max(end),
                _ => union.push((begin, end)),
            }
        }
    }

    /// The numbers that are in both.
    pub fn intersection(&self, other: &Ranges) -> Ranges {
        Ranges(overlaps(self, other).collect())
    }

    /// What is left without the numbers of `other`. Numbers that are not there are ignored.
    pub fn difference(&self, other: &Ranges) -> Ranges {
        let mut left = Vec::with_capacity(self.0.len());
        let mut taken = other.0.iter().peekable();
        for &(mut begin, end) in &self.0 {
            while taken.next_if(|&&(_, e)| e < begin).is_some() {}
            let mut rest = taken.clone();
            loop {
                match rest.next_if(|&&(b, _)| b <= end) {
                    Some(&(b, e)) => {
                        if begin < b {
                            left.push((begin, b - 1));
                        }
                        if e >= end {
                            break;
                        }
                        begin = e + 1;
                    }
                    None => {
                        left.push((begin, end));
                        break;
                    }
                }
            }
        }
        Ranges(left)
    }

    /// What is left without the numbers of `other`. `None` when one of them is not there.
    pub fn checked_sub(&self, other: &Ranges) -> Option<Ranges> {
        self.contains_all(other).then(|| self.difference(other))
    }

    /// The lowest `n` numbers, or all where there are fewer.
    pub fn take(&self, n: u64) -> Ranges {
        let mut taken = Vec::new();
        let mut wanted = n;
        for &(begin, end) in &self.0 {
            // `wanted - 1` further numbers after `begin`, so that nothing overflows at the end of `u64`.
            let Some(further) = wanted.checked_sub(1) else { break };
            let last = end.min(begin.saturating_add(further));
            taken.push((begin, last));
            wanted -= last - begin + 1;
        }
        Ranges(taken)
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RangeInclusive<u64>> + '_ {
        self.0.iter().map(|&(begin, end)| begin..=end)
    }

    /// The numbers one by one, lowest first.
    pub fn values(&self) -> impl Iterator<Item = u64> + '_ {
        self.iter().flatten()
    }
}

/// The stretches that both sets share, lowest first.
fn overlaps<'a>(left: &'a Ranges, right: &'a Ranges) -> impl Iterator<Item = (u64, u64)> + 'a {
    let (mut i, mut j) = (0, 0);
    std::iter::from_fn(move || {
        while let (Some(&(b1, e1)), Some(&(b2, e2))) = (left.0.get(i), right.0.get(j)) {
            match e1.cmp(&e2) {
                Ordering::Less => i += 1,
                Ordering::Greater => j += 1,
                Ordering::Equal => (i, j) = (i + 1, j + 1),
            }
            if b1.max(b2) <= e1.min(e2) {
                return Some((b1.max(b2), e1.min(e2)));
            }
        }
        None
    })
}

impl From<RangeInclusive<u64>> for Ranges {
    fn from(range: RangeInclusive<u64>) -> Ranges {
        Ranges::from_iter([range])
    }
}

impl FromIterator<RangeInclusive<u64>> for Ranges {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u64>>>(ranges: I) -> Ranges {
        let mut sorted: Vec<(u64, u64)> = ranges.into_iter().map(RangeInclusive::into_inner).collect();
        sorted.retain(|&(begin, end)| begin <= end);
        sorted.sort_unstable();
        // Joined in one pass over the sorted list: a message with a million ranges must not cost a million
        // inserts.
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(sorted.len());
        for (begin, end) in sorted {
            match joined.last_mut() {
                Some(last) if begin <= last.1.saturating_add(1) => last.1 = last.1.max(end),
                _ => joined.push((begin, end)),
            }
        }
        Ranges(joined)
    }
}

/// `[31000-31999, 32005-32005]`, Mesos' text form.
impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, (begin, end)) in self.0.iter().enumerate() {
            write!(f, "{}{begin}-{end}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads Mesos' text form, and a lone number for a range of one: `[80, 31000-31999]`.
impl FromStr for Ranges {
    type Err = BadRanges;
    fn from_str(text: &str) -> Result<Ranges, BadRanges> {
        let inside = text
            .trim()
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .ok_or_else(|| BadRanges::NoBrackets(crate::ids::shown(text.trim())))?;
        if inside.trim().is_empty() {
            return Ok(Ranges::new());
        }
        inside.split(',').map(|range| parse_range(range.trim())).collect()
    }
}

fn parse_range(text: &str) -> Result<RangeInclusive<u64>, BadRanges> {
    let number = |part: &str| -> Result<u64, BadRanges> {
        part.trim().parse().map_err(|_| BadRanges::NotARange(crate::ids::shown(text)))
    };
    let (begin, end) = match text.split_once('-') {
        Some((begin, end)) => (number(begin)?, number(end)?),
        None => (number(text)?, number(text)?),
    };
    if begin > end {
        return Err(BadRanges::Reversed(begin, end));
    }
    Ok(begin..=end)
}

#[cfg(test)]
mod tests;
