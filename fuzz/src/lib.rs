//! Readers of what others send and of what lies on disks, each with one function that any bytes may be given to.
//!
//! **What is this room for?** An engine that is guided by coverage keeps the inputs that reach code which none before has
//! reached, and goes on from those: it finds what damage by chance (`bourse-hostile`) takes too long to hit. `make fuzz`
//! builds the targets for such an engine, with flags that a stable compiler has. In `cargo test` the same targets get their
//! valid inputs, damaged ones, and all that was ever found.
//!
//! **What does it promise?** A target holds of its reader what the property beside that reader holds: it comes back soon,
//! refuses in words, and reads what it took again as it writes it.
//!
//! **What does it leave to others?** Readers that need a file, such as tars, settings and tokens, and those that no other
//! crate can call: they have their properties with damaged bytes beside them, and no target here.

#![warn(missing_docs)]

mod disks;
mod forms;
mod links;
mod samples;
mod texts;

use std::fmt::{Debug, Display};

use bourse_hostile::judged;
use prost::Message;

/// One reader.
#[derive(Clone, Copy)]
pub struct Target {
    /// How it is called on the command line, and the folder of what was found.
    pub name: &'static str,
    /// Inputs that it takes, to begin with.
    pub samples: fn() -> Vec<Vec<u8>>,
    /// Gives it these bytes, and tells whether it took them. It panics where it breaks a promise.
    pub try_it: fn(&[u8]) -> bool,
}

/// All of them.
pub fn targets() -> Vec<Target> {
    [forms::TARGETS, links::TARGETS, disks::TARGETS, texts::TARGETS].concat()
}

/// Reads a message, writes what it gave, and reads that.
fn comes_back<M, T, E>(bytes: &[u8], read: impl Fn(&M) -> Result<T, E>, write: impl Fn(&T) -> M) -> bool
where
    M: Message + Default,
    T: PartialEq + Debug,
    E: Display,
{
    let Some(form) = judged(|| M::decode(bytes)) else { return false };
    let Some(value) = judged(|| read(&form)) else { return false };
    let written = write(&value).encode_to_vec();
    let form = M::decode(written.as_slice()).expect("what was encoded can be decoded");
    match read(&form) {
        Ok(again) => assert_eq!(again, value),
        Err(refused) => panic!("{value:?} was taken, and as it is written refused: {refused}"),
    }
    true
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use bourse_hostile::damaged;
    use proptest::prelude::*;
    use proptest::sample::select;
    use proptest::test_runner::TestRunner;

    use super::*;

    #[test]
    fn every_target_takes_its_samples_and_has_a_name_of_its_own() {
        let targets = targets();
        for target in &targets {
            let samples = (target.samples)();
            assert!(!samples.is_empty(), "{} has no samples", target.name);
            for (at, sample) in samples.iter().enumerate() {
                assert!((target.try_it)(sample), "{} refuses its sample {at}", target.name);
            }
        }
        let mut names: Vec<&str> = targets.iter().map(|target| target.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), targets.len());
    }

    #[test]
    fn whatever_a_target_is_given_it_holds_what_it_promises() {
        for target in targets() {
            let mut runner = TestRunner::new(ProptestConfig {
                test_name: Some(target.name),
                failure_persistence: None,
                ..ProptestConfig::default()
            });
            let tried = runner.run(&damaged(select((target.samples)())), |bytes| {
                (target.try_it)(&bytes);
                Ok(())
            });
            tried.unwrap_or_else(|broken| panic!("{}: {broken}", target.name));
        }
    }

    #[test]
    fn what_was_once_found_by_a_guided_run_is_found_no_more() {
        let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("found");
        let targets = targets();
        for folder in fs::read_dir(&found).expect("there is such a folder").flatten() {
            if !folder.path().is_dir() {
                continue;
            }
            let name = folder.file_name();
            let target = targets.iter().find(|target| name == target.name);
            let target = target.unwrap_or_else(|| panic!("{} is no target", folder.path().display()));
            for input in fs::read_dir(folder.path()).expect("a folder").flatten() {
                (target.try_it)(&fs::read(input.path()).expect("a file"));
            }
        }
    }
}
