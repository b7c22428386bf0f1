//! Errors that say which field of a message they are about.
//!
//! A module refuses with its own enum, which knows what is wrong, at a path that it knows only from itself
//! inwards. Each caller that read a part of its own message puts the name of that part in front:
//! `scalar.value` becomes `resources[1].scalar.value` and then `task_infos[0].resources[1].scalar.value`.

use std::error::Error;
use std::fmt;

use bourse_types::ids::SHOWN_CHARS;

/// What is wrong, and with which field.
#[derive(Debug, Clone, PartialEq)]
pub struct At<W> {
    path: String,
    wrong: W,
}

/// A required field was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the field is required and was not sent; set it")]
pub struct Missing;

impl<W> At<W> {
    /// Something wrong with the field of that name or path; an empty one means the whole message.
    pub fn new(path: impl fmt::Display, wrong: W) -> At<W> {
        At { path: path.to_string(), wrong }
    }

    /// The path of the field: names with dots between, positions in lists from 0, keys of maps in quotes, cut to 64 characters.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong with it.
    pub fn wrong(&self) -> &W {
        &self.wrong
    }

    /// The same, seen from a message that holds this one as `outer`; a part of a list begins with `[`.
    pub fn under<O: From<W>>(self, outer: impl fmt::Display) -> At<O> {
        let mut path = outer.to_string();
        // A position stands right behind the name of its list.
        if !path.is_empty() && !self.path.is_empty() && !self.path.starts_with('[') {
            path.push('.');
        }
        path.push_str(&self.path);
        At { path, wrong: self.wrong.into() }
    }
}

/// `resources[1].scalar.value: cpus is -1; ...`
impl<W: fmt::Display> fmt::Display for At<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => self.wrong.fmt(f),
            path => write!(f, "{path}: {}", self.wrong),
        }
    }
}

impl<W: Error> Error for At<W> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.wrong.source()
    }
}

/// Puts a refusal at a field.
pub trait Place<T, W> {
    /// An error is about the field of that name.
    fn at<O: From<W>>(self, path: impl fmt::Display) -> Result<T, At<O>>;
}

impl<T, W> Place<T, W> for Result<T, W> {
    fn at<O: From<W>>(self, path: impl fmt::Display) -> Result<T, At<O>> {
        self.map_err(|wrong| At::new(path, wrong.into()))
    }
}

/// Puts the name of a part in front of where it was refused.
pub trait Under<T, W> {
    /// An error is about something inside the part `outer`. Formats only where there is one.
    fn under<O: From<W>>(self, outer: impl fmt::Display) -> Result<T, At<O>>;
}

impl<T, W> Under<T, W> for Result<T, At<W>> {
    fn under<O: From<W>>(self, outer: impl fmt::Display) -> Result<T, At<O>> {
        self.map_err(|refused| refused.under(outer))
    }
}

/// The key of a map as people find it by: in quotes, and not all of a long one.
pub(crate) struct Key<'a>(pub(crate) &'a str);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short: String = self.0.chars().take(SHOWN_CHARS).collect();
        write!(f, "{short:?}{}", if short.len() < self.0.len() { "..." } else { "" })
    }
}

/// A number as people read it: a huge or tiny one not by its hundreds of digits.
pub(crate) fn number(value: f64) -> String {
    let is_short = value == 0.0 || (1e-6..1e15).contains(&value.abs());
    if is_short { value.to_string() } else { format!("{value:e}") }
}

/// The value of a required field.
pub(crate) fn needed<'a, T, O: From<Missing>>(name: &str, field: &'a Option<T>) -> Result<&'a T, At<O>> {
    field.as_ref().ok_or(Missing).at(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_grows_from_the_inside_outwards() {
        let inner: Result<(), At<Missing>> = Err(Missing).at("value");
        let outer: Result<(), At<Missing>> = inner.under("agent_id").under(format_args!("[{}]", 2));
        let outer: At<Missing> = outer.under("task_infos").expect_err("refused");
        assert_eq!(outer.path(), "task_infos[2].agent_id.value");
        assert_eq!(
            outer.to_string(),
            "task_infos[2].agent_id.value: the field is required and was not sent; set it"
        );
    }

    #[test]
    fn the_whole_message_has_no_path() {
        let whole: At<Missing> = At::new("", Missing);
        assert_eq!(whole.to_string(), "the field is required and was not sent; set it");
        assert_eq!(whole.under::<Missing>("agent_id").path(), "agent_id");
    }
}
