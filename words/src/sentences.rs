//! Sentences of the master's, and what the words in them name.

use std::time::{Duration, UNIX_EPOCH};

use bourse_types::TaskState;

use crate::{is_master, short, state};

/// What a word of a sentence names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// An agent, by its id.
    Agent,
    /// A framework, by its id.
    Framework,
    /// An offer, by its id.
    Offer,
    /// A point in time, in milliseconds since the Unix epoch.
    Time(u64),
    /// A task's state.
    State,
    /// Nothing: a word like others.
    Nothing,
}

/// What a word names. Ids are a master's id and `S1` for an agent, `0001` for a framework, `O1` for an offer.
pub fn named(word: &str) -> Named {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match word.rsplit_once('-') {
        Some((master, number)) if is_master(master) => {
            match (number.strip_prefix('S'), number.strip_prefix('O')) {
                (Some(agent), _) if digits(agent) => Named::Agent,
                (_, Some(offer)) if digits(offer) => Named::Offer,
                _ if digits(number) => Named::Framework,
                _ => Named::Nothing,
            }
        }
        _ if word.starts_with("TASK_") && word.parse::<TaskState>().is_ok() => Named::State,
        _ if word.ends_with('Z') && word.contains('T') => match humantime::parse_rfc3339(word) {
            Ok(at) => Named::Time(at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)),
            Err(_) => Named::Nothing,
        },
        _ => Named::Nothing,
    }
}

/// A word without the marks around it: what stands before it, the word, what follows.
pub fn bare(word: &str) -> (&str, &str, &str) {
    let bare = word.trim_matches(['(', ')', ':', ',', ';', '.', '"']);
    let (before, after) = word.split_once(bare).unwrap_or((word, ""));
    (before, bare, after)
}

/// A sentence of the master's for people: ids short, states as words, times to the second.
pub fn prose(sentence: &str) -> String {
    sentence.split(' ').map(piece).collect::<Vec<_>>().join(" ")
}

fn piece(word: &str) -> String {
    let (before, bare, after) = bare(word);
    let said = match named(bare) {
        Named::Agent | Named::Framework | Named::Offer => short(bare).to_owned(),
        Named::Time(at_ms) => time(at_ms),
        Named::State => state(bare),
        Named::Nothing => return word.into(),
    };
    format!("{before}{said}{after}")
}

/// A point in time, in milliseconds since the Unix epoch, to the second: `2026-03-01 12:00:00 UTC`.
pub fn time(at_ms: u64) -> String {
    // The last second of the year 9999: later ones have no such form.
    let at = UNIX_EPOCH + Duration::from_millis(at_ms.min(253_402_300_799_000));
    humantime::format_rfc3339_seconds(at).to_string().replace('T', " ").replace('Z', " UTC")
}

/// A clause of the master's as a sentence: it begins with a capital.
pub fn sentence(clause: &str) -> String {
    let mut chars = clause.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    first + chars.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_of_the_masters_has_short_ids_words_for_states_and_times_to_the_second() {
        let agent = "881cf9f0-ba0e-46d8-a2c6-b5118431bcc5-S1";
        assert_eq!(
            prose(&format!("Agent host-a ({agent}) is unreachable since 2026-09-21T14:13:20.123Z; 1 of 2")),
            "Agent host-a (S1) is unreachable since 2026-09-21 14:13:20 UTC; 1 of 2"
        );
        assert_eq!(prose("task a-b-1 is TASK_GONE_BY_OPERATOR:  no"), "task a-b-1 is gone by operator:  no");
        assert_eq!(prose("TASK_X at 12:00Z, (see THE-Z)"), "TASK_X at 12:00Z, (see THE-Z)");
        assert_eq!(prose("(:) ..."), "(:) ...");
    }

    #[test]
    fn a_clause_begins_with_a_capital_when_it_is_a_sentence() {
        assert_eq!((sentence("\u{fc}ber x"), sentence("")), ("\u{dc}ber x".into(), String::new()));
    }

    #[test]
    fn a_time_has_a_form_however_late_it_is() {
        assert_eq!(time(1_790_000_000_000), "2026-09-21 14:13:20 UTC");
        assert_eq!(time(u64::MAX), "9999-12-31 23:59:59 UTC");
    }
}
