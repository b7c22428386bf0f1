//! Task ids that are never used twice.

use bourse_types::TaskId;

use crate::backoff::Seeded;

/// Makes ids of the form `prefix-incarnation-counter`, such as `hello-4k2qz7mb-17`.
///
/// The incarnation is drawn from a seed that the driver takes from the system's random source at each start, so that a
/// scheduler which forgot everything still does not name a task like one of its former lives: in a thousand starts, two
/// share an incarnation with a chance of one in two million.
#[derive(Clone, Debug)]
pub struct TaskIds {
    incarnation: String,
    made: u64,
}

/// How much of a prefix is used. Together with the rest, an id stays well below the 255 bytes that are allowed.
const PREFIX_BYTES_MAX: usize = 200;

impl TaskIds {
    /// The incarnation is made from this seed.
    pub fn new(seed: u64) -> TaskIds {
        // No vowels, hence no words; no 0, 1, o, l, which people mix up when they read an id aloud.
        const LETTERS: &[u8; 32] = b"23456789bcdfghjkmnpqrstvwxzBCDFG";
        let mut bits = Seeded::new(seed).draw();
        let mut incarnation = String::new();
        for _ in 0..8 {
            incarnation.push(char::from(LETTERS[(bits % 32) as usize]));
            bits /= 32;
        }
        TaskIds { incarnation, made: 0 }
    }

    /// A new id. Characters of the prefix that an id may not hold become `_`.
    pub fn next(&mut self, prefix: &str) -> TaskId {
        self.made += 1;
        let mut kept = String::new();
        for c in prefix.chars() {
            let c = if c.is_control() || c == '/' || c == '\\' { '_' } else { c };
            if kept.len() + c.len_utf8() > PREFIX_BYTES_MAX {
                break;
            }
            kept.push(c);
        }
        let id = format!("{kept}-{}-{}", self.incarnation, self.made);
        TaskId::new(id).expect("short enough, and every character that is not allowed was replaced")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_of_two_lives_differ() {
        let mut seen = BTreeSet::new();
        for seed in 0..1000 {
            let mut ids = TaskIds::new(seed);
            for _ in 0..3 {
                assert!(seen.insert(ids.next("hello")), "seed {seed}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_prefix_gives_a_valid_id(prefix in any::<String>(), long in 0..40usize) {
            let mut ids = TaskIds::new(7);
            let id = ids.next(&prefix.repeat(long));
            prop_assert!(id.as_str().ends_with("-1"));
        }
    }
}
