//! "Did you mean": the known word nearest to an unknown one.

/// Words of other systems for what is called otherwise here, so that a habit is answered like a slip.
const HABITS: [(&str, &str); 21] = [
    ("args", "command"),
    ("cmd", "command"),
    ("exec", "command"),
    ("run", "command"),
    ("constraints", "spread"),
    ("cpu", "cpus"),
    ("environment", "env"),
    ("envs", "env"),
    ("variables", "env"),
    ("grace_period", "grace"),
    ("healthcheck", "health"),
    ("health_check", "health"),
    ("id", "name"),
    ("instances", "count"),
    ("replicas", "count"),
    ("scale", "count"),
    ("kill_after", "kill_grace"),
    ("stop_grace_period", "kill_grace"),
    ("memory", "mem"),
    ("port", "ports"),
    ("retries", "failures"),
];

/// The longest word that could be meant for one that is known, in bytes of up to four a letter.
const WORD_BYTES_MAX: usize = 160;

/// The word of `known` that was most likely meant, if any is near enough.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    // It is longer than any word that is known, by more than its third.
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let lower = word.to_lowercase().replace('-', "_");
    let habit = HABITS.iter().find(|(theirs, _)| *theirs == lower).map(|&(_, ours)| ours);
    if let Some(found) = known.iter().find(|&&ours| Some(ours) == habit || ours == lower) {
        return Some(found);
    }
    // A third of the letters may be wrong: "helth" is health, while "image" is nothing we know.
    let limit = (lower.chars().count() / 3).max(1);
    known
        .iter()
        .map(|ours| (strsim::osa_distance(&lower, ours), *ours))
        .filter(|&(distance, _)| distance <= limit)
        .min()
        .map(|(_, ours)| ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_a_habit_and_another_case_find_the_word() {
        let known = ["name", "command", "count", "ports", "health", "kill_grace"];
        for (word, meant) in [
            ("comand", Some("command")),
            ("helth", Some("health")),
            ("replicas", Some("count")),
            ("Kill-Grace", Some("kill_grace")),
            ("cuont", Some("count")),
            ("image", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, &known), meant, "{word}");
        }
    }
}
