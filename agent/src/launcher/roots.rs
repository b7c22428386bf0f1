//! Which directories and tars of the machine a task may have as its root, and what they are on this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bourse_containerizer::Isolation;
use bourse_types::{ContainerId, Rootfs};

use super::{Habits, paths};
use crate::unpacked;

/// The directory that is the root of a task, or why it cannot have it, in words for its framework's author. A tar is
/// unpacked, unless it was for an earlier task; this thread waits for that.
pub fn find(
    habits: &Habits,
    rootfs: &Rootfs,
    work_dir: &Path,
    container: &ContainerId,
) -> Result<PathBuf, String> {
    let path = Path::new(rootfs.as_str());
    if habits.isolation == Isolation::Process {
        // The containerizer refuses it, whatever it is.
        return Ok(path.into());
    }
    let refused = |why: String| format!("the task cannot have the root {rootfs}: {why}");
    let real = on_machine(habits, path).map_err(refused)?;
    let looking =
        |error: io::Error| refused(format!("looking at {} of the agent's machine: {error}", real.display()));
    let there = fs::metadata(&real).map_err(looking)?;
    if there.is_dir() {
        return Ok(real);
    }
    if !there.is_file() {
        return Err(refused("it is neither a directory nor a tar file; name one".into()));
    }
    unpacked::directory(work_dir, &real, container).map_err(|error| refused(format!("{error:#}")))
}

/// The real path, as what is allowed is judged by where a path leads.
fn on_machine(habits: &Habits, path: &Path) -> Result<PathBuf, String> {
    let real = paths::real(path)?;
    if !habits.roots.iter().any(|allowed| real.starts_with(allowed)) {
        let allowed = paths::listed(&habits.roots);
        return Err(format!(
            "{} is not among what this agent lets tasks have as their root ({allowed}); its operator can add it with \
             --rootfs",
            real.display()
        ));
    }
    match habits.hide.iter().find(|hidden| real.starts_with(hidden)) {
        Some(hidden) => {
            let (real, hidden) = (real.display(), hidden.display());
            Err(format!("{real} lies in {hidden}, which is hidden from tasks; name another path"))
        }
        None => Ok(real),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use bourse_containerizer::{Filters, LogLimits};

    use super::*;
    use crate::launcher::Mountable;

    fn habits(roots: Vec<PathBuf>, hide: Vec<PathBuf>) -> Habits {
        Habits {
            isolation: Isolation::Linux,
            hostname: "host".into(),
            filters: Filters::default(),
            allow_root: false,
            pids_limit: 1,
            logs: LogLimits::NONE,
            show: vec![],
            mountable: Mountable::default(),
            roots,
            hide,
            endpoint: String::new(),
        }
    }

    #[test]
    fn a_task_has_the_root_that_is_allowed_by_where_its_path_leads() {
        let folder = tempfile::tempdir().expect("a folder");
        let top = folder.path().canonicalize().expect("there");
        for path in ["images/web", "images/secret", "images2", "work"] {
            fs::create_dir_all(top.join(path)).expect("writable");
        }
        symlink(top.join("images2"), top.join("images/out")).expect("writable");
        symlink(top.join("images"), top.join("link")).expect("writable");
        nix::unistd::mkfifo(&top.join("images/pipe"), nix::sys::stat::Mode::S_IRWXU).expect("writable");
        fs::write(top.join("images/text"), "no tar").expect("writable");
        let habits = habits(vec![top.join("images")], vec![top.join("images/secret")]);
        let container = ContainerId::new("c1").expect("valid");
        let ask = |path: &str| {
            let rootfs = Rootfs::new(&top.join(path).display().to_string()).expect("absolute");
            find(&habits, &rootfs, &top.join("work"), &container)
        };
        for path in ["images/web", "link/web"] {
            assert_eq!(ask(path), Ok(top.join("images/web")), "{path}");
        }
        for path in ["images2", "images/out", "work"] {
            let why = ask(path).expect_err("it is not allowed");
            assert!(why.contains("--rootfs") && why.contains("/images)"), "{why}");
        }
        for (path, said) in [
            ("images/none", "has no "),
            ("images/secret", "hidden from tasks"),
            ("images/pipe", "neither a directory nor a tar file"),
            ("images/text", "unpacking"),
        ] {
            let why = ask(path).expect_err("it is none");
            assert!(why.starts_with("the task cannot have the root /") && why.contains(said), "{why}");
        }
    }
}
