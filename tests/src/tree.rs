//! The repository's own files, for tests about what is written in them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::binary;

/// A file that people wrote.
#[derive(Clone, Debug)]
pub struct Source {
    /// From the root of the repository.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

/// What is made and not written: cargo's folder, and git's own.
const MADE: [&str; 2] = ["target", ".git"];

/// All text files of the repository, in the order of their paths.
///
/// # Panics
/// When one cannot be read.
pub fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(binary::repository(), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Those with this ending.
pub fn sources_of(extension: &str) -> Vec<Source> {
    sources()
        .into_iter()
        .filter(|source| source.path.extension().is_some_and(|found| found == extension))
        .collect()
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("listing {}: {error}", folder.display()));
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().expect("it was just listed");
        if kind.is_dir() && !MADE.iter().any(|made| name == *made) {
            collect(&path, found);
        } else if kind.is_file()
            && let Ok(text) = fs::read_to_string(&path)
        {
            let path = path.strip_prefix(binary::repository()).expect("it is below").to_owned();
            found.push(Source { path, text });
        }
    }
}
