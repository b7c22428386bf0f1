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

/// What else is in the folder, beside a folder of each agent.
const MASTER: &str = "master";
const SERVICES: &str = "services";
const LOGS: &str = "logs";
const TRIAL: &str = "trial";
const TOKENS_FILE: &str = "tokens.toml";
const EXAMPLE: &str = "example-was-deployed";

/// With less room than this nothing is started: registry, history and logs of a fresh cluster need a few MiB, and its
/// tasks want to write too.
const ROOM_MIB: u64 = 32;

/// The folder, held by this process alone.
pub struct State {
    folder: PathBuf,
    _lock: Flock<File>,
}

impl State {
    /// Takes the folder and makes what is missing.
    ///
    /// # Errors
    /// Another dev cluster uses it, it cannot be written, or there is no room in it.
    pub fn open(folder: &Path) -> anyhow::Result<State> {
        make(folder)?;
        let path = folder.join("lock");
        let lock = File::create(&path)
            .with_context(|| format!("opening {}; name another folder with --state-dir", path.display()))?;
        let lock = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err(_) => bail!(
                "another `bourse dev` uses {}; stop it, or start this one with another --state-dir and --port",
                folder.display()
            ),
        };
        let state = State { folder: folder.to_owned(), _lock: lock };
        state.look_for_room()?;
        state.fill()?;
        Ok(state)
    }

    /// A cluster that runs out of room at its first write could not even say so in its logs.
    fn look_for_room(&self) -> anyhow::Result<()> {
        let of = || format!("asking how much room there is in {}", self.folder.display());
        let disk = nix::sys::statvfs::statvfs(&self.folder).with_context(of)?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size()) / (1 << 20);
        if free < ROOM_MIB {
            bail!(
                "{} has {free} MiB of room, and a dev cluster needs {ROOM_MIB}; make room, or name another folder with \
                 --state-dir",
                self.folder.display()
            );
        }
        Ok(())
    }

    /// Makes what is missing.
    fn fill(&self) -> anyhow::Result<()> {
        make(&self.logs())?;
        self.write_tokens()
    }

    /// Begins anew: nothing of earlier runs is left. What no dev cluster makes stays where it is: the folder may be one
    /// that was named by mistake.
    pub fn forget(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(is_ours) {
                continue;
            }
            let path = entry.path();
            let removed = match entry.file_type()?.is_dir() {
                // The agents' folders have the sandboxes of tasks in them.
                true => bourse_agent::tree::remove(&path),
                false => fs::remove_file(&path),
            };
            removed.with_context(|| format!("forgetting {}", path.display()))?;
        }
        self.fill()
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
        self.folder.join(TOKENS_FILE)
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder in which nothing stays.
    pub fn trial(&self) -> PathBuf {
        self.folder.join(TRIAL)
    }

    /// What the master keeps.
    pub fn master(&self) -> PathBuf {
        self.folder.join(MASTER)
    }

    /// What the agent of this name, `agent-N`, keeps.
    pub fn agent(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What the service framework keeps.
    pub fn services(&self) -> PathBuf {
        self.folder.join(SERVICES)
    }

    /// Is there when the example was deployed once: who removed it does not want it back.
    pub fn example(&self) -> PathBuf {
        self.folder.join(EXAMPLE)
    }

    /// The folder of logs.
    pub fn logs(&self) -> PathBuf {
        self.folder.join(LOGS)
    }
}

/// Whether a dev cluster makes something of this name in its folder. The lock is held, and stays.
fn is_ours(name: &str) -> bool {
    let agent = name.strip_prefix("agent-").is_some_and(|number| number.parse::<u16>().is_ok());
    let token = TOKENS.iter().any(|token| token.0 == name);
    agent || token || [MASTER, SERVICES, LOGS, TRIAL, TOKENS_FILE, EXAMPLE].contains(&name)
}

/// Passable, as without isolation tasks of other users have to get to their sandboxes below; what is secret in it is closed
/// by itself.
fn make(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.with_context(|| format!("making the folder {}; name another with --state-dir", path.display()))
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("writing {}", path.display()))
}
