//! The configuration file: TOML with the names of the flags, each key with its place.

use std::collections::BTreeMap;
use std::path::Path;

use bourse_types::in_short;
use toml::de::{DeTable, DeValue};

use crate::layers::{Origin, Problem};

/// A key of the file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) written: Written,
    pub(crate) origin: Origin,
}

/// A value as text, so that one parser reads flags, variables and keys.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    One(String),
    List(Vec<String>),
}

/// More than any file of settings has. Every key costs a look at all lines before it.
const FILE_BYTES_MAX: usize = 64 << 10;

/// Characters of a key that is none of ours that are repeated.
const SHOWN_CHARS: usize = 64;

/// Said of a value that is none of these.
pub(crate) const ONE_WANTED: &str = "a text, a number, true or false is wanted here, not a table or a list";

/// The keys of the file; none when there is no file.
#[derive(Debug, Default)]
pub(crate) struct SettingsFile {
    entries: BTreeMap<String, Entry>,
}

impl SettingsFile {
    /// Reads the file. What cannot be read, or is no TOML, leaves no keys and a problem.
    pub(crate) fn read(path: &Path) -> (SettingsFile, Vec<Problem>) {
        match std::fs::read_to_string(path) {
            Ok(text) => SettingsFile::parse(&path.display().to_string(), &text),
            Err(error) => {
                let origin = Origin::Flag("--config".to_owned());
                let why = format!("reading {}: {error}; name a file that can be read", path.display());
                (SettingsFile::default(), vec![Problem { origin, name: None, why }])
            }
        }
    }

    pub(crate) fn parse(path: &str, text: &str) -> (SettingsFile, Vec<Problem>) {
        if text.len() > FILE_BYTES_MAX {
            let origin = Origin::File { path: path.to_owned(), line: 1, column: 1 };
            let why =
                format!("it has {} bytes and {FILE_BYTES_MAX} is the most; is it another file?", text.len());
            return (SettingsFile::default(), vec![Problem { origin, name: None, why }]);
        }
        let place = |offset: usize| {
            // A parser of bytes may point into a character.
            let end = (0..=offset.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
            let before = &text[..end.unwrap_or(0)];
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            let line = before.matches('\n').count() + 1;
            Origin::File { path: path.to_owned(), line, column: before[line_start..].chars().count() + 1 }
        };
        let table = match DeTable::parse(text) {
            Ok(table) => table.into_inner(),
            Err(error) => {
                let origin = place(error.span().map_or(0, |span| span.start));
                let why = format!("this is not TOML: {}", in_short(&error.message()));
                return (SettingsFile::default(), vec![Problem { origin, name: None, why }]);
            }
        };
        let (mut file, mut problems) = (SettingsFile::default(), Vec::new());
        for (key, value) in table {
            let (name, origin) = (key.get_ref().to_string(), place(key.span().start));
            match written(value.get_ref()) {
                Some(written) => drop(file.entries.insert(name, Entry { written, origin })),
                None => {
                    let name = Some(in_short(&name));
                    problems.push(Problem { origin, name, why: ONE_WANTED.to_owned() });
                }
            }
        }
        (file, problems)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// A problem for each key that is none of `known`, the settings of this part, with the nearest of them.
    pub(crate) fn unknown(&self, part: &str, known: &[&'static str]) -> Vec<Problem> {
        let strangers = self.entries.iter().filter(|(name, _)| !known.contains(&name.as_str()));
        strangers
            .map(|(name, entry)| Problem {
                origin: entry.origin.clone(),
                name: None,
                why: stranger(name, part, known),
            })
            .collect()
    }
}

fn stranger(name: &str, part: &str, known: &[&'static str]) -> String {
    let shown: String = name.chars().take(SHOWN_CHARS).collect();
    if shown.len() < name.len() {
        return format!("there is no setting {shown:?}...; `bourse {part} --help` lists them");
    }
    let near = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        // A third of the name mistyped is still a typing mistake; more is another word.
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3);
    match near {
        Some((_, candidate)) => format!("there is no setting {name:?}; did you mean {candidate:?}?"),
        None => format!("there is no setting {name:?}; `bourse {part} --help` lists them"),
    }
}

fn written(value: &DeValue<'_>) -> Option<Written> {
    match value {
        DeValue::Array(list) => {
            list.iter().map(|item| scalar(item.get_ref())).collect::<Option<Vec<String>>>().map(Written::List)
        }
        one => scalar(one).map(Written::One),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        // 0x10 is sixteen, which is all that a parser of numbers needs to know. What has too many digits stays as it is.
        DeValue::Integer(number) => Some(
            i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.to_string(), |number| number.to_string()),
        ),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(boolean) => Some(boolean.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
