//! Flag, environment, file, default: the first that has a setting wins.

use std::fmt;
use std::path::Path;

use super::file::{Entry, SettingsFile};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The configuration file, at this line and column, both from 1.
    File {
        /// As it was given.
        path: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// This variable of the environment.
    Env(String),
    /// This flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line, column } => write!(f, "file {path}:{line}:{column}"),
            Origin::Env(variable) => write!(f, "env {variable}"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A setting as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// As in the file; the flag has two dashes in front.
    pub name: &'static str,
    /// As it was written.
    pub text: String,
    /// Who said so.
    pub origin: Origin,
}

/// Something is wrong with a setting or with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was said.
    pub origin: Origin,
    /// The setting, when it is about one.
    pub name: Option<String>,
    /// What is wrong, and what to do.
    pub why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, &self.name) {
            (Origin::Default, Some(name)) => write!(f, "{name}: {}", self.why),
            (origin, Some(name)) => write!(f, "{name} ({origin}): {}", self.why),
            (origin, None) => write!(f, "{origin}: {}", self.why),
        }
    }
}

/// All the places that a setting may come from, and what was found so far.
pub(super) struct Layers<'a> {
    file: SettingsFile,
    env: &'a dyn Fn(&str) -> Option<String>,
    values: Vec<Value>,
    problems: Vec<Problem>,
}

impl<'a> Layers<'a> {
    pub(super) fn new(file: Option<&Path>, env: &'a dyn Fn(&str) -> Option<String>) -> Layers<'a> {
        let from_env = env("BOURSE_MASTER_CONFIG");
        let path = file.or(from_env.as_deref().map(Path::new));
        let (file, problems) = path.map_or_else(Default::default, SettingsFile::read);
        Layers { file, env, values: Vec::new(), problems }
    }

    /// Takes a setting that has a default. `None` when what was found is wrong, which is noted.
    pub(super) fn take<T>(
        &mut self,
        name: &'static str,
        flag: &Option<String>,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, origin) = self.find(name, flag).unwrap_or_else(|| (default.to_owned(), Origin::Default));
        self.parse(name, text, origin, parse)
    }

    /// Takes a setting that may be absent; `shown` is printed in its place. The outer `None` as in
    /// [`take`](Layers::take).
    pub(super) fn take_optional<T>(
        &mut self,
        name: &'static str,
        flag: &Option<String>,
        shown: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        match self.find(name, flag) {
            Some((text, origin)) => self.parse(name, text, origin, parse).map(Some),
            None => {
                self.values.push(Value { name, text: format!("({shown})"), origin: Origin::Default });
                Some(None)
            }
        }
    }

    /// Notes that a setting does not go with the others.
    pub(super) fn refuse<T>(&mut self, name: &'static str, why: &str) -> Option<T> {
        let origin = self
            .values
            .iter()
            .find(|value| value.name == name)
            .map_or(Origin::Default, |value| value.origin.clone());
        self.problems.push(Problem { origin, name: Some(name.to_owned()), why: why.to_owned() });
        None
    }

    /// Everything that was taken, and all that was wrong, unknown keys of the file included.
    pub(super) fn finish(mut self) -> (Vec<Value>, Vec<Problem>) {
        let known: Vec<&'static str> = self.values.iter().map(|value| value.name).collect();
        self.problems.extend(self.file.unknown(&known));
        (self.values, self.problems)
    }

    fn find(&self, name: &'static str, flag: &Option<String>) -> Option<(String, Origin)> {
        if let Some(text) = flag {
            return Some((text.clone(), Origin::Flag(format!("--{name}"))));
        }
        let variable = format!("BOURSE_MASTER_{}", name.replace('-', "_").to_uppercase());
        if let Some(text) = (self.env)(&variable) {
            return Some((text, Origin::Env(variable)));
        }
        let Entry { text, origin } = self.file.get(name)?;
        Some((text.clone(), origin.clone()))
    }

    fn parse<T>(
        &mut self,
        name: &'static str,
        text: String,
        origin: Origin,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let parsed = parse(&text);
        self.values.push(Value { name, text, origin: origin.clone() });
        parsed.map_err(|why| self.problems.push(Problem { origin, name: Some(name.to_owned()), why })).ok()
    }
}
