//! Times of one thing, and how they are told.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// The rounds of one measurement.
pub struct Figures {
    what: String,
    rounds: Vec<Duration>,
}

impl Figures {
    /// No rounds yet.
    pub fn new(what: impl Into<String>) -> Figures {
        Figures { what: what.into(), rounds: Vec::new() }
    }

    /// What is measured.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// One more round, that took so long.
    pub fn add(&mut self, took: Duration) {
        self.rounds.push(took);
    }

    /// One more round.
    pub fn time(&mut self, round: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let begun = Instant::now();
        round()?;
        self.add(begun.elapsed());
        Ok(())
    }

    /// One more round, which cannot fail.
    pub fn clock<T>(&mut self, round: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let answer = round();
        self.add(begun.elapsed());
        answer
    }

    /// The middle one.
    pub fn median(&self) -> Duration {
        let mut rounds = self.rounds.clone();
        rounds.sort();
        rounds.get(rounds.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }

    /// All of them together.
    pub fn total(&self) -> Duration {
        self.rounds.iter().sum()
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.rounds.len()
    }

    /// Mean, and what half, nine tenths and ninety-nine hundredths of the rounds take at most, and the longest, each in a
    /// unit of its own: for what is short, or was done very often.
    pub fn spread(mut self) {
        self.rounds.sort();
        let last = self.rounds.len().saturating_sub(1);
        let at = |index: usize| short(self.rounds.get(index).copied().unwrap_or_default());
        let mean = self.total().checked_div(u32::try_from(self.rounds.len()).unwrap_or(u32::MAX));
        println!(
            "{:<72} mean {:>9}  p50 {:>9}  p90 {:>9}  p99 {:>9}  max {:>9}  ({} times)",
            self.what,
            short(mean.unwrap_or_default()),
            at(last / 2),
            at(last * 9 / 10),
            at(last * 99 / 100),
            at(last),
            self.rounds.len()
        );
    }

    /// Minimum, median, nine tenths and maximum in milliseconds.
    pub fn print(mut self) {
        self.rounds.sort();
        let at = |index: usize| self.rounds.get(index).map_or(f64::NAN, |round| round.as_secs_f64() * 1000.0);
        let last = self.rounds.len().saturating_sub(1);
        println!(
            "{:<72} min {:>7.2} ms  median {:>7.2} ms  p90 {:>7.2} ms  max {:>7.2} ms  ({} rounds)",
            self.what,
            at(0),
            at(last / 2),
            at(last * 9 / 10),
            at(last),
            self.rounds.len()
        );
    }
}

/// A time with three or four digits.
pub fn short(time: Duration) -> String {
    let nanoseconds = time.as_nanos() as f64;
    match nanoseconds {
        below if below < 1e4 => format!("{below:.0} ns"),
        below if below < 1e6 => format!("{:.1} us", below / 1e3),
        below if below < 1e7 => format!("{:.0} us", below / 1e3),
        below if below < 1e9 => format!("{:.1} ms", below / 1e6),
        below if below < 1e10 => format!("{:.0} ms", below / 1e6),
        long => format!("{:.1} s", long / 1e9),
    }
}

/// One figure that is no time of rounds, under the others.
pub fn tell(what: &str, figure: impl Display) {
    println!("{what:<72} {figure}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_unit_that_shows_its_digits() {
        let nanoseconds =
            [10, 9_999, 10_000, 999_900, 1_234_000, 9_999_000, 12_340_000, 2_900_000_000, 28_000_000_000];
        let told: Vec<String> =
            nanoseconds.into_iter().map(|time| short(Duration::from_nanos(time))).collect();
        let expected =
            ["10 ns", "9999 ns", "10.0 us", "999.9 us", "1234 us", "9999 us", "12.3 ms", "2900 ms", "28.0 s"];
        assert_eq!(told, expected);
    }
}
