//! Times of one thing, and how they are told.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// The rounds of one measurement.
pub struct Figures {
    what: &'static str,
    rounds: Vec<Duration>,
}

impl Figures {
    /// No rounds yet.
    pub fn new(what: &'static str) -> Figures {
        Figures { what, rounds: Vec::new() }
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

    /// The middle one.
    pub fn median(&self) -> Duration {
        let mut rounds = self.rounds.clone();
        rounds.sort();
        rounds.get(rounds.len().saturating_sub(1) / 2).copied().unwrap_or_default()
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

/// One figure that is no time of rounds, under the others.
pub fn tell(what: &str, figure: impl Display) {
    println!("{what:<72} {figure}");
}
