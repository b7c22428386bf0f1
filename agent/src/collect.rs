//! Sandboxes of ended tasks go when they are old, and the sooner the fuller the disk is.
//!
//! The rule is Mesos' (`gc_delay`, `gc_disk_headroom`): a sandbox is kept for the delay, shortened by the part of the disk
//! that is used, and not at all where less than the headroom is free. The disk is as full as the scarcer is of its bytes and
//! its inodes. The age counts from when the agent last had the task: it marks the sandboxes of those it has, once a round, by
//! the time of their last change of mode. A task can set other times of its sandbox as it likes, but not that one. Tars that
//! were unpacked as roots of tasks go by the same rule.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bourse_containerizer::LinuxContainerizer;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::disk::Space;
use crate::view::{View, Views};
use crate::{sandbox, unpacked};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(60);

/// However full the disk is, a sandbox is kept for so long: its end may just have been told, and one that was made during
/// the round is not among those that the round knows. Two minutes, and the round that may lie between mark and end.
const LEAST: Duration = Duration::from_secs(180);

/// How long sandboxes are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keeping {
    /// On an empty disk.
    pub delay: Duration,
    /// The part of the disk that is to stay free, 0 to 1.
    pub headroom: f64,
}

impl Keeping {
    /// On a disk of which this part is used, 0 to 1.
    fn age(self, used: f64) -> Duration {
        self.delay.mul_f64((1.0 - self.headroom - used).clamp(0.0, 1.0)).max(LEAST)
    }
}

/// Collects for ever, one round a minute.
pub async fn collect(work_dir: PathBuf, keeping: Keeping, views: Views, containers: LinuxContainerizer) {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let (view, folder, containers) = (views.borrow().clone(), work_dir.clone(), containers.clone());
        let collected = spawn_blocking(move || {
            let space = Space::of(&folder)?;
            let age = keeping.age(space.used());
            let now = SystemTime::now();
            let sandboxes = round(&folder, &view, age, now, |sandbox| {
                containers.take_back(sandbox)?;
                sandbox::remove(sandbox)?;
                containers.sandbox_removed(sandbox);
                Ok(())
            });
            let in_use = view.tasks.values().map(|task| task.container.as_str()).collect();
            let roots = unpacked::collect(&folder, &in_use, |path| older(path, age, now));
            Ok((sandboxes, roots, age, space))
        });
        match collected.await.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok((0, 0, ..)) => {}
            Ok((sandboxes, roots, age, space)) => {
                info!(
                    sandboxes,
                    roots,
                    ?age,
                    disk = %space,
                    "removed sandboxes and unpacked roots of tasks that ended longer ago"
                );
            }
            Err(error) => warn!(%error, "cannot see how full the disk is: no old sandboxes are removed"),
        }
    }
}

/// Marks what is in use and removes what has not been for longer than `age`; tells how many. What cannot be marked or
/// removed does not hold up the others.
fn round(
    work_dir: &Path,
    view: &View,
    age: Duration,
    now: SystemTime,
    remove: impl Fn(&Path) -> io::Result<()>,
) -> usize {
    let in_use: BTreeSet<PathBuf> = view
        .agent
        .iter()
        .flat_map(|agent| view.tasks.iter().map(move |(key, task)| (agent, key, task)))
        .map(|(agent, key, task)| sandbox::path(work_dir, agent, key, &task.container))
        .collect();
    for sandbox in &in_use {
        // One that is yet to be made needs no mark.
        let Ok(there) = fs::metadata(sandbox) else { continue };
        if let Err(error) = fs::set_permissions(sandbox, there.permissions()) {
            warn!(sandbox = %sandbox.display(), %error, "cannot mark that a sandbox is in use; its age counts from the last mark");
        }
    }
    let mut removed = 0;
    let runs = sandbox::all_runs(work_dir);
    let sandboxes = runs.iter().flat_map(|runs| sandbox::all_in(runs));
    for sandbox in sandboxes.filter(|sandbox| !in_use.contains(sandbox)) {
        let gone = older(&sandbox, age, now).and_then(|older| match older {
            true => remove(&sandbox).map(|()| 1),
            false => Ok(0),
        });
        match gone {
            Ok(gone) => removed += gone,
            Err(error) => {
                warn!(sandbox = %sandbox.display(), %error, "cannot remove all of an old sandbox; the rest is kept for as long again");
            }
        }
    }
    runs.iter().for_each(|runs| sandbox::tidy(runs));
    removed
}

/// Whether a file or directory was last marked longer ago.
fn older(path: &Path, age: Duration, now: SystemTime) -> io::Result<bool> {
    let marked = u64::try_from(fs::symlink_metadata(path)?.ctime()).unwrap_or(0);
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(marked);
    Ok(now.duration_since(since).is_ok_and(|old| old > age))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use bourse_agent_core::TaskKey;
    use bourse_containerizer::failpoint::{self, Failpoint};
    use bourse_types::{AgentId, ContainerId, FrameworkId, TaskId};
    use nix::mount::{MsFlags, mount};
    use nix::sched::CloneFlags;
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::*;
    use crate::view::TaskView;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_fuller_disk_keeps_sandboxes_for_less_time_and_always_for_a_little() {
        let keeping = Keeping { delay: 10 * HOUR, headroom: 0.1 };
        assert_eq!(keeping.age(0.0), 9 * HOUR);
        assert_eq!(keeping.age(0.4), 5 * HOUR);
        assert_eq!(keeping.age(0.95), LEAST);
        assert_eq!(Keeping { delay: Duration::ZERO, headroom: 0.0 }.age(0.0), LEAST);
    }

    #[test]
    fn what_ended_long_ago_goes_with_its_empty_folders_and_what_is_in_use_or_new_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let work = folder.path().canonicalize().expect("there");
        let agent = AgentId::new("m-S0").expect("valid");
        let key = |task: &str| TaskKey {
            framework: FrameworkId::new("f").expect("valid"),
            task: TaskId::new(task).expect("valid"),
        };
        let container = |name: &str| ContainerId::new(name).expect("valid");
        let make = |task: &str, name: &str| {
            let sandbox = sandbox::make(&work, &agent, &key(task), &container(name)).expect("made");
            fs::create_dir(sandbox.join("deep")).expect("writable");
            fs::write(sandbox.join("deep/stdout"), "text").expect("writable");
            sandbox
        };
        let kept = folder.path().join("kept");
        fs::write(&kept, "not ours").expect("writable");
        let (old, again, live) = (make("old", "c1"), make("twice", "c2"), make("twice", "c3"));
        symlink(&kept, old.join("way out")).expect("writable");
        let running = TaskView { container: container("c3"), started: true, ended: false, disk_limit: None };
        let view =
            View { agent: Some(agent.clone()), tasks: [(key("twice"), running)].into_iter().collect() };

        assert_eq!(round(&work, &view, HOUR, SystemTime::now(), sandbox::remove), 0, "nothing is old");
        let later = SystemTime::now() + 2 * HOUR;
        assert_eq!(round(&work, &view, HOUR, later, sandbox::remove), 2);
        assert!(!old.exists() && !again.exists() && live.join("deep/stdout").exists());
        assert!(!work.join("slaves/m-S0/frameworks/f/executors/old").exists(), "its empty folders go too");
        assert_eq!(sandbox::latest(&work, &agent, &key("twice")), Some(live), "the newest is still found");
        assert_eq!(fs::read_to_string(&kept).expect("there"), "not ours");
        assert_eq!(round(&work, &view, HOUR, later, sandbox::remove), 0);
    }

    #[test]
    fn what_cannot_be_removed_or_looked_into_does_not_hold_up_the_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let work = folder.path().canonicalize().expect("there");
        let agent = AgentId::new("m-S0").expect("valid");
        let made = ["t1", "t2", "t3"].map(|task| {
            let key = TaskKey {
                framework: FrameworkId::new("f").expect("valid"),
                task: TaskId::new(task).expect("valid"),
            };
            sandbox::make(&work, &agent, &key, &ContainerId::new("c").expect("valid")).expect("made")
        });
        fs::create_dir(work.join("slaves/m-S1")).expect("writable");
        fs::write(work.join("slaves/m-S1/frameworks"), "no folder").expect("writable");
        // Something is mounted in the first, for this thread only.
        std::thread::spawn(move || {
            nix::sched::unshare(CloneFlags::CLONE_NEWNS).expect("tests run as root");
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("ours");
            let busy = made[0].join("busy");
            fs::create_dir(&busy).expect("writable");
            mount(Some("none"), &busy, Some("tmpfs"), MsFlags::empty(), none).expect("ours");
            let later = SystemTime::now() + 2 * HOUR;
            assert_eq!(round(&work, &View::default(), HOUR, later, sandbox::remove), 2);
            assert_eq!(made.each_ref().map(|sandbox| sandbox.exists()), [true, false, false]);
        })
        .join()
        .expect("as said");
    }

    /// Set for a process that is killed while it collects: its work directory, and the step.
    const DIES_IN: &str = "COLLECT_TEST_DIES_IN";
    const DIES_AT: &str = "COLLECT_TEST_DIES_AT";

    #[test]
    fn a_collection_that_is_cut_short_at_any_step_is_finished_by_the_next() {
        let later = SystemTime::now() + 2 * HOUR;
        let collect = |work: &Path| round(work, &View::default(), HOUR, later, sandbox::remove);
        if let Some(work) = std::env::var_os(DIES_IN) {
            let step = std::env::var(DIES_AT).expect("set together");
            failpoint::observe(move |reached| {
                if format!("{reached:?}") == step {
                    kill(Pid::this(), Signal::SIGKILL).expect("we may");
                }
            });
            collect(Path::new(&work));
            return;
        }
        let key = TaskKey {
            framework: FrameworkId::new("f").expect("valid"),
            task: TaskId::new("t").expect("valid"),
        };
        let agent = AgentId::new("m-S0").expect("valid");
        for (step, left) in [(Failpoint::LatestRemoved, 1), (Failpoint::SandboxRemoved, 0)] {
            let folder = tempfile::tempdir().expect("a folder");
            let work = folder.path().canonicalize().expect("there");
            let container = ContainerId::new("c1").expect("valid");
            let sandbox = sandbox::make(&work, &agent, &key, &container).expect("made");
            fs::write(sandbox.join("stdout"), "text").expect("writable");
            let test = "collect::tests::a_collection_that_is_cut_short_at_any_step_is_finished_by_the_next";
            let mut dying = Command::new(std::env::current_exe().expect("it is running"));
            dying.args(["--exact", test]).env(DIES_IN, &work).env(DIES_AT, format!("{step:?}"));
            let ended = dying.output().expect("it can be started again");
            assert_eq!(ended.status.signal(), Some(Signal::SIGKILL as i32), "{step:?}: {ended:?}");
            assert_eq!((collect(&work), collect(&work)), (left, 0), "{step:?}");
            let frameworks = fs::read_dir(work.join("slaves/m-S0/frameworks")).expect("there").count();
            assert_eq!(frameworks, 0, "{step:?}: its empty folders go too");
        }
    }

    #[test]
    fn a_task_cannot_make_its_sandbox_younger_and_a_work_directory_without_tasks_is_fine() {
        let folder = tempfile::tempdir().expect("a folder");
        let work = folder.path().canonicalize().expect("there");
        let view = View::default();
        assert_eq!(round(&work, &view, HOUR, SystemTime::now(), sandbox::remove), 0);
        let key = TaskKey {
            framework: FrameworkId::new("f").expect("valid"),
            task: TaskId::new("t").expect("valid"),
        };
        let agent = AgentId::new("m-S0").expect("valid");
        let sandbox =
            sandbox::make(&work, &agent, &key, &ContainerId::new("c1").expect("valid")).expect("made");
        let year = SystemTime::now() + 9000 * HOUR;
        fs::File::open(&sandbox).and_then(|sandbox| sandbox.set_modified(year)).expect("ours");
        assert_eq!(round(&work, &view, HOUR, SystemTime::now() + 2 * HOUR, sandbox::remove), 1);
    }
}
