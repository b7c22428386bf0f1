//! The programs under test, built from the sources as they are now.
//!
//! `cargo test --workspace` has built the binary before any test runs, as the package `bourse` has tests of its own
//! that use it, and the examples. `cargo test -p bourse-tests` has not, and would test yesterday's: so cargo is asked once
//! to build what `cargo test --workspace` builds, which it finds done in the first case. To build one package alone would
//! mean other features of its dependencies, and minutes. `BOURSE_BINARY` names another binary to test as it is: a release,
//! or a build of last week.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What leaves all programs where they are looked for.
const BUILD: [&str; 4] = ["test", "--workspace", "--no-run", "--quiet"];

/// The one binary.
///
/// # Panics
/// When it cannot be built; cargo has said why.
pub fn bourse() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match env::var_os("BOURSE_BINARY") {
        Some(path) => path.into(),
        None => fresh("bourse"),
    })
}

/// Puts the one binary at another path, in the place of what is there, as an upgrade does: whoever runs that goes on with
/// it.
///
/// # Panics
/// When nothing can be written there.
pub fn install(path: &Path) {
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    // Another name of the same file is as good as a copy, which is large, but cannot be had on another file system.
    let linked = || fs::hard_link(bourse(), path).or_else(|_| fs::copy(bourse(), path).map(drop));
    removed.and_then(|()| linked()).unwrap_or_else(|error| panic!("installing {}: {error}", path.display()));
}

/// An example, by name.
///
/// # Panics
/// When it cannot be built; cargo has said why.
pub fn example(name: &str) -> PathBuf {
    fresh(&format!("examples/{name}"))
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

fn fresh(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = cargo().args(BUILD).status().expect("cargo can be started");
        assert!(built.success(), "cargo {} failed", BUILD.join(" "));
    });
    let path = folder().join(name);
    assert!(path.exists(), "cargo {} left no {}", BUILD.join(" "), path.display());
    path
}
