//! A place for one test, and the proof that nothing of it is left.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bourse_containerizer::cgroup::Extra;
use bourse_containerizer::{
    Config, ContainerSpec, Containerizer, Ended, Filters, Isolation, Launched, Limits, LinuxContainerizer,
    LogLimits, Outcome,
};
use bourse_types::{ContainerId, Exit, Milli};
use tempfile::TempDir;

/// How long anything may take before a test calls it broken.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A work directory with sandboxes, a runtime directory, and control groups of its own.
pub struct Lab {
    pub containerizer: LinuxContainerizer,
    /// What the agent hides from its tasks.
    pub work: PathBuf,
    pub instance: String,
    /// Removed with the lab; `None` for one that belongs to another process.
    root: Option<TempDir>,
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
        let config = Config { runtime_dir: work.join("run"), instance: instance.to_owned() };
        let containerizer = LinuxContainerizer::open(&config).expect("it can be opened");
        Lab { containerizer, work, instance: instance.to_owned(), root: None }
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
            volumes: vec![],
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
        for recovered in self.containerizer.recover().await.expect("the runtime directory is readable") {
            self.containerizer.destroy(&recovered.container_id).await.expect("it can be destroyed");
        }
        self.assert_nothing_is_left();
    }

    pub fn assert_nothing_is_left(&self) {
        assert_eq!(
            processes_marked(&format!("LAB={}", self.instance)),
            Vec::<u32>::new(),
            "processes are left"
        );
        let groups = groups_of(&self.instance);
        assert!(groups.is_empty(), "control groups are left: {groups:?}");
        let root = self.root().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        let mounts: Vec<&str> = mounts.lines().filter(|line| line.contains(&root)).collect();
        assert!(mounts.is_empty(), "mounts are left: {mounts:?}");
        let left: Vec<_> = fs::read_dir(self.work.join("run")).expect("it is there").collect();
        assert!(left.is_empty(), "files are left: {left:?}");
    }
}

/// A test that failed cleans up as well as it can, so that the next one finds the machine as it was.
impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() || self.root.is_none() {
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

/// All processes on this machine with this variable in their environment.
pub fn processes_marked(variable: &str) -> Vec<u32> {
    fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
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
