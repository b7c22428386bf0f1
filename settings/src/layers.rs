//! Flag, environment, file, default: the first that has a setting wins.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bourse_types::in_short;

use crate::file::{Entry, ONE_WANTED, SettingsFile, Written};

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

/// What to serve TLS with, both PEM.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsFiles {
    /// The chain, the part's own certificate first.
    pub cert: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
}

/// All the places that a setting may come from, and what was found so far.
pub struct Layers<'a> {
    part: &'static str,
    file: SettingsFile,
    env: &'a dyn Fn(&str) -> Option<String>,
    values: Vec<Value>,
    problems: Vec<Problem>,
}

impl<'a> Layers<'a> {
    pub(crate) fn new(
        part: &'static str,
        file: Option<&Path>,
        env: &'a dyn Fn(&str) -> Option<String>,
    ) -> Layers<'a> {
        let from_env = env(&variable(part, "config"));
        let path = file.or(from_env.as_deref().map(Path::new));
        let (file, problems) = path.map_or_else(Default::default, SettingsFile::read);
        Layers { part, file, env, values: Vec::new(), problems }
    }

    /// Takes a setting that has a default. `None` when what was found is wrong, which is noted.
    pub fn take<T>(
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
    pub fn take_optional<T>(
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

    /// Takes a setting that may be said more than once: a flag that is repeated, texts with colons between them in the
    /// environment, as in `PATH`, a list or one text in the file. Without any, `shown` is printed in its place. `None` as
    /// in [`take`](Layers::take).
    pub fn take_list<T>(
        &mut self,
        name: &'static str,
        flags: &[String],
        shown: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let (texts, origin) = self.find_list(name, flags);
        let text = if texts.is_empty() { format!("({shown})") } else { texts.join(", ") };
        self.values.push(Value { name, text, origin: origin.clone() });
        let mut taken = Vec::with_capacity(texts.len());
        for text in &texts {
            match parse(text) {
                Ok(value) => taken.push(value),
                Err(why) => {
                    let (origin, why) = (origin.clone(), in_short(&why));
                    self.problems.push(Problem { origin, name: Some(name.to_owned()), why });
                }
            }
        }
        (taken.len() == texts.len()).then_some(taken)
    }

    /// Takes `tls-cert` and `tls-key`, which belong together. The outer `None` as in [`take`](Layers::take).
    pub fn take_tls(
        &mut self,
        cert: &Option<String>,
        key: &Option<String>,
        parse: impl Fn(&str) -> Result<PathBuf, String>,
    ) -> Option<Option<TlsFiles>> {
        let cert = self.take_optional("tls-cert", cert, "none", &parse);
        let key = self.take_optional("tls-key", key, "none", &parse);
        match (cert?, key?) {
            (None, None) => Some(None),
            (Some(cert), Some(key)) => Some(Some(TlsFiles { cert, key })),
            (Some(_), None) => {
                self.refuse("tls-key", "tls-cert is given but tls-key is not; give both or neither")
            }
            (None, Some(_)) => {
                self.refuse("tls-cert", "tls-key is given but tls-cert is not; give both or neither")
            }
        }
    }

    /// Notes a `listen` that would show these `secrets` to the network: it is not loopback, has no TLS, and nobody said
    /// `insecure`.
    pub fn refuse_plain(
        &mut self,
        listen: SocketAddr,
        tls: Option<&TlsFiles>,
        insecure: bool,
        secrets: &str,
    ) {
        if listen.ip().is_loopback() || tls.is_some() || insecure {
            return;
        }
        let why = format!(
            "{listen} is not a loopback address: whoever sees the network would read {secrets}; give tls-cert and \
             tls-key, or say insecure"
        );
        self.refuse::<()>("listen", &why);
    }

    /// Notes that a setting does not go with the others.
    pub fn refuse<T>(&mut self, name: &'static str, why: &str) -> Option<T> {
        let origin = self
            .values
            .iter()
            .find(|value| value.name == name)
            .map_or(Origin::Default, |value| value.origin.clone());
        self.problems.push(Problem { origin, name: Some(name.to_owned()), why: why.to_owned() });
        None
    }

    /// Everything that was taken, and all that was wrong, unknown keys of the file included.
    pub(crate) fn finish(mut self) -> (Vec<Value>, Vec<Problem>) {
        let known: Vec<&'static str> = self.values.iter().map(|value| value.name).collect();
        self.problems.extend(self.file.unknown(self.part, &known));
        (self.values, self.problems)
    }

    fn find(&mut self, name: &'static str, flag: &Option<String>) -> Option<(String, Origin)> {
        // A list in the file is wrong, whoever wins.
        let from_file = match self.file.get(name) {
            None => None,
            Some(Entry { written: Written::One(text), origin }) => Some((text.clone(), origin.clone())),
            Some(Entry { written: Written::List(_), origin }) => {
                let (origin, name) = (origin.clone(), Some(name.to_owned()));
                self.problems.push(Problem { origin, name, why: ONE_WANTED.to_owned() });
                None
            }
        };
        if let Some(text) = flag {
            return Some((text.clone(), Origin::Flag(format!("--{name}"))));
        }
        self.in_env(name).or(from_file)
    }

    fn find_list(&self, name: &'static str, flags: &[String]) -> (Vec<String>, Origin) {
        if !flags.is_empty() {
            return (flags.to_vec(), Origin::Flag(format!("--{name}")));
        }
        if let Some((text, origin)) = self.in_env(name) {
            return (text.split(':').map(str::to_owned).collect(), origin);
        }
        match self.file.get(name).cloned() {
            None => (Vec::new(), Origin::Default),
            Some(Entry { written: Written::One(text), origin }) => (vec![text], origin),
            Some(Entry { written: Written::List(texts), origin }) => (texts, origin),
        }
    }

    fn in_env(&self, name: &str) -> Option<(String, Origin)> {
        let variable = variable(self.part, name);
        (self.env)(&variable).map(|text| (text, Origin::Env(variable)))
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
        let problem = |why: String| Problem { origin, name: Some(name.to_owned()), why: in_short(&why) };
        parsed.map_err(|why| self.problems.push(problem(why))).ok()
    }
}

/// The variable of the environment that holds this setting of this part.
fn variable(part: &str, name: &str) -> String {
    format!("BOURSE_{part}_{name}").replace('-', "_").to_uppercase()
}
