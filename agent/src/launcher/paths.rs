//! Paths of the machine that a task names.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// Where one leads, as what is allowed is judged by that; or why that cannot be said, in words for the framework's author.
pub fn real(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("the agent's machine has no {}", path.display()),
        _ => format!("looking at {} of the agent's machine: {error}", path.display()),
    })
}

/// What is at a path from [`real`], open for no more than to name it, whatever it is; or why not, in words for the
/// framework's author. Whoever may write on the way there could have put a link in it since it was judged: none is
/// followed. The first process of a container opens what it mounts in the same way.
pub fn open(real: &Path) -> Result<File, String> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match openat2(CWD, real, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Ok(opened) => Ok(opened.into()),
        Err(Errno::LOOP) => Err(format!(
            "on the way to {} of the agent's machine something was replaced by a link meanwhile; launch the task again",
            real.display()
        )),
        Err(error) => Err(format!("opening {} of the agent's machine: {error}", real.display())),
    }
}

/// What is allowed, for a sentence.
pub fn listed<'a>(allowed: impl IntoIterator<Item = &'a PathBuf>) -> String {
    let all: Vec<String> = allowed.into_iter().map(|path| path.display().to_string()).collect();
    if all.is_empty() { "nothing".into() } else { all.join(", ") }
}
