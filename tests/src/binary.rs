//! The programs under test, built from the sources as they are now.
//!
//! `cargo test --workspace` has built the binary before any test runs, as the package `bourse` has tests of its own
//! that use it. `cargo test -p bourse-tests` has not, and would test yesterday's: so a binary that is missing, or older
//! than a source that cargo wrote down beside it, is built here, once, in the same profile. `BOURSE_BINARY` names another
//! one to test as it is: a release, or a build of last week.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;
use std::{env, fs};

/// The one binary.
///
/// # Panics
/// When it cannot be built; cargo has said why.
pub fn bourse() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match env::var_os("BOURSE_BINARY") {
        Some(path) => path.into(),
        None => fresh("bourse", &["--package", "bourse"]),
    })
}

/// An example, by name.
///
/// # Panics
/// When it cannot be built; cargo has said why.
pub fn example(name: &str) -> PathBuf {
    fresh(&format!("examples/{name}"), &["--package", "bourse-examples", "--example", name])
}

/// Where cargo puts programs of the profile that this test was built in.
fn folder() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    let folder =
        test.parent().and_then(Path::parent).expect("cargo puts tests into a folder below that of programs");
    folder.to_owned()
}

/// Where logs of tests are kept: beside what cargo makes, so that `cargo clean` takes them along.
pub fn logs() -> PathBuf {
    folder().parent().expect("cargo's folder of a profile is in the target folder").join("test-logs")
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is a folder of the repository")
}

/// Cargo, as it was called for this test, in the repository.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository());
    cargo
}

fn fresh(name: &str, what: &[&str]) -> PathBuf {
    let path = folder().join(name);
    if is_fresh(&path) {
        return path;
    }
    let built = cargo().arg("build").args(what).arg("--quiet").status().expect("cargo can be started");
    assert!(built.success(), "cargo build {} failed", what.join(" "));
    assert!(path.exists(), "cargo build {} left no {}", what.join(" "), path.display());
    path
}

/// Whether the program is there and no older than each source in cargo's list of them.
fn is_fresh(path: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
    let Some(built) = changed(path) else { return false };
    let Ok(list) = fs::read_to_string(path.with_extension("d")) else { return false };
    let Some((_, sources)) = list.split_once(": ") else { return false };
    // A space in a path is written as "\ ".
    let sources = sources.replace("\\ ", "\0");
    let newest = sources.split_whitespace().map(|source| changed(Path::new(&source.replace('\0', " "))));
    newest.max().is_some_and(|newest: Option<SystemTime>| newest.is_some_and(|newest| newest <= built))
}
