//! Damaged texts: they stay UTF-8, as whoever reads a `str` is promised no less.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// What texts have in them that their readers did not think of: what terminals, C and paths take for something else, other
/// spaces, signs that are not there, and numbers that are none.
const STRANGE: &[&str] = &[
    "\0",
    "\u{1b}[2J",
    "\u{7f}",
    "\u{85}",
    "\r\n",
    "\t",
    "\u{feff}",
    "\u{a0}",
    "\u{2003}",
    "\u{2028}",
    "\u{202e}",
    "\u{301}",
    "ä",
    "💥",
    "\u{10ffff}",
    "\"",
    "'",
    "`",
    "\\",
    "%00",
    "../",
    "//",
    "-0",
    "+1",
    "1e308",
    "1e-308",
    "0x10",
    "NaN",
    "inf",
    "99999999999999999999",
    "18446744073709551615",
    ":",
    ";",
    ",",
    "=",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
];

/// What begins something in TOML, JSON and our own forms.
const OPENED: &[&str] = &["[", "{", "(", "[[", "\"", "a.", "a={"];

/// One thing that is wrong. A place beyond the end is the end; one within a character is where that begins.
#[derive(Clone, Debug)]
enum Damage {
    Insert {
        at: Index,
        what: String,
    },
    Delete {
        at: Index,
        length: usize,
    },
    Cut {
        at: Index,
    },
    Double {
        at: Index,
        length: usize,
    },
    /// The same character so often.
    Run {
        at: Index,
        what: char,
        times: usize,
    },
    /// What is opened and never closed.
    Open {
        at: Index,
        what: &'static str,
        times: usize,
    },
}

/// A valid text with 1 to 8 things wrong. It is at most some mebibytes long, and rarely that.
pub fn text(valid: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (valid, vec(damage(), 1..=8))
        .prop_map(|(valid, damages)| damages.iter().fold(valid, |text, damage| damage.apply(text)))
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    let strange = select(STRANGE).prop_map(str::to_owned);
    let one = prop_oneof![any::<char>(), "[0-9a-z.]".prop_map(|text| text.chars().next().unwrap_or('0'))];
    let open = select(OPENED);
    prop_oneof![
        60 => (at(), strange).prop_map(|(at, what)| Damage::Insert { at, what }),
        20 => (at(), any::<char>()).prop_map(|(at, what)| Damage::Insert { at, what: what.to_string() }),
        30 => (at(), 1..8usize).prop_map(|(at, length)| Damage::Delete { at, length }),
        10 => at().prop_map(|at| Damage::Cut { at }),
        30 => (at(), 1..32usize).prop_map(|(at, length)| Damage::Double { at, length }),
        10 => (at(), one.clone(), 1..400usize).prop_map(|(at, what, times)| Damage::Run { at, what, times }),
        // A mebibyte of one byte each.
        1 => (at(), one, Just(1usize << 20)).prop_map(|(at, what, times)| Damage::Run {
            at,
            what,
            times: times / what.len_utf8()
        }),
        5 => (at(), open, 1..2_000usize).prop_map(|(at, what, times)| Damage::Open { at, what, times }),
    ]
}

impl Damage {
    fn apply(&self, mut text: String) -> String {
        let place = |text: &str, at: &Index| floor(text, at.index(text.len() + 1));
        match self {
            Damage::Insert { at, what } => text.insert_str(place(&text, at), what),
            Damage::Delete { at, length } => {
                let from = place(&text, at);
                let to = floor(&text, from + length).max(from);
                text.replace_range(from..to, "");
            }
            Damage::Cut { at } => text.truncate(place(&text, at)),
            Damage::Double { at, length } => {
                let from = place(&text, at);
                let to = floor(&text, from + length).max(from);
                let again = text[from..to].to_owned();
                text.insert_str(to, &again);
            }
            Damage::Run { at, what, times } => {
                text.insert_str(place(&text, at), &what.to_string().repeat(*times))
            }
            Damage::Open { at, what, times } => text.insert_str(place(&text, at), &what.repeat(*times)),
        }
        text
    }
}

/// The nearest place between two characters at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest! {
        #[test]
        fn every_damage_is_bearable_for_a_text_of_any_length(valid in "[aä💥]{0,3}", damages in vec(damage(), 1..9)) {
            for damage in damages {
                damage.apply(valid.clone());
            }
        }
    }
}
