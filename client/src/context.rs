//! The file by which `bourse dev` tells the other programs of its user where it is.
//!
//! `$XDG_CONFIG_HOME/bourse/context.toml`, or `~/.config/bourse/context.toml`:
//!
//! ```toml
//! master = "127.0.0.1:5050"
//! token_file = "/home/ann/.local/state/bourse/token"
//! ```

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What the file holds. Unknown keys are errors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Address of the master.
    pub master: String,
    /// The token for that master and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The certificate authority that signed the master's certificate, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// The context file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadContext {
    /// It is there but cannot be read.
    #[error(
        "the context file {path:?} cannot be read; remove it, or name a master with --master and a token with --token-file"
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds something else.
    #[error("the context file {path:?} is not understood; remove it and `bourse dev` writes a new one")]
    Form {
        /// Which file.
        path: PathBuf,
        /// Line, column and what is wrong there.
        source: toml::de::Error,
    },
    /// It could not be written.
    #[error("the context file {path:?} cannot be written; check the owner and the room of its folder")]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Context {
    /// Where the file is, by the environment given. `None` where there is no home.
    pub fn path(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
        let set = |name| env(name).filter(|value| !value.is_empty());
        let config = set("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| Some(Path::new(&set("HOME")?).join(".config")))?;
        Some(config.join("bourse").join("context.toml"))
    }

    /// Reads the file; `None` when there is none.
    pub fn read(path: &Path) -> Result<Option<Context>, BadContext> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(source) => return Err(BadContext::Unreadable { path: path.to_owned(), source }),
        };
        toml::from_str(&text).map(Some).map_err(|source| BadContext::Form { path: path.to_owned(), source })
    }

    /// Writes the file, readable by its owner alone, whole or not at all; its folder is made where it is missing.
    pub fn write(&self, path: &Path) -> Result<(), BadContext> {
        self.try_write(path).map_err(|source| BadContext::Unwritable { path: path.to_owned(), source })
    }

    fn try_write(&self, path: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        // The name is this process' own, so that two writers do not write into each other's file.
        let fresh = path.with_extension(format!("toml.{}", std::process::id()));
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&fresh, path));
        if written.is_err() {
            let _ = fs::remove_file(&fresh); // The error that matters is the first one.
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bourse_hostile::{judged, text};
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_was_written_is_read_and_only_its_owner_may() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bourse/context.toml");
        assert_eq!(Context::read(&path).expect("no file is fine"), None);
        let context =
            Context { master: "127.0.0.1:5050".into(), token_file: Some("/t".into()), ca_file: None };
        context.write(&path).expect("written");
        context.write(&path).expect("written again");
        assert_eq!(Context::read(&path).expect("read"), Some(context));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().expect("a folder")).expect("listed").count(), 1);
    }

    proptest! {
        #[test]
        fn a_damaged_context_is_refused_in_words_or_comes_back(
            given in text(Just("master = \"127.0.0.1:5050\"\ntoken_file = '/home/ann/token'\n".to_owned())),
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("context.toml");
            fs::write(&path, &given).expect("written");
            if let Some(context) = judged(|| Context::read(&path)).flatten() {
                context.write(&path).expect("written");
                prop_assert_eq!(Context::read(&path).expect("it was taken as it was"), Some(context));
            }
        }
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("context.toml");
        fs::write(&path, "master = \"a:1\"\ntoken = \"x\"\n").expect("written");
        let error = Context::read(&path).expect_err("unknown key");
        let source = std::error::Error::source(&error).expect("a place").to_string();
        assert!(source.contains("line 2") && source.contains("unknown field `token`"), "{source}");
    }

    #[test]
    fn the_file_is_looked_for_where_the_desktop_rules_say() {
        let path = |xdg: Option<&str>, home: Option<&str>| {
            let (xdg, home) = (xdg.map(str::to_owned), home.map(str::to_owned));
            Context::path(&move |name| if name == "HOME" { home.clone() } else { xdg.clone() })
        };
        assert_eq!(path(Some("/c"), Some("/h")), Some("/c/bourse/context.toml".into()));
        assert_eq!(path(Some("relative"), Some("/h")), Some("/h/.config/bourse/context.toml".into()));
        assert_eq!(path(Some(""), Some("/h")), Some("/h/.config/bourse/context.toml".into()));
        assert_eq!(path(None, None), None);
    }
}
