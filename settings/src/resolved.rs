//! The settings of a part as a whole: what they came to, what was found, what is wrong.

use std::fmt;
use std::path::Path;

use crate::layers::{Layers, Problem, Value};

/// The settings with all that is to be said about them.
#[derive(Debug)]
pub struct Resolved<C> {
    /// Whose they are.
    pub part: &'static str,
    /// Present when nothing is wrong.
    pub config: Option<C>,
    /// Every setting, in the order of the flags.
    pub values: Vec<Value>,
    /// All that is wrong.
    pub problems: Vec<Problem>,
}

/// The settings of a part are not valid.
#[derive(Debug, thiserror::Error)]
#[error("the settings of the {part} are not valid:{}", bullets(.problems))]
pub struct InvalidSettings {
    /// Whose they are.
    pub part: &'static str,
    /// All that is wrong with them.
    pub problems: Vec<Problem>,
}

/// One on the same line, as the last line of a log is what is told of a part that could not start.
fn bullets(problems: &[Problem]) -> String {
    if let [problem] = problems {
        return format!(" {problem}");
    }
    problems.iter().map(|problem| format!("\n  - {problem}")).collect()
}

/// The settings of this part (`agent`; its variables then begin with `BOURSE_AGENT_`), with the file that a flag names.
/// `read` takes each setting once, and gives `None` only where a problem was noted.
pub fn resolve<C>(
    part: &'static str,
    file: Option<&Path>,
    env: &dyn Fn(&str) -> Option<String>,
    read: impl FnOnce(&mut Layers<'_>) -> Option<C>,
) -> Resolved<C> {
    let mut layers = Layers::new(part, file, env);
    let config = read(&mut layers);
    let (values, problems) = layers.finish();
    Resolved { part, config: config.filter(|_| problems.is_empty()), values, problems }
}

impl<C> Resolved<C> {
    /// The checked settings, or all that is wrong with them.
    pub fn into_config(self) -> Result<C, InvalidSettings> {
        self.config.ok_or(InvalidSettings { part: self.part, problems: self.problems })
    }
}

/// What `--check` prints: a table of name, value and origin, then what is wrong.
impl<C> fmt::Display for Resolved<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            |of: fn(&Value) -> &str| self.values.iter().map(|value| of(value).len()).max().unwrap_or(0);
        let (names, texts) = (width(|value| value.name), width(|value| &value.text));
        for value in &self.values {
            writeln!(f, "{:names$}  {:texts$}  {}", value.name, value.text, value.origin)?;
        }
        for problem in &self.problems {
            writeln!(f, "error: {problem}")?;
        }
        Ok(())
    }
}
