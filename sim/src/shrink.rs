//! A run that fails, with less and less in it.

use std::time::Duration;

use crate::less::{Less, Part};
use crate::plant::Plant;
use crate::run::run_quietly;
use crate::{Options, Report};

/// So many runs at most, for one that failed.
const RUNS: u32 = 300;

/// So many words say what kind of thing was broken.
const WORDS: usize = 6;

/// What this run can go without and still fail alike, and what comes of it then. Nothing more than it went without
/// already, if nothing is broken.
///
/// Tried in turn: the weather, operators, the client that keeps no rules, version skew, every fault of a kind, act one
/// from its end on, single faults, frameworks. At most 300 runs, of which nothing is printed.
pub fn shrink(failed: Report, options: &Options) -> (Less, Report) {
    let Some(kind) = failed.broken.first().map(|broken| kind(broken)) else {
        return (options.less.clone(), failed);
    };
    let mut shrinking =
        Shrinking { kind, plant: options.plant, less: options.less.clone(), report: failed, left: RUNS };
    shrinking.drops_parts();
    shrinking.shortens_act_one();
    shrinking.drops_strikes();
    for framework in 0..shrinking.report.frameworks {
        shrinking.fails_with(|less| {
            less.frameworks.insert(framework);
        });
    }
    (shrinking.less, shrinking.report)
}

/// The words that hold no number: those tell which task, agent and framework it was, which may be another one in a run
/// with less in it.
fn kind(broken: &str) -> String {
    let line = broken.lines().next().unwrap_or_default();
    let words = line.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    words.take(WORDS).collect::<Vec<_>>().join(" ")
}

struct Shrinking {
    kind: String,
    plant: Option<Plant>,
    /// What it can go without, as far as is known.
    less: Less,
    /// What came of that.
    report: Report,
    /// Runs that it may still take.
    left: u32,
}

impl Shrinking {
    /// Whether it still fails alike with this, too, left out; then it stays out.
    fn fails_with(&mut self, change: impl FnOnce(&mut Less)) -> bool {
        let mut less = self.less.clone();
        change(&mut less);
        if self.left == 0 || less == self.less {
            return false;
        }
        self.left -= 1;
        let options = Options { trace: false, plant: self.plant, less };
        let report = run_quietly(self.report.seed, &options);
        let alike = report.broken.first().is_some_and(|broken| kind(broken) == self.kind);
        if alike {
            (self.less, self.report) = (options.less, report);
        }
        alike
    }

    fn drops_parts(&mut self) {
        for part in Part::all() {
            let has = match part {
                Part::Fault(fault) => self.report.strikes.values().any(|struck| *struck == fault),
                Part::Weather | Part::Operators | Part::Vandal | Part::Skew => true,
            };
            if has {
                self.fails_with(|less| {
                    less.parts.insert(part);
                });
            }
        }
    }

    /// Nothing is lost by an act that would go on after the find; one that ends sooner is tried by halves.
    fn shortens_act_one(&mut self) {
        let (found, act_one) = (self.report.lasted, self.report.act_one);
        let (mut least, mut most) = (0_u64, act_one.as_secs());
        if found < act_one {
            most = found.as_secs() + 1;
            self.fails_with(|less| less.act_one = Some(Duration::from_secs(most)));
        }
        while least < most {
            let middle = least.midpoint(most);
            match self.fails_with(|less| less.act_one = Some(Duration::from_secs(middle))) {
                true => most = middle,
                false => least = middle + 1,
            }
        }
    }

    /// All at once, then halves, quarters, and so on down to single ones. What struck is looked at anew after each that
    /// could be dropped, as a run that fails later has more of them.
    fn drops_strikes(&mut self) {
        let mut size = self.report.strikes.len();
        while size > 0 {
            let mut from = 0;
            loop {
                let some: Vec<u64> = self.report.strikes.keys().copied().skip(from).take(size).collect();
                if some.is_empty() {
                    break;
                }
                if !self.fails_with(|less| less.strikes.extend(&some)) {
                    from += size;
                }
            }
            size /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::kind;

    #[test]
    fn the_same_thing_of_another_task_is_of_the_same_kind() {
        let one = kind("not converged: agent 1 says a-7/job3 is Some(Running), the master says None");
        assert_eq!(
            one,
            kind("not converged: agent 0 says b-2/job11-4 is Some(Running), the master says None")
        );
        assert_eq!(one, "not converged: agent says is Some(Running),");
        assert_ne!(one, kind("not converged: agent 1 does not run"));
        let panic =
            |line| format!("a core, in agent/core/src/agent.rs: panicked at agent.rs:{line}:9:\nit is 7");
        assert_eq!(kind(&panic(12)), kind(&panic(144)));
        assert_eq!(kind(&panic(12)), "a core, in agent/core/src/agent.rs: panicked at");
    }
}
