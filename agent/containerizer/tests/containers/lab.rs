//! A place for one test, and the proof that nothing of it is left.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bourse_containerizer::cgroup::Extra;
use bourse_containerizer::{
    Config, ContainerSpec, Containerizer, Ended, Filters, Isolation, Launched, Limits, LinuxContainerizer,
    LogLimits, Outcome, UserBlocks,
};
use bourse_types::{ContainerId, Exit, Milli, Namespaces};
use tempfile::TempDir;

/// How long anything may take before a test calls it broken.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Set for a process in which nothing else happens.
const ALONE: &str = "CONTAINERS_TEST_ALONE";

/// Whether nothing else happens in this process. Where something may, the test is run in a process of its own, in which it has
/// to pass, and there is nothing to do here.
pub fn is_alone(test: &str) -> bool {
    if env::var_os(ALONE).is_some() {
        return true;
    }
    let mut alone = Command::new(env::current_exe().expect("it is running"));
    let ran = alone.args(["--exact", test, "--nocapture"]).env(ALONE, "1").output();
    let ran = ran.expect("it can be started again");
    let (said, trouble) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.contains("1 passed"), "{said}{trouble}");
    // Shown with `--nocapture`.
    println!("{said}");
    false
}

/// A work directory with sandboxes, a runtime directory, and control groups of its own.
pub struct Lab {
    pub containerizer: LinuxContainerizer,
    /// What the agent hides from its tasks.
    pub work: PathBuf,
    pub instance: String,
    /// Removed with the lab; `None` for one that belongs to another process.
    root: Option<TempDir>,
    /// Mounts of the machine before anything was done here.
    mounts: Vec<String>,
    /// Whether it was proven that nothing is left.
    is_proven: AtomicBool,
}

impl Lab {
    pub fn new() -> Lab {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make control groups and namespaces for real and need root: run them with sudo"
        );
        let root = TempDir::new().expect("a temporary directory");
        let instance = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut lab = Lab::at(root.path(), &instance);
        lab.root = Some(root);
        lab
    }

    /// The lab of another process, as a restarted agent would find it.
    pub fn at(root: &Path, instance: &str) -> Lab {
        let work = root.join("work");
        fs::create_dir_all(work.join("sandboxes")).expect("a temporary directory is writable");
        // As strict as an agent's own: only root gets in, so that everything else has to work through the
        // container.
        fs::set_permissions(&work, fs::Permissions::from_mode(0o700)).expect("it is ours");
        let config = Config {
            runtime_dir: work.join("run"),
            instance: instance.to_owned(),
            users: UserBlocks::default(),
            last_users: work.join("last-users"),
        };
        let containerizer = LinuxContainerizer::open(&config).expect("it can be opened");
        Lab {
            containerizer,
            work,
            instance: instance.to_owned(),
            root: None,
            mounts: mounts_of_the_machine(),
            is_proven: AtomicBool::new(false),
        }
    }

    pub fn root(&self) -> &Path {
        self.work.parent().expect("work is in root")
    }

    /// A spec with a sandbox of its own; every process of it carries the lab's mark in its environment.
    pub fn spec(&self, name: &str, argv: &[&str]) -> ContainerSpec {
        let sandbox = self.work.join("sandboxes").join(name);
        fs::create_dir_all(&sandbox).expect("a temporary directory is writable");
        ContainerSpec {
            container_id: ContainerId::new(name).expect("a good id"),
            argv: argv.iter().map(|&arg| arg.to_owned()).collect(),
            env: vec![("LAB".into(), self.instance.clone())],
            user: None,
            sandbox,
            cwd: None,
            hostname: None,
            limits: Limits {
                memory_bytes: Some(64 << 20),
                pids: Some(64),
                ..Limits::unlimited(Milli::new(500))
            },
            logs: LogLimits::NONE,
            root: None,
            volumes: vec![],
            namespaces: Namespaces::default(),
            hide: vec![self.work.clone()],
            filters: Filters::usual().expect("it can be compiled"),
            isolation: Isolation::Linux,
        }
    }

    pub fn shell(&self, name: &str, script: &str) -> ContainerSpec {
        self.spec(name, &["/bin/sh", "-c", script])
    }

    pub async fn launch(&self, spec: &ContainerSpec) -> Launched {
        self.containerizer.launch(spec).await.unwrap_or_else(|error| panic!("launch: {error}"))
    }

    pub async fn wait(&self, spec: &ContainerSpec) -> Ended {
        within(self.containerizer.wait(&spec.container_id)).await.expect("the container is known")
    }

    /// Launches, waits, and tells how it ended.
    pub async fn run(&self, spec: &ContainerSpec) -> Exit {
        self.launch(spec).await;
        exit_of(&self.wait(spec).await)
    }

    /// Runs a script and returns what it wrote to stdout.
    pub async fn output(&self, spec: &ContainerSpec) -> String {
        let exit = self.run(spec).await;
        assert_eq!(exit, Exit::Code(0), "stderr: {}", read(spec, "stderr"));
        read(spec, "stdout")
    }

    /// Destroys everything and proves that nothing is left.
    pub async fn finish(self) {
        let first_processes = self.first_processes();
        for recovered in self.containerizer.recover().await.expect("the runtime directory is readable") {
            self.containerizer.destroy(&recovered.container_id).await.expect("it can be destroyed");
        }
        for (pid, start) in first_processes {
            assert!(!is_left(pid, start), "the first process {pid} is left, or was not reaped");
        }
        self.assert_nothing_is_left();
    }

    pub fn assert_nothing_is_left(&self) {
        self.is_proven.store(true, Ordering::Relaxed);
        let left = self.traces();
        assert!(left.is_empty(), "{left:#?}");
        // A program that another test starts has copies of our descriptors for as long as it is none yet.
        let since = Instant::now();
        let mut held = self.holders();
        while !held.is_empty() {
            assert!(since.elapsed() < DEADLINE, "{held:#?}");
            std::thread::sleep(Duration::from_millis(5));
            held = self.holders();
        }
    }

    /// All that is left on the machine, in words.
    ///
    /// Namespaces are not counted by themselves: one lives only as long as a process in it, a descriptor of it or a
    /// mount, and all of these are.
    pub fn left(&self) -> Vec<String> {
        [self.traces(), self.holders()].concat()
    }

    fn traces(&self) -> Vec<String> {
        let processes = processes_marked(&format!("LAB={}", self.instance)).into_iter();
        let groups = groups_of(&self.instance).into_iter();
        let root = self.root().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        let mounts = mounts.lines().filter(|line| line.contains(&root));
        let elsewhere = mounts_of_the_machine().into_iter().filter(|mount| !self.mounts.contains(mount));
        let files = fs::read_dir(self.work.join("run")).expect("it is there").flatten();
        processes
            .map(|pid| format!("process {pid}"))
            .chain(groups.map(|path| format!("control group {}", path.display())))
            .chain(mounts.map(|line| format!("mount {line}")))
            .chain(elsewhere.map(|mount| format!("mount {mount}")))
            .chain(files.map(|file| format!("file {}", file.path().display())))
            .collect()
    }

    /// Processes that hold files of the lab, whatever their environment is, and descriptors of ours: of its files, and of
    /// any namespace but one.
    fn holders(&self) -> Vec<String> {
        const NAMESPACES: [&str; 7] = ["pid:[", "mnt:[", "uts:[", "ipc:[", "net:[", "cgroup:[", "time:["];
        // By the name alone: in another mount namespace what is above it may be gone.
        let name = self.root().file_name().expect("a lab has a directory").to_string_lossy().into_owned();
        let own = std::process::id();
        let (mut found, mut of_users) = (Vec::new(), Vec::new());
        for pid in all_processes() {
            for place in open_places(pid) {
                let place = place.to_string_lossy();
                let is_namespace = NAMESPACES.iter().any(|kind| place.starts_with(kind));
                if place.contains(&name) || (pid == own && is_namespace) {
                    found.push(format!("held by {pid}: {place}"));
                } else if pid == own && place.starts_with("user:[") {
                    of_users.push(format!("held by {pid}: {place}"));
                }
            }
        }
        // An agent keeps one, in which nobody is known, for all containers.
        if of_users.len() > 1 {
            found.append(&mut of_users);
        }
        found
    }

    /// The first process of each container that there is: its number, and when it started.
    fn first_processes(&self) -> Vec<(u32, u64)> {
        let containers = fs::read_dir(self.work.join("run")).expect("it is there").flatten();
        let started = containers.filter_map(|entry| fs::read_to_string(entry.path().join("started")).ok());
        let parse = |line: String| {
            let mut fields = line.split_whitespace().skip(2);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        started.filter_map(parse).collect()
    }
}

/// A test that failed cleans up as well as it can, so that the next one finds the machine as it was. One that did not
/// has to have proven that nothing is left. Whoever shares a lab waits for the others before he fails: the last to let go of it
/// may be somebody to whom nothing has happened.
impl Drop for Lab {
    fn drop(&mut self) {
        if self.root.is_none() || self.is_proven.load(Ordering::Relaxed) && !std::thread::panicking() {
            return;
        }
        let containerizer = self.containerizer.clone();
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                for left in containerizer.recover().await.unwrap_or_default() {
                    let _ = containerizer.destroy(&left.container_id).await;
                }
            });
            std::io::Result::Ok(())
        });
        let _ = cleaning.join();
        assert!(std::thread::panicking(), "a test in a lab ends with `finish`");
    }
}

pub fn exit_of(ended: &Ended) -> Exit {
    match &ended.outcome {
        Outcome::Exited(exit) => *exit,
        other => panic!("no exit status: {other:?}"),
    }
}

/// A file of the sandbox.
pub fn read(spec: &ContainerSpec, name: &str) -> String {
    fs::read_to_string(spec.sandbox.join(name)).unwrap_or_default()
}

/// The process whose child this is.
pub fn parent_of(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let (_, fields) = stat.rsplit_once(')').expect("a stat line");
    fields.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a stat line")
}

/// Whether a process that started then, in the kernel's clock ticks, is there: as one that runs, or as one that we have
/// to reap. Others may take their time for that, or never do it.
fn is_left(pid: u32, start: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    // After the name, as proc_pid_stat(5) has them: the state is field 3, the parent 4, the start 22.
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let is_ours = fields[4 - 3] == std::process::id().to_string();
    fields[22 - 3] == start.to_string() && (fields[0] != "Z" || is_ours)
}

pub fn all_processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Where a process is, and what it has open.
fn open_places(pid: u32) -> Vec<PathBuf> {
    let of_process = Path::new("/proc").join(pid.to_string());
    let descriptors = fs::read_dir(of_process.join("fd")).into_iter().flatten().flatten();
    let links =
        descriptors.map(|entry| entry.path()).chain(["cwd", "root"].map(|name| of_process.join(name)));
    // What is closed by now, or has ended, holds nothing.
    links.filter_map(|link| fs::read_link(link).ok()).collect()
}

/// Mounts of this machine, each by its number and place, but for those that come and go by themselves and those of tests
/// in directories of their own.
fn mounts_of_the_machine() -> Vec<String> {
    const BY_THEMSELVES: [&str; 4] = ["/run", "/var", "/media", "/proc/sys/fs/binfmt_misc"];
    let temporary = std::env::temp_dir();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let named = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, Path::new(fields.nth(3)?)))
    });
    let lasting = named.filter(|(_, place)| {
        !place.starts_with(&temporary) && !BY_THEMSELVES.iter().any(|own| place.starts_with(own))
    });
    lasting.map(|(number, place)| format!("{number} {}", place.display())).collect()
}

/// All processes on this machine with this variable in their environment.
pub fn processes_marked(variable: &str) -> Vec<u32> {
    all_processes()
        .into_iter()
        .filter(|pid| {
            let env = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            env.split(|&byte| byte == 0).any(|text| text == variable.as_bytes())
        })
        .collect()
}

/// The control groups of an agent instance, in all hierarchies.
pub fn groups_of(instance: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    mounts
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| Some(Path::new(line.split(' ').nth(4)?).join("bourse").join(instance)))
        .filter(|path| path.exists())
        .collect()
}

/// Whether this machine has the controller, in the version that holds the others.
pub fn has(extra: Extra) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let mounts = || mounts.lines().filter_map(|line| line.split_once(" - "));
    let v1 = |name: &str| {
        mounts().any(|(_, right)| {
            let mut right = right.split(' ');
            right.next() == Some("cgroup")
                && right.nth(1).is_some_and(|list| list.split(',').any(|c| c == name))
        })
    };
    if v1("memory") {
        return v1(extra.name_v1());
    }
    let v2 = mounts().find(|(_, right)| right.starts_with("cgroup2 "));
    let point = v2.and_then(|(left, _)| left.split(' ').nth(4)).expect("it is mounted");
    let there = fs::read_to_string(Path::new(point).join("cgroup.controllers")).expect("it is readable");
    there.split_whitespace().any(|name| name == extra.name_v2())
}

/// Waits for a condition of the outside world.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for something that must come.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it took too long")
}
