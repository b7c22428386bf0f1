//! Control groups of version 1, and the hybrid layout.

use std::path::{Path, PathBuf};

use super::files::{self, children, kill_until_empty, make, write, write_if_there};
use super::{CgroupError, Hierarchy, Joins, Layout, TASK, cpu, memory, pids};
use crate::containerizer::Usage;
use crate::spec::Limits;

/// One directory for each controller: the agent's own group in that hierarchy. Controllers that are mounted
/// together have the same directory.
#[derive(Debug, Clone)]
pub struct V1 {
    /// Shares and quota.
    pub cpu: PathBuf,
    /// Time used.
    pub cpuacct: PathBuf,
    /// Limit and use of memory.
    pub memory: PathBuf,
    /// Limit of processes.
    pub pids: PathBuf,
    /// How all processes are killed at once.
    pub killer: Killer,
}

/// How a group is killed so that nothing in it can fork away meanwhile.
#[derive(Debug, Clone)]
pub enum Killer {
    /// The version 2 tree that lies beside: `cgroup.kill`, from Linux 5.14 on.
    Unified(PathBuf),
    /// The freezer: stop all, kill each, let them go.
    Freezer(PathBuf),
    /// Neither is there: kill until nobody is left.
    Signals,
}

impl V1 {
    /// The agent's group in each controller's hierarchy, each once.
    fn controllers(&self) -> Vec<&PathBuf> {
        let mut dirs = vec![&self.cpu, &self.cpuacct, &self.memory, &self.pids];
        dirs.sort();
        dirs.dedup();
        dirs
    }

    /// The group by which a container is killed: it needs no group of the task in it.
    fn killer_dir(&self) -> Option<&PathBuf> {
        match &self.killer {
            Killer::Unified(dir) | Killer::Freezer(dir) => Some(dir),
            Killer::Signals => None,
        }
    }

    fn all_dirs(&self, container: &str) -> Vec<PathBuf> {
        let own = self.controllers().into_iter().chain(self.killer_dir());
        own.flat_map(|base| [base.join(container), base.join(container).join(TASK)]).collect()
    }

    fn set(&self, container: &str, limits: &Limits) -> Result<(), CgroupError> {
        let task = |base: &Path| base.join(container).join(TASK);
        for base in self.controllers() {
            make(&task(base))?;
        }
        if let Some(base) = self.killer_dir() {
            make(&base.join(container))?;
        }
        cpu::share_v1(&self.cpu.join(container), limits.cpus)?;
        if let Some(quota) = limits.cpu_quota {
            cpu::quota_v1(&task(&self.cpu), quota)?;
        }
        if let Some(bytes) = limits.memory_bytes {
            memory::limit_v1(&task(&self.memory), bytes, limits.swap_bytes)?;
        }
        limits.pids.map_or(Ok(()), |count| pids::limit(&task(&self.pids), count))
    }
}

impl Hierarchy for V1 {
    fn layout(&self) -> Layout {
        match self.killer {
            Killer::Unified(_) => Layout::Hybrid,
            Killer::Freezer(_) | Killer::Signals => Layout::V1,
        }
    }

    fn create(&self, container: &str, limits: &Limits) -> Result<Joins, CgroupError> {
        self.set(container, limits).inspect_err(|_| drop(self.remove(container)))?;
        let procs = |dir: PathBuf| dir.join("cgroup.procs");
        let controllers = self.controllers();
        let own = controllers.iter().copied().chain(self.killer_dir());
        Ok(Joins {
            init: own.map(|base| procs(base.join(container))).collect(),
            task: controllers.iter().map(|base| procs(base.join(container).join(TASK))).collect(),
        })
    }

    fn usage(&self, container: &str) -> Option<Usage> {
        let task = |base: &Path| base.join(container).join(TASK);
        if !task(&self.memory).exists() {
            return None;
        }
        let mut usage = Usage::default();
        cpu::usage_v1(&task(&self.cpu), &task(&self.cpuacct), &mut usage);
        memory::usage_v1(&task(&self.memory), &mut usage);
        pids::usage(&task(&self.pids), &mut usage);
        Some(usage)
    }

    fn is_over_memory(&self, container: &str) -> bool {
        memory::is_over_v1(&self.memory.join(container).join(TASK))
    }

    fn processes(&self, container: &str) -> Vec<u32> {
        files::processes(&self.all_dirs(container)).into_iter().collect()
    }

    fn kill(&self, container: &str) -> Result<(), CgroupError> {
        let dirs = self.all_dirs(container);
        match &self.killer {
            Killer::Unified(base) => drop(write_if_there(&base.join(container), "cgroup.kill", 1)?),
            Killer::Freezer(base) if base.join(container).exists() => {
                let dir = base.join(container);
                write(&dir, "freezer.state", "FROZEN")?;
                // A frozen process takes a signal when it thaws: none can fork in between.
                for pid in files::processes(&dirs).into_iter().filter(|&pid| pid != 0) {
                    let pid = nix::unistd::Pid::from_raw(pid as i32);
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                }
                write(&dir, "freezer.state", "THAWED")?;
            }
            Killer::Freezer(_) | Killer::Signals => {}
        }
        kill_until_empty(&dirs)
    }

    fn remove(&self, container: &str) -> Result<(), CgroupError> {
        let own = self.controllers().into_iter().chain(self.killer_dir());
        own.into_iter().try_for_each(|base| files::remove_container(base, container, &[TASK]))
    }

    fn containers(&self) -> Vec<String> {
        let own = self.controllers().into_iter().chain(self.killer_dir());
        let mut found: Vec<String> = own.flat_map(|base| children(base)).collect();
        found.sort();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bourse_types::Milli;
    use tempfile::TempDir;

    use super::*;

    fn limits() -> Limits {
        Limits {
            cpus: Milli::new(500),
            cpu_quota: Some(Milli::new(1500)),
            memory_bytes: Some(64 << 20),
            swap_bytes: 1 << 20,
            pids: Some(100),
        }
    }

    /// A directory for each controller; the kernel's files appear when the group is made, so here they are
    /// made first.
    fn laid_out(root: &TempDir) -> V1 {
        let base = |controller: &str| root.path().join(controller).join("bourse/a1");
        let files = [
            ("cpu", "c1/cpu.shares"),
            ("cpu", "c1/task/cpu.cfs_period_us"),
            ("cpu", "c1/task/cpu.cfs_quota_us"),
            ("memory", "c1/task/memory.limit_in_bytes"),
            ("memory", "c1/task/memory.memsw.limit_in_bytes"),
            ("pids", "c1/task/pids.max"),
        ];
        for (controller, file) in files {
            let path = base(controller).join(file);
            fs::create_dir_all(path.parent().expect("it has one"))
                .expect("a temporary directory is writable");
            fs::write(path, "").expect("a temporary directory is writable");
        }
        V1 {
            cpu: base("cpu"),
            cpuacct: base("cpuacct"),
            memory: base("memory"),
            pids: base("pids"),
            killer: Killer::Freezer(base("freezer")),
        }
    }

    fn read(path: PathBuf) -> String {
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn limits_are_written_to_the_group_of_the_task_and_the_share_to_that_of_the_container() {
        let root = TempDir::new().expect("a temporary directory");
        let v1 = laid_out(&root);
        v1.create("c1", &limits()).expect("all files are there");
        assert_eq!(read(v1.cpu.join("c1/cpu.shares")), "512");
        assert_eq!(read(v1.cpu.join("c1/task/cpu.cfs_period_us")), "100000");
        assert_eq!(read(v1.cpu.join("c1/task/cpu.cfs_quota_us")), "150000");
        assert_eq!(read(v1.memory.join("c1/task/memory.limit_in_bytes")), (64 << 20).to_string());
        assert_eq!(read(v1.memory.join("c1/task/memory.memsw.limit_in_bytes")), (65 << 20).to_string());
        assert_eq!(read(v1.pids.join("c1/task/pids.max")), "100");
    }

    #[test]
    fn the_first_process_joins_every_hierarchy_and_the_task_those_with_limits() {
        let root = TempDir::new().expect("a temporary directory");
        let v1 = laid_out(&root);
        let joins = v1.create("c1", &limits()).expect("all files are there");
        assert_eq!(joins.init.len(), 5, "four controllers and the freezer");
        assert!(joins.init.contains(&root.path().join("freezer/bourse/a1/c1/cgroup.procs")));
        assert_eq!(joins.task.len(), 4);
        assert!(joins.task.contains(&root.path().join("memory/bourse/a1/c1/task/cgroup.procs")));
    }

    #[test]
    fn controllers_that_are_mounted_together_are_joined_once() {
        let root = TempDir::new().expect("a temporary directory");
        let mut v1 = laid_out(&root);
        v1.cpuacct = v1.cpu.clone();
        let joins = v1.create("c1", &limits()).expect("all files are there");
        assert_eq!(joins.task.len(), 3);
    }

    #[test]
    fn tiny_amounts_are_raised_to_what_the_kernel_takes() {
        let root = TempDir::new().expect("a temporary directory");
        let v1 = laid_out(&root);
        let tiny = Limits { cpus: Milli::new(1), cpu_quota: Some(Milli::new(1)), ..limits() };
        v1.create("c1", &tiny).expect("all files are there");
        assert_eq!(read(v1.cpu.join("c1/cpu.shares")), "2");
        assert_eq!(read(v1.cpu.join("c1/task/cpu.cfs_quota_us")), "1000");
    }

    #[test]
    fn usage_is_read_from_the_group_of_the_task() {
        let root = TempDir::new().expect("a temporary directory");
        let v1 = laid_out(&root);
        v1.create("c1", &limits()).expect("all files are there");
        let put = |base: &Path, file: &str, text: &str| {
            fs::write(base.join("c1/task").join(file), text).expect("a temporary directory is writable");
        };
        put(&v1.cpuacct, "cpuacct.usage", "1500000000\n");
        put(&v1.cpu, "cpu.stat", "nr_periods 20\nnr_throttled 7\nthrottled_time 350000000\n");
        put(&v1.memory, "memory.usage_in_bytes", "1048576\n");
        put(&v1.memory, "memory.max_usage_in_bytes", "2097152\n");
        put(&v1.memory, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
        put(&v1.pids, "pids.current", "3\n");
        let usage = v1.usage("c1").expect("the group is there");
        assert_eq!(usage.cpu.as_millis(), 1500);
        assert_eq!((usage.cpu_periods, usage.cpu_periods_throttled), (20, 7));
        assert_eq!(usage.cpu_throttled.as_millis(), 350);
        assert_eq!((usage.memory_bytes, usage.memory_peak_bytes), (1 << 20, Some(2 << 20)));
        assert_eq!((usage.memory_limit_bytes, usage.oom_kills, usage.pids), (Some(64 << 20), 2, 3));
        assert_eq!(v1.usage("c2"), None);
    }

    #[test]
    fn a_kill_for_the_want_of_the_whole_machine_is_not_one_for_the_limit() {
        let root = TempDir::new().expect("a temporary directory");
        let v1 = laid_out(&root);
        v1.create("c1", &limits()).expect("all files are there");
        let put = |file: &str, text: &str| {
            fs::write(v1.memory.join("c1/task").join(file), text).expect("a temporary directory is writable");
        };
        put("memory.max_usage_in_bytes", &(20 << 20).to_string());
        put("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
        assert!(!v1.is_over_memory("c1"));
        put("memory.max_usage_in_bytes", &((64 << 20) - 4096).to_string());
        assert!(v1.is_over_memory("c1"));
        put("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
        assert!(!v1.is_over_memory("c1"), "it was near its limit, and made room");
    }

    #[test]
    fn removing_takes_our_empty_parents_along_and_leaves_what_is_not_ours() {
        let root = TempDir::new().expect("a temporary directory");
        let base = |controller: &str| root.path().join(controller).join("bourse/a1");
        let v1 = V1 {
            cpu: base("cpu"),
            cpuacct: base("cpu"),
            memory: base("memory"),
            pids: base("pids"),
            killer: Killer::Signals,
        };
        for dir in ["cpu/bourse/a1/c1/task", "memory/bourse/a1/c1/task", "memory/bourse/a2", "pids/other"] {
            fs::create_dir_all(root.path().join(dir)).expect("a temporary directory is writable");
        }
        assert_eq!(v1.containers(), ["c1"]);
        v1.remove("c1").expect("all are empty");
        v1.remove("c1").expect("a repeat does nothing");
        assert!(!root.path().join("cpu/bourse").exists());
        assert!(root.path().join("cpu").exists());
        assert!(!root.path().join("memory/bourse/a1").exists());
        assert!(root.path().join("memory/bourse/a2").exists());
        assert!(root.path().join("pids/other").exists());
    }
}
