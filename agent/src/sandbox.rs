//! Sandboxes: the directory of each task, where Mesos' tools look for it.
//!
//! `<work_dir>/slaves/<agent>/frameworks/<framework>/executors/<task>/runs/<container>`, with a link `runs/latest` to
//! the newest. The word `slaves` is Mesos' and stays, as tools build this path by themselves. A plain command task has
//! an executor id equal to its task id. A sandbox outlives its task.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bourse_agent_core::TaskKey;
use bourse_containerizer::Isolation;
use bourse_containerizer::failpoint::{Failpoint, reached};
use bourse_types::{AgentId, ContainerId};
use tracing::warn;

use crate::tree;

/// The mode of the directories on the way to sandboxes, 0700 or 0711.
///
/// A task that is isolated gets its sandbox without passing them. Nobody else may: a task of root can leave a set-user-id
/// program in its sandbox, and any user of the machine could start it there (as CVE-2021-41091 of Docker). Without isolation
/// tasks of other users have to pass.
pub fn way(isolation: Isolation) -> u32 {
    match isolation {
        Isolation::Linux => 0o700,
        Isolation::Process => 0o711,
    }
}

/// Makes the folder of all sandboxes, and lets pass it who must. A repeat does no harm.
pub fn guard(work_dir: &Path, isolation: Isolation) -> io::Result<()> {
    let folder = top(work_dir);
    match fs::create_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(way(isolation)))
}

/// The folder of all sandboxes.
fn top(work_dir: &Path) -> PathBuf {
    work_dir.join("slaves")
}

/// The folder of all runs of a task.
fn runs(work_dir: &Path, agent: &AgentId, task: &TaskKey) -> PathBuf {
    let mut path = top(work_dir);
    path.push(agent.as_str());
    path.push("frameworks");
    path.push(task.framework.as_str());
    path.push("executors");
    path.push(task.task.as_str());
    path.push("runs");
    path
}

/// The sandbox of a container, whether or not it is there.
pub fn path(work_dir: &Path, agent: &AgentId, task: &TaskKey, container: &ContainerId) -> PathBuf {
    runs(work_dir, agent, task).join(container.as_str())
}

/// Held while `latest` and the folders above a sandbox change: a task may begin its next run while its last is collected.
static CHANGES: Mutex<()> = Mutex::new(());

/// Makes the sandbox of a new container and points `latest` at it. A repeat does no harm.
pub fn make(
    work_dir: &Path,
    agent: &AgentId,
    task: &TaskKey,
    container: &ContainerId,
) -> io::Result<PathBuf> {
    let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let runs = runs(work_dir, agent, task);
    let sandbox = runs.join(container.as_str());
    fs::create_dir_all(&sandbox)?;
    // The containerizer gives it to the task's user; others have no business in it.
    fs::set_permissions(&sandbox, fs::Permissions::from_mode(0o750))?;
    // By way of a rename, so that there is a `latest` at every moment.
    let fresh = runs.join(format!(".latest-{container}"));
    match symlink(container.as_str(), &fresh) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => fs::rename(&fresh, runs.join("latest"))?,
    }
    Ok(sandbox)
}

/// The newest sandbox of a task, if there ever was one.
pub fn latest(work_dir: &Path, agent: &AgentId, task: &TaskKey) -> Option<PathBuf> {
    fs::canonicalize(runs(work_dir, agent, task).join("latest")).ok()
}

/// The folders with the sandboxes of each task, of earlier agents of this work directory too, whether or not one is there.
/// A folder that cannot be looked into is told of and skipped.
pub fn all_runs(work_dir: &Path) -> Vec<PathBuf> {
    // From the agents' folders to the runs, as the path at the top says.
    const NAMED: [Option<&str>; 6] = [None, Some("frameworks"), None, Some("executors"), None, Some("runs")];
    let mut found = vec![top(work_dir)];
    for step in NAMED {
        found = match step {
            Some(name) => found.into_iter().map(|folder| folder.join(name)).collect(),
            None => found.iter().flat_map(|folder| folders_or_tell(folder)).collect(),
        };
    }
    found
}

/// The sandboxes in such a folder. One that cannot be looked into is told of.
pub fn all_in(runs: &Path) -> Vec<PathBuf> {
    folders_or_tell(runs)
}

/// Removes what a removal that was cut short has left in such a folder, and then the folder with those above it that are
/// empty. Where there is a sandbox, nothing is done.
pub fn tidy(runs: &Path) {
    let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    if !folders(runs).is_ok_and(|sandboxes| sandboxes.is_empty()) {
        return;
    }
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        // Links that lead nowhere.
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = with_those_above(runs).try_for_each(|folder| match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    });
}

/// The runs, the task, the tasks, the framework.
fn with_those_above(runs: &Path) -> impl Iterator<Item = &Path> {
    runs.ancestors().take(4)
}

fn folders_or_tell(folder: &Path) -> Vec<PathBuf> {
    folders(folder).unwrap_or_else(|error| {
        warn!(folder = %folder.display(), %error, "cannot see whether there are sandboxes in here");
        Vec::new()
    })
}

/// The folders in a folder, none where that is missing. Links are not followed.
fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes a sandbox, `latest` where it points there, and the folders above it that are empty then. A repeat goes on
/// where the last one failed.
pub fn remove(sandbox: &Path) -> io::Result<()> {
    {
        let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = sandbox.with_file_name("latest");
        if fs::read_link(&latest).is_ok_and(|newest| Some(newest.as_os_str()) == sandbox.file_name()) {
            fs::remove_file(latest)?;
        }
    }
    reached(Failpoint::LatestRemoved);
    tree::remove(sandbox)?;
    reached(Failpoint::SandboxRemoved);
    let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runs) = sandbox.parent() {
        // None is removed that has something in it.
        let _ = with_those_above(runs).try_for_each(fs::remove_dir);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bourse_types::{FrameworkId, TaskId};

    #[test]
    fn the_way_to_sandboxes_is_open_only_where_tasks_have_to_pass_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let mode =
            || fs::metadata(folder.path().join("slaves")).expect("there").permissions().mode() & 0o7777;
        for (isolation, expected) in
            [(Isolation::Process, 0o711), (Isolation::Linux, 0o700), (Isolation::Process, 0o711)]
        {
            guard(folder.path(), isolation).expect("ours");
            assert_eq!(mode(), expected, "{isolation:?}");
        }
    }

    #[test]
    fn a_sandbox_is_where_mesos_tools_look_and_latest_is_the_newest() {
        let folder = tempfile::tempdir().expect("a folder");
        let work = folder.path().canonicalize().expect("there");
        let agent = AgentId::new("m-S0").expect("valid");
        let task = TaskKey {
            framework: FrameworkId::new("m-0000").expect("valid"),
            task: TaskId::new("t 1").expect("valid"),
        };
        let container = |name: &str| ContainerId::new(name).expect("valid");
        assert_eq!(latest(&work, &agent, &task), None);
        make(&work, &agent, &task, &container("c1")).expect("made");
        make(&work, &agent, &task, &container("c1")).expect("made again");
        let second = make(&work, &agent, &task, &container("c2")).expect("made");
        let expected = work.join("slaves/m-S0/frameworks/m-0000/executors/t 1/runs/c2");
        assert_eq!((second, latest(&work, &agent, &task)), (expected.clone(), Some(expected)));
    }
}
