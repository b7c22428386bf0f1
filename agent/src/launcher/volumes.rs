//! Which paths of the machine a task may mount, and what a volume is on this machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bourse_containerizer::{Bind, SANDBOX};
use bourse_types::{Volume, VolumeMode};

use super::paths;

/// What the operator lets tasks mount, by its real paths.
#[derive(Clone, Debug, Default)]
pub struct Mountable {
    /// Also to write to.
    pub writable: Vec<PathBuf>,
    /// For reading only.
    pub readable: Vec<PathBuf>,
}

impl Mountable {
    /// The volumes of a task, or why it cannot have one, in words for its framework's author. Directories that a volume
    /// names in the sandbox are made.
    pub fn bind(&self, volumes: &[Volume], sandbox: &Path) -> Result<Vec<Bind>, String> {
        volumes.iter().map(|volume| self.bind_one(volume, sandbox)).collect()
    }

    fn bind_one(&self, volume: &Volume, sandbox: &Path) -> Result<Bind, String> {
        let refused = |why: String| format!("the volume {volume} cannot be mounted: {why}");
        // Absolute, it takes the place of the sandbox's.
        let target = Path::new(SANDBOX).join(&*volume.container_path);
        if Path::new(SANDBOX).starts_with(&target) {
            return Err(refused(format!("it would cover the sandbox, which is at {SANDBOX}")));
        }
        let host = Path::new(volume.host_path.as_deref().unwrap_or_default());
        let writable = volume.mode == VolumeMode::ReadWrite;
        let source = match host.is_absolute() {
            true => self.on_machine(host, writable).map_err(refused)?,
            false => in_sandbox(&sandbox.join(host)).map_err(|error| refused(error.to_string()))?,
        };
        Ok(Bind { source, target, writable })
    }

    /// The real path, as what is allowed is judged by where a path leads.
    fn on_machine(&self, host: &Path, writable: bool) -> Result<PathBuf, String> {
        let real = paths::real(host)?;
        let among = |allowed: &[PathBuf]| allowed.iter().any(|allowed| real.starts_with(allowed));
        if among(&self.writable) || !writable && among(&self.readable) {
            return Ok(real);
        }
        Err(match among(&self.readable) {
            true => format!("{} may only be read; mount it with :ro", real.display()),
            false => format!(
                "{} is not among what this agent lets tasks mount ({}); its operator can add it with --volumes",
                real.display(),
                paths::listed(self.writable.iter().chain(&self.readable))
            ),
        })
    }
}

/// A directory of the sandbox that the task can write to whatever its user is; others do not get into the sandbox.
fn in_sandbox(path: &Path) -> std::io::Result<PathBuf> {
    if !path.exists() {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    }
    path.canonicalize()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn bind(mountable: &Mountable, text: &str, sandbox: &Path) -> Result<Bind, String> {
        let volume = text.parse().expect("a volume");
        mountable.bind(&[volume], sandbox).map(|mut binds| binds.remove(0))
    }

    #[test]
    fn a_task_mounts_what_is_allowed_by_where_its_path_leads() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("there");
        for path in ["data/deep", "conf", "secret", "database", "sandbox"] {
            fs::create_dir_all(root.join(path)).expect("writable");
        }
        symlink(root.join("secret"), root.join("data/out")).expect("writable");
        symlink(root.join("data"), root.join("link")).expect("writable");
        let mountable = Mountable { writable: vec![root.join("data")], readable: vec![root.join("conf")] };
        let ask = |host: &str, rest: &str| {
            let text = format!("{}:{rest}", root.join(host).display());
            bind(&mountable, &text, &root.join("sandbox"))
        };
        let bound = Bind { source: root.join("data/deep"), target: "/d".into(), writable: true };
        assert_eq!(ask("data/deep", "/d"), Ok(bound.clone()));
        assert_eq!(ask("link/deep", "/d"), Ok(bound), "by way of a link that leads there");
        assert_eq!(ask("data", "d:ro").map(|bind| bind.target), Ok("/mnt/mesos/sandbox/d".into()));
        assert_eq!(ask("conf", "/d:ro").map(|bind| bind.writable), Ok(false));
        assert!(ask("conf", "/d").is_err_and(|why| why.contains("mount it with :ro")));
        for host in ["secret", "data/out", "database"] {
            let why = ask(host, "/d:ro").expect_err("it is not allowed");
            assert!(why.contains("--volumes") && why.contains("/conf"), "{why}");
        }
        assert!(ask("data/none", "/d").is_err_and(|why| why.contains("has no ")));
        for target in ["/mnt", "/mnt/mesos", "/mnt/mesos/sandbox"] {
            assert!(ask("data", target).is_err_and(|why| why.contains("cover the sandbox")), "{target}");
        }
        assert!(bind(&Mountable::default(), "/etc:/d:ro", &root).is_err_and(|why| why.contains("(nothing)")));
    }

    #[test]
    fn a_path_in_the_sandbox_is_made_and_needs_no_leave() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("there");
        let none = Mountable::default();
        let bound = bind(&none, "cache/deep:/var/cache", &root).expect("its own");
        assert_eq!((bound.source.as_path(), bound.writable), (root.join("cache/deep").as_path(), true));
        assert!(bound.source.is_dir());
        assert_eq!(bind(&none, "cache/deep:/var/cache", &root), Ok(bound), "a repeat is the same");
    }
}
