//! What is wrong with a service file, as people read it: file, line, column, the line itself with a caret.
//!
//! Every problem of a file is told at once, in the order of the file. The text is bounded, since it also travels as a
//! gRPC status message, which is a header.

use std::fmt;
use std::ops::Range;

use bourse_types::in_short;

/// Problems told for one file; the rest is counted. More would not fit the header that carries them.
pub const PROBLEMS_MAX: usize = 10;

/// Bytes of all that is told, and of less where it does not fit: each may become three in a header, and those have 16 KiB in
/// all.
const TEXT_MAX: usize = 3_800;

/// Of what comes after so many problems nothing is looked at but how many they are: a file may have one in every line, and
/// each costs a look at all lines before.
const FOUND_MAX: usize = 100;

/// Characters of the file's name that are repeated.
const NAME_MAX: usize = 100;

/// Characters of the offending line that are shown; a longer line is cut around the caret.
const LINE_MAX: usize = 100;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what to do, without a place.
    pub message: String,
    /// The line as written, perhaps cut, and the caret line below it.
    excerpt: Option<(String, String)>,
}

/// A service file that was refused: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BadSpec {
    /// The file's name as the user gave it, cut to 100 characters, without control characters.
    pub file: String,
    /// At most [`PROBLEMS_MAX`], in the order of the file; never empty.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub more: usize,
}

impl fmt::Display for BadSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let Problem { line, column, message, excerpt } = problem;
            let gap = if i == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{}:{line}:{column}: {message}", self.file)?;
            if let Some((text, caret)) = excerpt {
                let number = line.to_string();
                let indent = " ".repeat(number.len());
                write!(f, "\n{indent} |\n{number} | {text}\n{indent} | {caret}")?;
            }
        }
        match self.more {
            0 => Ok(()),
            1 => f.write_str("\n\nand 1 more problem"),
            more => write!(f, "\n\nand {more} more problems"),
        }
    }
}

/// Collects the problems of one file.
pub(super) struct Problems<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<(usize, Problem)>,
    /// Beside those that were found.
    more: usize,
}

impl<'a> Problems<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Problems<'a> {
        Problems { file, text, found: Vec::new(), more: 0 }
    }

    /// Notes a problem at these bytes of the text; past the end means the end.
    pub(super) fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        match self.is_full() {
            true => self.more += 1,
            false => self.found.push((span.start, problem_at(self.text, span, message.into()))),
        }
    }

    /// Whether one more is only counted.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= FOUND_MAX
    }

    /// Notes that the file lacks something; no line of it is to blame.
    pub(super) fn add_missing(&mut self, message: impl Into<String>) {
        let message: String = message.into();
        let message = in_short(&message);
        self.found.push((0, Problem { line: 1, column: 1, message, excerpt: None }));
    }

    /// `value`, unless something was wrong.
    pub(super) fn or<T>(mut self, value: Option<T>) -> Result<T, BadSpec> {
        self.found.sort_by_key(|&(start, _)| start);
        // One mistake can be met twice, as when a broken line also leaves a key missing; equal texts help nobody.
        self.found.dedup_by(|a, b| a.1 == b.1);
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => {
                let clean = |c: char| if c.is_control() { ' ' } else { c };
                let file: String = self.file.chars().take(NAME_MAX).map(clean).collect();
                let all = self.found.len() + self.more;
                let mut bytes = 0;
                let fits = |(_, problem): &(usize, Problem)| {
                    let is_first = bytes == 0;
                    bytes += file.len() + problem.bytes();
                    is_first || bytes <= TEXT_MAX
                };
                let problems: Vec<Problem> = self
                    .found
                    .into_iter()
                    .take(PROBLEMS_MAX)
                    .take_while(fits)
                    .map(|(_, problem)| problem)
                    .collect();
                let more = all - problems.len();
                Err(BadSpec { file, problems, more })
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}

impl Problem {
    /// About what it takes to tell it, without the file's name.
    fn bytes(&self) -> usize {
        /// Line and column, and what is around the excerpt.
        const AROUND: usize = 60;
        let excerpt = self.excerpt.as_ref().map_or(0, |(text, caret)| text.len() + caret.len());
        self.message.len() + excerpt + AROUND
    }
}

fn problem_at(text: &str, span: Range<usize>, message: String) -> Problem {
    let start = floor(text, span.start);
    let end = floor(text, span.end).max(start);
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let line = text[..start].matches('\n').count() + 1;
    let column = text[line_start..start].chars().count() + 1;
    let shown = text[line_start..line_end].trim_end_matches('\r');
    let width = text[start..end.min(line_end)].trim_end_matches('\r').chars().count().max(1);
    let excerpt = (!shown.trim().is_empty()).then(|| excerpt(shown, column - 1, width));
    Problem { line, column, message: in_short(&message), excerpt }
}

/// The line and its caret line, cut to [`LINE_MAX`] characters around the caret. A tab stays one character wide.
fn excerpt(line: &str, before: usize, width: usize) -> (String, String) {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let length = line.chars().count();
    let skip =
        if length <= LINE_MAX { 0 } else { before.saturating_sub(LINE_MAX / 4).min(length - LINE_MAX) };
    let mut text: String = line.chars().map(clean).skip(skip).take(LINE_MAX).collect();
    if skip > 0 {
        text.replace_range(..text.chars().next().map_or(0, char::len_utf8), "…");
    }
    if skip + LINE_MAX < length {
        text.push('…');
    }
    let carets = width.min(LINE_MAX.saturating_sub(before - skip)).max(1);
    (text, format!("{}{}", " ".repeat(before - skip), "^".repeat(carets)))
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn shown(text: &str, span: Range<usize>) -> String {
        let mut problems = Problems::new("web.toml", text);
        problems.add(span, "unknown key");
        problems.or(Some(())).expect_err("a problem was added").to_string()
    }

    #[test]
    fn a_problem_shows_its_line_with_a_caret_under_it() {
        expect![[r#"
            web.toml:2:1: unknown key
              |
            2 | comand = "x"
              | ^^^^^^"#]]
        .assert_eq(&shown("name = \"a\"\ncomand = \"x\"\n", 11..17));
    }

    #[test]
    fn columns_count_characters_and_not_bytes() {
        expect![[r#"
            web.toml:1:9: unknown key
              |
            1 | ä = "ö" x
              |         ^"#]]
        .assert_eq(&shown("ä = \"ö\" x", 10..11));
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let text = format!("a = \"{}\" b", "x".repeat(300));
        let shown = shown(&text, 307..308);
        assert!(shown.lines().all(|line| line.chars().count() < LINE_MAX + 10), "{shown}");
        let lines: Vec<Vec<char>> = shown.lines().map(|line| line.chars().collect()).collect();
        let caret = lines[3].iter().position(|&c| c == '^').expect("a caret");
        assert_eq!(lines[2][caret], 'b');
    }

    #[test]
    fn a_place_past_the_end_or_inside_a_character_is_no_panic() {
        for span in [0..0, 1..2, 3..99, 99..100] {
            shown("ä\n", span);
        }
    }
}
