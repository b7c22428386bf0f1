//! Paths of the machine that a task names.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where one leads, as what is allowed is judged by that; or why that cannot be said, in words for the framework's author.
pub fn real(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("the agent's machine has no {}", path.display()),
        _ => format!("looking at {} of the agent's machine: {error}", path.display()),
    })
}

/// What is allowed, for a sentence.
pub fn listed<'a>(allowed: impl IntoIterator<Item = &'a PathBuf>) -> String {
    let all: Vec<String> = allowed.into_iter().map(|path| path.display().to_string()).collect();
    if all.is_empty() { "nothing".into() } else { all.join(", ") }
}
