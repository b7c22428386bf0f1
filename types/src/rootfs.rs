//! Where a task's own root is.
//!
//! A path is a text: what it leads to is the agent's business.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::volume::{goes_down, shown};

/// The path of a directory or a tar file of the agent's machine that a task has as its root: absolute, without empty
/// parts, `.` and `..`, and not `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rootfs(Arc<str>);

/// A text that names no root. Shows at most 256 characters of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} can be no task's root; write the absolute path of a directory or a tar file, without empty parts, `.` and \
     `..`, and not as /"
)]
pub struct BadRootfs(String);

impl Rootfs {
    /// Checks a path.
    pub fn new(text: &str) -> Result<Rootfs, BadRootfs> {
        match text.starts_with('/') && goes_down(text) {
            true => Ok(Rootfs(text.into())),
            false => Err(BadRootfs(shown(text))),
        }
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Rootfs {
    type Err = BadRootfs;

    fn from_str(text: &str) -> Result<Rootfs, BadRootfs> {
        Rootfs::new(text)
    }
}

impl fmt::Display for Rootfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_an_absolute_path_that_goes_down() {
        for text in ["/srv/images/web", "/srv/web.tar", "/srv/with space"] {
            assert_eq!(text.parse::<Rootfs>().map(|root| root.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "/", "srv/web", "./web", "/srv/../etc", "/srv//web", "/srv/", "/srv/.", "/a\0b"] {
            assert_eq!(Rootfs::new(text), Err(BadRootfs(text.into())));
        }
        assert!(Rootfs::new("web").is_err_and(|bad| bad.to_string().contains("absolute path")));
    }
}
