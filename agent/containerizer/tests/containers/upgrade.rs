//! A container that an agent of another release has left is found, measured, resized, killed and told by this one.
//!
//! Between an agent and a first process that it did not start there are:
//! - the files `started` and `plan`, which the agent of then wrote, and `exit`, which the first process writes;
//! - signals to the first process (`bourse_init::order`, and SIGKILL), and its end, by its descriptor;
//! - its namespaces and its root, which checks enter;
//! - its control groups and those of the task, by their names;
//! - the logs in the sandbox.
//!
//! The first process of the release before is played by a script, which does all of that as the real one did; and where there
//! is a checkout with its history, it is once more the real one, built from the sources of then. That takes seconds, as it
//! has no dependencies; but a checkout need not have a history, and the machine that runs these tests need not have a
//! compiler, as the guest of `make test-cgroup2` has none. The agent of then is played in both: all that it does beside
//! starting the first process is to write the two files.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

use bourse_containerizer::{Check, CheckEnd, ContainerSpec, Containerizer, Limits, RecoveredState};
use bourse_init::plan::{BadPlan, Place, Plan};
use bourse_types::Exit;
use tempfile::TempDir;

use super::lab::{DEADLINE, Lab, exit_of, groups_of, parent_of, read, until};
use super::recovery::recover;

/// The form of plans in which a task wrote its logs itself, by their paths, and had no score and no root of its own: see
/// `a_plan_of_the_version_before_is_read`.
const VERSION: u8 = 2;

/// The agent and the first process of then.
const BEFORE: &str = include_str!("upgrade/before.py");

/// The commit with the sources of that release.
const COMMIT: &str = "e218f5b17ee325f6476f7220a6359236dd41d528";

/// Its first process itself, built in a folder from the history of this checkout; where there is no history or no compiler,
/// what is missing.
fn build_before(folder: &Path) -> Result<PathBuf, String> {
    let run = |command: &mut Command| {
        command
            .output()
            .map_err(|error| format!("{} cannot be started: {error}", command.get_program().display()))
    };
    let good = |ran: Output| match ran.status.success() {
        true => Ok(ran.stdout),
        false => Err(String::from_utf8_lossy(&ran.stderr).into_owned()),
    };
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut git = Command::new("git");
    let sources = good(run(git.arg("-C").arg(repository).args(["archive", COMMIT, "agent/init/src"]))?)?;

    let archive = folder.join("sources.tar");
    fs::write(&archive, sources).expect("it is writable");
    let unpacked = run(Command::new("tar").arg("-C").arg(folder).arg("-xf").arg(&archive))?;
    good(unpacked).expect("tar unpacks what git has packed");
    // As `build.rs` does, but for what takes long and makes it small.
    let rustc = |kind: &str, name: &str, source: &str, more: [&str; 2]| {
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "--crate-type", kind, "--crate-name", name]).args(more);
        for setting in ["target-feature=+crt-static", "relocation-model=static", "panic=abort"] {
            rustc.args(["-C", setting]);
        }
        let source = Path::new("agent/init/src").join(source);
        let built = run(rustc.arg(source).current_dir(folder))?;
        good(built).unwrap_or_else(|trouble| panic!("sources that were built once: {trouble}"));
        Ok::<(), String>(())
    };
    rustc("rlib", "bourse_init", "lib.rs", ["--out-dir", "."])?;
    rustc("bin", "bourse_init_bin", "main.rs", ["--extern", "bourse_init=libbourse_init.rlib"])?;
    Ok(folder.join("bourse_init_bin"))
}

/// A task that tells when it is asked to end, and ends by itself when there is a file `stop`.
const SCRIPT: &str =
    "trap 'echo asked; exit 5' TERM; echo up; while [ ! -e stop ]; do sleep 0.01; done; exit 3";

/// The files by which the first process and the task joined their control groups then.
struct Joins {
    init: Vec<PathBuf>,
    task: Vec<PathBuf>,
}

impl Joins {
    fn of(lab: &Lab, container: &str) -> Joins {
        let groups = groups_of(&lab.instance).into_iter().map(|agents| agents.join(container));
        let groups: Vec<PathBuf> = groups.filter(|group| group.exists()).collect();
        let joined = |groups: Vec<PathBuf>| -> Vec<PathBuf> {
            let files = groups.into_iter().map(|group| group.join("cgroup.procs"));
            files.filter(|file| file.exists()).collect()
        };
        // In version 2, groups with others in them hold no process.
        let leaf = |group: &PathBuf| Some(group.join("init")).filter(|leaf| leaf.exists());
        let init = groups.iter().map(|group| leaf(group).unwrap_or_else(|| group.clone())).collect();
        let task = groups.iter().map(|group| group.join("task")).collect();
        let joins = Joins { init: joined(init), task: joined(task) };
        assert!(!joins.init.is_empty() && !joins.task.is_empty(), "{groups:?}");
        joins
    }
}

/// The bytes of a plan of that form.
struct Old(Vec<u8>);

impl Old {
    fn number(&mut self, value: usize) {
        self.0.extend(u32::try_from(value).expect("a small one").to_le_bytes());
    }

    fn long(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    fn text(&mut self, value: impl AsRef<std::ffi::OsStr>) {
        let bytes = value.as_ref().as_bytes();
        self.number(bytes.len());
        self.0.extend(bytes);
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Old, T)) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Old, &T)) {
        self.number(items.len());
        items.iter().for_each(|item| write(self, item));
    }

    fn of(plan: &Plan, joins: &Joins) -> Vec<u8> {
        let Place::Container { hostname, sandbox, shm_bytes, volumes, hide, .. } = &plan.place else {
            panic!("it is the plan of a container: {plan:?}")
        };
        let mut old = Old(b"BPLN".to_vec());
        old.0.extend([VERSION, 0]);
        old.option(hostname.as_ref(), |old, name| old.text(name));
        old.text(sandbox);
        old.long(*shm_bytes);
        old.list(volumes, |old, bind| {
            old.text(&bind.source);
            old.text(&bind.target);
            old.0.push(u8::from(bind.writable));
        });
        old.list(hide, |old, path| old.text(path));
        old.list(&plan.argv, |old, arg| old.text(arg));
        old.list(&plan.env, |old, variable| old.text(variable));
        old.text(&plan.cwd);
        old.option(plan.identity.as_ref(), |old, identity| {
            [identity.uid, identity.gid].into_iter().for_each(|id| old.number(id as usize));
            old.list(&identity.groups, |old, group| old.number(*group as usize));
            old.long(identity.capabilities);
        });
        old.long(plan.open_files);
        old.list(&plan.filters, |old, program| old.text(std::ffi::OsStr::from_bytes(program)));
        let log = |name: &str| Some(sandbox.join(name));
        for log in [log("stdout"), log("stderr")] {
            old.option(log, |old, path| old.text(path));
        }
        old.option(plan.record.as_ref(), |old, path| old.text(path));
        old.list(&joins.init, |old, path| old.text(path));
        old.list(&joins.task, |old, path| old.text(path));
        old.0
    }
}

/// Puts what an agent of the release before would have written in the place of what this one has.
fn as_before(lab: &Lab, container: &str) {
    let path = lab.work.join("run").join(container).join("plan");
    let plan = Plan::decode(&fs::read(&path).expect("it is there")).expect("it is a plan");
    let old = Old::of(&plan, &Joins::of(lab, container));
    assert!(Plan::decode(&old).is_ok(), "it is a plan of the version before");
    fs::write(path, old).expect("it is ours");
}

/// A container of the release before.
struct Left {
    spec: ContainerSpec,
    /// The agent of then, which ends with its container.
    agent: Child,
}

impl Left {
    /// By this first process; without one it is played.
    async fn launch(lab: &Lab, name: &str, program: Option<&Path>) -> Left {
        // One of today lends its control groups and its mounts, and then makes way.
        let spec = lab.shell(name, &format!("[ -e begin ] || exec sleep 1000; {SCRIPT}"));
        let lender = lab.launch(&spec).await.pid;
        let comm = format!("/proc/{lender}/comm");
        until("it lends", || fs::read_to_string(&comm).is_ok_and(|comm| comm == "sleep\n")).await;
        as_before(lab, name);
        fs::write(spec.sandbox.join("begin"), "").expect("it is writable");
        let agent = Command::new("python3")
            .args(["-c", BEFORE])
            .arg(lab.work.join("run").join(name))
            .arg(parent_of(lender).to_string())
            .args(program)
            .env("LAB", &lab.instance)
            .spawn()
            .expect("python3 can be started");
        // What this one made of the lender is of no interest, but nobody else can reap it.
        lab.wait(&spec).await;
        until("it runs", || read(&spec, "stdout") == "up\n").await;
        Left { spec, agent }
    }

    /// The task's main process, as the agent of then has written down.
    fn task(&self, lab: &Lab) -> u32 {
        let path = lab.work.join("run").join(self.spec.container_id.as_str()).join("started");
        let line = fs::read_to_string(path).expect("it is there");
        line.split(' ').nth(4).and_then(|text| text.parse().ok()).expect("a line of form 1")
    }

    /// Runs a check beside the task.
    async fn check(&self, lab: &Lab, name: &str) {
        let script = format!("test \"$LAB\" = \"$WANTED\" && kill -0 2 && [ -d /proc/2 ] && pwd > {name}");
        let argv = ["/bin/sh", "-c", &script].map(str::to_owned).into();
        let env = vec![("WANTED".to_owned(), lab.instance.clone())];
        let check = Check { argv, env, timeout: DEADLINE };
        let end = lab.containerizer.exec(&self.spec.container_id, &check).await.expect("it can be run");
        assert_eq!(end, CheckEnd::Exited(Exit::Code(0)), "{name}");
        assert_eq!(read(&self.spec, name), "/mnt/mesos/sandbox\n", "where the task is");
    }

    /// Waits until nothing of it runs.
    async fn gone(&mut self) {
        let mut status = None;
        until("it is gone", || {
            status = self.agent.try_wait().expect("it is our child");
            status.is_some()
        })
        .await;
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_the_release_before_has_left_is_found_checked_measured_resized_killed_and_told() {
    take_over(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_the_first_process_of_the_release_before_itself_is_in_is_taken_over_as_well() {
    let folder = TempDir::new().expect("a temporary directory");
    match build_before(folder.path()) {
        Ok(program) => take_over(Some(&program)).await,
        Err(why) => println!("left out, as {COMMIT} cannot be built here: {why}"),
    }
}

async fn take_over(program: Option<&Path>) {
    let lab = Lab::new();
    let mut asked = Left::launch(&lab, "asked", program).await;
    let mut destroyed = Left::launch(&lab, "destroyed", program).await;
    let mut ended = Left::launch(&lab, "ended", program).await;
    let mut killed = Left::launch(&lab, "killed", program).await;
    // While no agent is there.
    fs::write(ended.spec.sandbox.join("stop"), "").expect("it is writable");
    ended.gone().await;

    let next = Lab::at(lab.root(), &lab.instance);
    let found = recover(&next.containerizer).await;
    let [of_asked, of_destroyed, of_ended, of_killed] = &found[..] else {
        panic!("four containers: {found:?}")
    };
    let RecoveredState::Ended(end) = &of_ended.state else { panic!("it ended: {of_ended:?}") };
    assert_eq!(exit_of(end), Exit::Code(3));
    assert!(end.at.is_some(), "{end:?}");
    next.containerizer.usage(&of_ended.container_id).await.expect("it is known until it is destroyed");
    for (found, left) in [(of_asked, &asked), (of_destroyed, &destroyed), (of_killed, &killed)] {
        let RecoveredState::Running(launched) = found.state else { panic!("it runs: {found:?}") };
        assert_eq!(launched.pid, left.task(&lab));
        let id = &left.spec.container_id;
        let usage = next.containerizer.usage(id).await.expect("it runs");
        assert!(usage.pids > 0 && usage.cpu > Duration::ZERO, "{usage:?}");
        left.check(&next, "checked").await;

        // Its plan is one of this release then.
        let limits = Limits { memory_bytes: Some(48 << 20), pids: Some(32), ..left.spec.limits.clone() };
        next.containerizer.resize(id, &limits).await.expect("it runs");
        let usage = next.containerizer.usage(id).await.expect("it runs");
        assert_eq!((usage.memory_limit_bytes, usage.pids_limit), (Some(48 << 20), Some(32)));
        left.check(&next, "checked-again").await;
    }

    let later = Lab::at(lab.root(), &lab.instance);
    let found = recover(&later.containerizer).await;
    let running = found.iter().filter(|found| matches!(found.state, RecoveredState::Running(_)));
    assert_eq!(running.count(), 3, "{found:?}");
    asked.check(&later, "checked-at-last").await;
    later.containerizer.terminate(&asked.spec.container_id).await.expect("it runs");
    assert_eq!(exit_of(&later.wait(&asked.spec).await), Exit::Code(5));
    assert_eq!(read(&asked.spec, "stdout"), "up\nasked\n");
    later.containerizer.kill_all(&killed.spec.container_id).await.expect("it runs");
    assert_eq!(exit_of(&later.wait(&killed.spec).await), Exit::Signal(libc::SIGKILL));
    later.containerizer.destroy(&destroyed.spec.container_id).await.expect("it can be destroyed");
    for left in [&mut asked, &mut destroyed, &mut killed] {
        left.gone().await;
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_step_back_tasks_of_a_later_release_run_on_and_are_measured_resized_killed_and_told() {
    let lab = Lab::new();
    let spec = lab.shell("c1", SCRIPT);
    let pid = lab.launch(&spec).await.pid;
    until("it runs", || read(&spec, "stdout") == "up\n").await;
    // A plan with something in it that this release does not know.
    let path = lab.work.join("run/c1/plan");
    let mut plan = fs::read(&path).expect("it is there");
    plan[4] += 1;
    plan.extend(b"more");
    fs::write(&path, &plan).expect("it is ours");
    assert!(matches!(Plan::decode(&plan), Err(BadPlan::Version(_))));

    let earlier = Lab::at(lab.root(), &lab.instance);
    let found = recover(&earlier.containerizer).await;
    let RecoveredState::Running(launched) = found[0].state else { panic!("it runs: {found:?}") };
    assert_eq!(launched.pid, pid);
    let id = &spec.container_id;
    let usage = earlier.containerizer.usage(id).await.expect("it runs");
    assert!(usage.pids > 0, "{usage:?}");
    let check = Check { argv: vec!["true".into()], env: vec![], timeout: DEADLINE };
    let error =
        earlier.containerizer.exec(id, &check).await.expect_err("it cannot be known as whom it would run");
    assert!(error.to_string().contains("read its plan") && error.to_string().contains("version"), "{error}");
    let limits = Limits { pids: Some(32), ..spec.limits.clone() };
    earlier.containerizer.resize(id, &limits).await.expect("it runs");
    let usage = earlier.containerizer.usage(id).await.expect("it runs");
    assert_eq!(usage.pids_limit, Some(32));
    assert_eq!(fs::read(&path).expect("it is there"), plan, "what is not understood is not written over");
    earlier.containerizer.terminate(id).await.expect("it runs");
    assert_eq!(exit_of(&earlier.wait(&spec).await), Exit::Code(5));
    lab.finish().await;
}
