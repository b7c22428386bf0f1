//! What a dev cluster keeps between runs: one folder with its tokens, and what each part keeps for itself.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};

/// Who gets a token of a dev cluster, as (name of its file, kind, principal).
const TOKENS: [(&str, &str, &str); 3] = [
    ("token", "operator", "you"),
    ("agent-token", "agent", "agent"),
    ("framework-token", "framework", "framework"),
];

/// The folder, held by this process alone.
pub struct State {
    folder: PathBuf,
    _lock: Flock<File>,
}

impl State {
    /// Takes the folder, makes what is missing, and forgets what is there when `fresh`.
    ///
    /// # Errors
    /// Another dev cluster uses it, or it can not be written.
    pub fn open(folder: &Path, fresh: bool) -> anyhow::Result<State> {
        // Passable, as tasks of other users have their sandboxes below; what is secret in it is closed by itself.
        let make = |path: &Path| {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
            made.with_context(|| {
                format!("making the folder {}; name another with --state-dir", path.display())
            })
        };
        make(folder)?;
        let path = folder.join("lock");
        let lock = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
        let lock = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err(_) => bail!(
                "another `bourse dev` uses {}; stop it, or start this one with another --state-dir and --port",
                folder.display()
            ),
        };
        let state = State { folder: folder.to_owned(), _lock: lock };
        if fresh {
            state.forget()?;
        }
        make(&state.logs())?;
        state.write_tokens()?;
        Ok(state)
    }

    /// Removes everything but the lock.
    fn forget(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_name() == "lock" {
                continue;
            }
            let removed = match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            removed.with_context(|| format!("forgetting {}", path.display()))?;
        }
        Ok(())
    }

    /// Keeps the tokens that are there, so that an open browser page goes on working.
    fn write_tokens(&self) -> anyhow::Result<()> {
        let mut table = String::new();
        for (file, kind, principal) in TOKENS {
            let path = self.folder.join(file);
            let token = match fs::read_to_string(&path) {
                Ok(token) => token.trim().to_owned(),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
                    write_private(&path, &token)?;
                    token
                }
                Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
            };
            table += &format!(
                "[[token]]\nprincipal = \"{principal}\"\nkind = \"{kind}\"\ntoken = \"{token}\"\n\n"
            );
        }
        write_private(&self.tokens(), &table)
    }

    /// The operator's token itself.
    pub fn operator_token(&self) -> anyhow::Result<String> {
        let path = self.token("operator");
        Ok(fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?
            .trim()
            .to_owned())
    }

    /// The file that holds the token of a kind.
    pub fn token(&self, kind: &str) -> PathBuf {
        let file = TOKENS.iter().find(|token| token.1 == kind).map_or("token", |token| token.0);
        self.folder.join(file)
    }

    /// The master's list of tokens.
    pub fn tokens(&self) -> PathBuf {
        self.folder.join("tokens.toml")
    }

    /// What a part keeps.
    pub fn of(&self, part: &str) -> PathBuf {
        self.folder.join(part)
    }

    /// The folder of logs.
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("writing {}", path.display()))
}
