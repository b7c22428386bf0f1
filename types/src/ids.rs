//! Names of things: agents, frameworks, offers, tasks and the rest.
//!
//! Each kind is a type of its own, so that an offer id is never taken for a task id. An id is checked once,
//! when it is made, by the rules that Mesos clients know: 1 to 255 bytes, no `/`, no `\`, no control
//! character, and neither `.` nor `..`. An id becomes a directory name in a sandbox path, which is where
//! those rules come from; spaces are allowed. Who mints which id, and what makes it unique, is left to the
//! cores.
//!
//! Cloning an id copies a pointer. `Debug` prints the bare id, so that traces and story tests read well.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest id in bytes: the longest file name on Linux (`NAME_MAX`), as ids name directories.
pub const MAX_ID_BYTES: usize = 255;

/// A text that cannot be an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {given:?} {wrong}; give it another name")]
pub struct BadId {
    /// Which id was wanted, in words: `task id`.
    pub kind: &'static str,
    /// What was given, cut to [`SHOWN_CHARS`] characters.
    pub given: String,
    /// What is wrong with it.
    pub wrong: WrongId,
}

/// How much of a refused text an error repeats, in characters: enough to recognise it, and no way to fill a
/// log.
pub const SHOWN_CHARS: usize = 64;

/// The rule that a text broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongId {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// More than [`MAX_ID_BYTES`].
    #[error("is {0} bytes long and 255 are allowed")]
    TooLong(usize),
    /// A slash or a backslash: an id is a directory name.
    #[error("holds a '{0}'")]
    Separator(char),
    /// A control character, such as a line feed.
    #[error("holds a control character")]
    Control,
    /// `.` and `..` are directories already.
    #[error("means a directory")]
    Dots,
}

impl BadId {
    fn new(kind: &'static str, given: &str, wrong: WrongId) -> BadId {
        BadId { kind, given: shown(given), wrong }
    }
}

/// The head of a text from outside, for use in an error.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn check_name(text: &str) -> Result<(), WrongId> {
    if text.is_empty() {
        return Err(WrongId::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(WrongId::TooLong(text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err(WrongId::Control);
    }
    Ok(())
}

fn check_id(text: &str) -> Result<(), WrongId> {
    check_name(text)?;
    if let Some(separator) = text.chars().find(|c| matches!(c, '/' | '\\')) {
        return Err(WrongId::Separator(separator));
    }
    if matches!(text, "." | "..") {
        return Err(WrongId::Dots);
    }
    Ok(())
}

macro_rules! ids {
    ($($(#[$doc:meta])* $id:ident, $kind:literal, $check:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $id(Arc<str>);

        impl $id {
            /// Checks the text and keeps it. Refuses what the module's rules refuse.
            pub fn new(text: impl AsRef<str>) -> Result<Self, BadId> {
                let text = text.as_ref();
                match $check(text) {
                    Ok(()) => Ok(Self(text.into())),
                    Err(wrong) => Err(BadId::new($kind, text, wrong)),
                }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $id {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $id {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        /// Maps keyed by this id can be asked with a plain text.
        impl Borrow<str> for $id {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $id {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $id {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// A machine's agent. Given by the master when the agent is first admitted, kept across restarts of both.
    AgentId, "agent id", check_id;
    /// A framework. Given by the master at the first subscription, kept across failovers of both.
    FrameworkId, "framework id", check_id;
    /// One offer. Never given out twice.
    OfferId, "offer id", check_id;
    /// A task. Chosen by the framework, unique among the framework's live and unreachable tasks.
    TaskId, "task id", check_id;
    /// An executor of a framework on an agent. A plain command task has one whose id equals the task's.
    ExecutorId, "executor id", check_id;
    /// A container on an agent. Chosen by the agent.
    ContainerId, "container id", check_id;
    /// An operation on resources (reserve, create, ...) whose result its framework wants to hear.
    OperationId, "operation id", check_id;
    /// One incarnation of a master.
    MasterId, "master id", check_id;
    /// Who calls: the name behind a token. 1 to 255 bytes without control characters.
    ///
    /// Slashes are allowed, unlike in an id: a principal is never a directory name, and names such as
    /// `spiffe://example/web` and `host/agent-7@EXAMPLE` are common.
    Principal, "principal", check_name;
}

/// Which master is in charge, counted up by each start of one. An agent obeys no master with a lower epoch than the
/// highest that it has written down, so a deposed master can launch nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(text: &str) -> String {
        TaskId::new(text).expect_err("refused").to_string()
    }

    #[test]
    fn an_id_that_cannot_name_a_directory_is_refused_and_the_text_says_what_to_do() {
        assert_eq!(refused(""), r#"task id "" is empty; give it another name"#);
        assert_eq!(refused("a/b"), r#"task id "a/b" holds a '/'; give it another name"#);
        assert_eq!(refused(r"a\b"), r#"task id "a\\b" holds a '\'; give it another name"#);
        assert_eq!(refused("a\nb"), r#"task id "a\nb" holds a control character; give it another name"#);
        assert_eq!(refused(".."), r#"task id ".." means a directory; give it another name"#);
        assert!(refused(&"x".repeat(256)).contains("is 256 bytes long and 255 are allowed"));
    }

    #[test]
    fn an_error_never_repeats_more_than_the_head_of_a_long_text() {
        assert!(refused(&"é".repeat(1_000_000)).len() < 300);
    }

    #[test]
    fn spaces_dots_inside_and_255_bytes_are_allowed() {
        for text in ["a task", "...", "a.b", &"x".repeat(255)] {
            assert_eq!(TaskId::new(text).expect("allowed"), *text);
        }
    }

    #[test]
    fn a_principal_may_hold_a_slash() {
        assert_eq!(Principal::new("spiffe://example/web").expect("allowed").as_str(), "spiffe://example/web");
        assert!(Principal::new("").is_err());
    }

    #[test]
    fn debug_prints_the_bare_id() {
        assert_eq!(format!("{:?}", AgentId::new("m-S0").expect("valid")), "m-S0");
    }

    proptest! {
        #[test]
        fn what_is_accepted_comes_back_unchanged(text in ".{0,300}") {
            if let Ok(id) = TaskId::new(&text) {
                prop_assert_eq!(id.as_str(), &text);
                prop_assert_eq!(id.to_string().parse::<TaskId>().expect("its own text"), id);
            }
        }
    }
}
