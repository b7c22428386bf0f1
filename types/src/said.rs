//! What another reader says of a text, in a sentence of ours.

use std::fmt::Display;

/// So many characters of it are repeated.
const CHARS_MAX: usize = 600;

/// What it says in one line that anybody can be shown: cut to 600 characters, with a space for each control character.
/// Parsers quote what they could not read, however long it is and whatever it does to a terminal.
pub fn in_short(said: &impl Display) -> String {
    let said = said.to_string();
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let short: String = said.chars().take(CHARS_MAX).map(clean).collect();
    if said.chars().nth(CHARS_MAX).is_some() { short + "..." } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_parser_quotes_fits_into_one_line() {
        assert_eq!(in_short(&"unknown field `a\u{1b}[2J\nb`"), "unknown field `a [2J b`");
        let long = in_short(&"\u{e4}".repeat(700));
        assert!(long.ends_with("\u{e4}..."), "{long}");
        assert_eq!(long.chars().count(), CHARS_MAX + 3);
    }
}
