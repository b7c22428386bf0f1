//! Compares what a framework was told with what really ran.

use std::collections::BTreeMap;

use crate::journal::Story;
use crate::ledger::Entry;

/// What an audit counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Ran once, to its end, and its exit code was told.
    pub ran: usize,
    /// Was ended by somebody, after it had begun.
    pub ended: usize,
    /// Never ran, and the framework was told so.
    pub never: usize,
}

/// Checks every task of a framework that is done.
///
/// - No task is silent: each that was launched has been told to be at its end. (One whose launch never left the framework
///   has not run, and that is all.)
/// - None ran twice, and none ran that the framework does not know.
/// - What came to its end by itself is told as that, with its own exit code; what is told as that has run.
/// - What is told as never started has not run.
///
/// # Errors
/// All that is wrong, in words.
pub fn audit(journal: &BTreeMap<String, Story>, ledger: &BTreeMap<String, Entry>) -> Result<Sum, String> {
    let mut wrong = Vec::new();
    let mut sum = Sum::default();
    for task in ledger.keys().filter(|task| !journal.contains_key(*task)) {
        wrong.push(format!("{task} ran, and its framework never launched it"));
    }
    for (task, story) in journal {
        let ran = ledger.get(task).copied().unwrap_or_default();
        if ran.starts > 1 || ran.ends > 1 {
            wrong.push(format!("{task} ran {} times and ended {} times", ran.starts, ran.ends));
        }
        match story.end() {
            None if story.unsent && ran == Entry::default() => {}
            None => wrong.push(format!("{task} is silent: launched, and then {:?}", story.told)),
            Some((state, exit)) => match (state.as_str(), exit, ran.ends) {
                ("TASK_FINISHED" | "TASK_FAILED", Some(code), 1) if *code == story.code => sum.ran += 1,
                // Its container could not be set up, on a full disk say.
                ("TASK_FAILED", None, 0) if ran.starts == 0 => sum.never += 1,
                ("TASK_FINISHED" | "TASK_FAILED", exit, ends) => wrong.push(format!(
                    "{task} is told as {state} with exit code {exit:?}; it came {ends} times to its end, which has the \
                     exit code {}",
                    story.code
                )),
                // Before the kill it may have begun or not.
                ("TASK_KILLED", _, 0) => sum.ended += 1,
                (_, _, 0) if ran.starts == 0 => sum.never += 1,
                (state, ..) => wrong.push(format!("{task} is told as {state}; it began and the ledger has {ran:?}")),
            },
        }
    }
    if wrong.is_empty() { Ok(sum) } else { Err(wrong.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(told: &[(&str, Option<i32>)]) -> Story {
        Story {
            code: 3,
            unsent: false,
            told: told.iter().map(|(state, exit)| (state.to_string(), *exit)).collect(),
        }
    }

    fn audit_one(told: &[(&str, Option<i32>)], starts: u32, ends: u32) -> Result<Sum, String> {
        let ledger = match (starts, ends) {
            (0, 0) => BTreeMap::new(),
            (starts, ends) => BTreeMap::from([("t".to_owned(), Entry { starts, ends })]),
        };
        audit(&BTreeMap::from([("t".to_owned(), story(told))]), &ledger)
    }

    const RUNNING: (&str, Option<i32>) = ("TASK_RUNNING", None);

    #[test]
    fn a_task_that_ran_once_and_is_told_with_its_exit_code_is_good() {
        assert_eq!(
            audit_one(&[RUNNING, ("TASK_FAILED", Some(3))], 1, 1),
            Ok(Sum { ran: 1, ..Sum::default() })
        );
    }

    #[test]
    fn a_task_that_never_ran_and_is_told_so_is_good() {
        let never = Ok(Sum { never: 1, ..Sum::default() });
        assert_eq!(audit_one(&[("TASK_DROPPED", None)], 0, 0), never);
        // A sandbox cannot be made on a full disk.
        assert_eq!(audit_one(&[("TASK_FAILED", None)], 0, 0), never);
    }

    #[test]
    fn a_launch_that_never_left_may_be_silent_but_then_it_has_not_run() {
        let unsent = BTreeMap::from([("t".to_owned(), Story { unsent: true, ..story(&[]) })]);
        assert_eq!(audit(&unsent, &BTreeMap::new()), Ok(Sum::default()));
        let ran = BTreeMap::from([("t".to_owned(), Entry { starts: 1, ends: 1 })]);
        assert!(audit(&unsent, &ran).is_err_and(|wrong| wrong.contains("is silent")));
    }

    #[test]
    fn every_planted_lie_is_found() {
        for (lie, found) in [
            (audit_one(&[], 1, 1), "is silent"),
            (audit_one(&[RUNNING], 1, 0), "is silent"),
            (audit_one(&[RUNNING, ("TASK_FAILED", Some(3))], 2, 2), "ran 2 times"),
            (audit_one(&[RUNNING, ("TASK_FAILED", Some(4))], 1, 1), "exit code Some(4)"),
            (audit_one(&[RUNNING, ("TASK_FAILED", None)], 1, 1), "exit code None"),
            (audit_one(&[RUNNING, ("TASK_FINISHED", Some(3))], 0, 0), "0 times to its end"),
            (audit_one(&[("TASK_DROPPED", None)], 1, 1), "it began"),
            (audit_one(&[("TASK_LOST", None)], 1, 0), "it began"),
        ] {
            let lie = lie.expect_err(found);
            assert!(lie.contains(found), "{lie:?} does not say {found:?}");
        }
        let unknown =
            audit(&BTreeMap::new(), &BTreeMap::from([("t".to_owned(), Entry { starts: 1, ends: 1 })]));
        assert_eq!(unknown, Err("t ran, and its framework never launched it".to_owned()));
    }
}
