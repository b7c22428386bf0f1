//! Control groups of version 1, and the hybrid layout.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::files::{self, MAX_DESCENDANTS, MOVES, children, kill_until_empty, make};
use super::{
    CgroupError, Change, Extra, Hierarchy, Joins, Layout, LimitsError, MemoryWatch, TASK, blkio, cpu, cpuset,
    freezer, hugetlb, memory, pids, pressure,
};
use crate::spec::Limits;
use crate::usage::Usage;

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
    /// Which cpus; `None` where the machine does not have it, as with the next two. Containers have groups in these only
    /// for a limit of theirs.
    pub cpuset: Option<PathBuf>,
    /// Share of disks.
    pub blkio: Option<PathBuf>,
    /// Limit of huge pages.
    pub hugetlb: Option<PathBuf>,
    /// How all processes are killed at once.
    pub killer: Killer,
}

/// How a group is killed so that nothing in it can fork away meanwhile.
#[derive(Debug, Clone)]
pub enum Killer {
    /// The version 2 tree that lies beside: by `cgroup.kill` where the kernel has that, else by `cgroup.freeze`, which every
    /// kernel has that has pid descriptors. So the freezer of version 1 is not needed beside it.
    Unified(PathBuf),
    /// The freezer of version 1: stop all, kill each, let them go.
    Freezer(PathBuf),
    /// Neither is there: kill until nobody is left.
    Signals,
}

fn once(mut dirs: Vec<&PathBuf>) -> Vec<&PathBuf> {
    dirs.sort();
    dirs.dedup();
    dirs
}

fn task(base: &Path, container: &str) -> PathBuf {
    base.join(container).join(TASK)
}

impl V1 {
    /// The agent's group in the hierarchy of each controller that all containers are under, each once.
    fn controllers(&self) -> Vec<&PathBuf> {
        once(vec![&self.cpu, &self.cpuacct, &self.memory, &self.pids])
    }

    fn extra(&self, extra: Extra) -> Option<&PathBuf> {
        match extra {
            Extra::Cpuset => self.cpuset.as_ref(),
            Extra::Io => self.blkio.as_ref(),
            Extra::Hugetlb => self.hugetlb.as_ref(),
        }
    }

    /// Likewise of such a controller, if this container is under it.
    fn extra_of(&self, extra: Extra, container: &str) -> Option<&PathBuf> {
        self.extra(extra).filter(|base| task(base, container).exists())
    }

    /// Likewise of all that this container is under.
    fn controllers_of(&self, container: &str) -> Vec<&PathBuf> {
        let extras = Extra::ALL.into_iter().filter_map(|extra| self.extra_of(extra, container));
        once(self.controllers().into_iter().chain(extras).collect())
    }

    /// The agent's group wherever a container may have one.
    fn all(&self) -> Vec<&PathBuf> {
        let extras = Extra::ALL.into_iter().filter_map(|extra| self.extra(extra));
        once(self.controllers().into_iter().chain(self.killer_dir()).chain(extras).collect())
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

    fn set(&self, container: &str, limits: &Limits, change: &mut Change) -> Result<(), LimitsError> {
        for base in self.controllers() {
            make(&task(base, container))?;
        }
        if let Some(base) = self.killer_dir() {
            make(&base.join(container))?;
        }
        if let Killer::Unified(base) = &self.killer {
            // The task is in that group itself.
            change.write_if_there(&base.join(container), MAX_DESCENDANTS, 0)?;
        }
        for extra in Extra::wanted(limits) {
            let base = self.extra(extra).ok_or(LimitsError::Missing(extra))?;
            make(&task(base, container))?;
        }
        cpu::share_v1(&self.cpu.join(container), limits.cpus, change)?;
        cpu::quotas_v1([&self.cpu.join(container), &task(&self.cpu, container)], limits, change)?;
        pids::limit(&task(&self.pids, container), limits.pids, change)?;
        if let Some(base) = self.extra_of(Extra::Cpuset, container) {
            cpuset::cores_v1(base, container, limits.cores.as_ref(), change)?;
        }
        if let Some(base) = self.extra_of(Extra::Io, container) {
            blkio::weight_v1(&base.join(container), limits.io_weight, change)?;
        }
        if let Some(base) = self.extra_of(Extra::Hugetlb, container) {
            hugetlb::limit(&task(base, container), &hugetlb::V1, &limits.hugepages, change)?;
        }
        self.bring_in(container)?;
        // Last, as that may be refused, and may have been used when it is to be taken back.
        memory::limit_v1(&task(&self.memory, container), limits, change)
    }

    /// Moves the processes of a task that runs into the groups that were made for it since it was started.
    fn bring_in(&self, container: &str) -> Result<(), CgroupError> {
        let of_task = [task(&self.memory, container)];
        for base in Extra::ALL.into_iter().filter_map(|extra| self.extra_of(extra, container)) {
            let group = task(base, container);
            let mut moves = 0..MOVES;
            loop {
                let inside = files::processes([&group]);
                let mut outside = files::processes(&of_task);
                // Process id 0 stands for one that this pid namespace cannot see.
                outside.retain(|pid| *pid != 0 && !inside.contains(pid));
                if outside.is_empty() {
                    break;
                }
                if moves.next().is_none() {
                    // Children of such as were yet to be moved.
                    return Err(CgroupError {
                        what: format!("move the processes {outside:?} into"),
                        path: group,
                        source: ErrorKind::ResourceBusy.into(),
                    });
                }
                files::join(&group, outside)?;
            }
        }
        Ok(())
    }

    fn joins(&self, container: &str) -> Joins {
        let tasks = |dir: PathBuf| dir.join("tasks");
        let (unified, freezer) = match &self.killer {
            Killer::Unified(base) => (Some(base), None),
            Killer::Freezer(base) => (None, Some(base)),
            Killer::Signals => (None, None),
        };
        let of_init = self.controllers().into_iter().chain(freezer);
        let of_task = self.controllers_of(container).into_iter();
        Joins {
            init_in: unified.map(|base| base.join(container)),
            init: of_init.map(|base| tasks(base.join(container))).collect(),
            // The first process hands on its own.
            task_in: None,
            task: of_task.map(|base| tasks(task(base, container))).collect(),
        }
    }
}

impl Hierarchy for V1 {
    fn layout(&self) -> Layout {
        match self.killer {
            Killer::Unified(_) => Layout::Hybrid,
            Killer::Freezer(_) | Killer::Signals => Layout::V1,
        }
    }

    fn create(&self, container: &str, limits: &Limits) -> Result<Joins, LimitsError> {
        self.set(container, limits, &mut Change::default()).inspect_err(|_| drop(self.remove(container)))?;
        Ok(self.joins(container))
    }

    fn resize(&self, container: &str, limits: &Limits) -> Result<Option<Joins>, LimitsError> {
        if !task(&self.memory, container).exists() {
            return Ok(None);
        }
        Change::whole(|change| self.set(container, limits, change))?;
        Ok(Some(self.joins(container)))
    }

    fn usage(&self, container: &str) -> Option<Usage> {
        let of_task = |base: &Path| task(base, container);
        if !of_task(&self.memory).exists() {
            return None;
        }
        let mut usage = Usage::default();
        cpu::usage_v1([&self.cpuacct.join(container), &of_task(&self.cpu)], &mut usage);
        memory::usage_v1(&of_task(&self.memory), &mut usage);
        pids::usage(&of_task(&self.pids), &mut usage);
        if let Some(base) = self.extra_of(Extra::Io, container) {
            blkio::usage_v1(&of_task(base), &mut usage);
        }
        if let Killer::Unified(base) = &self.killer {
            pressure::usage(&base.join(container), &mut usage);
        }
        Some(usage)
    }

    fn watch_memory(&self, container: &str) -> MemoryWatch {
        let dir = self.memory.join(container).join(TASK);
        memory::watch_v1(&dir).map_or(MemoryWatch::Look, MemoryWatch::Event)
    }

    fn is_over_memory(&self, container: &str) -> bool {
        memory::is_over_v1(&task(&self.memory, container))
    }

    fn oom_kills(&self, container: &str) -> u64 {
        memory::oom_kills_v1(&task(&self.memory, container))
    }

    fn processes(&self, container: &str) -> Vec<u32> {
        // Who is in one hierarchy is in all of them.
        let container = self.memory.join(container);
        files::processes(&[container.join(TASK), container]).into_iter().collect()
    }

    fn kill(&self, container: &str) -> Result<(), CgroupError> {
        let dirs = self.all_dirs(container);
        match &self.killer {
            Killer::Unified(base) => freezer::kill_v2(&base.join(container), &dirs)?,
            Killer::Freezer(base) => freezer::kill_v1(&base.join(container), &dirs)?,
            Killer::Signals => {}
        }
        kill_until_empty(&dirs)
    }

    fn remove_empty(&self, container: &str) -> bool {
        self.all().into_iter().all(|base| files::remove_empty_container(base, container, &[TASK]))
    }

    fn remove(&self, container: &str) -> Result<(), CgroupError> {
        self.all().into_iter().try_for_each(|base| files::remove_container(base, container, &[TASK]))
    }

    fn containers(&self) -> Vec<String> {
        let mut found: Vec<String> = self.all().into_iter().flat_map(|base| children(base)).collect();
        found.sort();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use bourse_types::Milli;
    use tempfile::TempDir;

    use super::*;
    use crate::usage::{Io, MemoryKinds};

    fn limits() -> Limits {
        Limits {
            cpu_quota: Some(Milli::new(1500)),
            memory_bytes: Some(64 << 20),
            swap_bytes: 1 << 20,
            pids: Some(100),
            ..Limits::unlimited(Milli::new(500))
        }
    }

    /// A directory for each controller; the kernel's files appear when the group is made, so here they are
    /// made first.
    fn laid_out(root: &TempDir) -> V1 {
        let base = |controller: &str| root.path().join(controller).join("bourse/a1");
        let files = [
            ("cpu", "c1/cpu.shares"),
            ("cpu", "c1/cpu.cfs_period_us"),
            ("cpu", "c1/cpu.cfs_quota_us"),
            ("cpu", "c1/cpu.cfs_burst_us"),
            ("cpu", "c1/task/cpu.cfs_period_us"),
            ("cpu", "c1/task/cpu.cfs_quota_us"),
            ("cpu", "c1/task/cpu.cfs_burst_us"),
            ("memory", "c1/task/memory.limit_in_bytes"),
            ("memory", "c1/task/memory.memsw.limit_in_bytes"),
            ("memory", "c1/task/memory.soft_limit_in_bytes"),
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
            cpuset: Some(base("cpuset")),
            blkio: Some(base("blkio")),
            hugetlb: None,
            killer: Killer::Freezer(base("freezer")),
        }
    }

    /// The files of the hierarchies in which a container has groups only if it asks for it; the machine has 4 cpus.
    fn lay_out_extras(root: &TempDir) {
        let files = [
            ("cpuset", "", "cpuset.cpus", "0-3\n"),
            ("cpuset", "", "cpuset.mems", "0\n"),
            ("blkio", "bourse/a1/c1", "blkio.bfq.weight", "100\n"),
        ];
        let below = ["bourse", "bourse/a1", "bourse/a1/c1", "bourse/a1/c1/task"];
        let of_cpuset = below
            .into_iter()
            .flat_map(|dir| ["cpuset.cpus", "cpuset.mems"].map(|file| ("cpuset", dir, file, "\n")));
        for (controller, dir, file, text) in files.into_iter().chain(of_cpuset) {
            let dir = root.path().join(controller).join(dir);
            fs::create_dir_all(&dir).expect("a temporary directory is writable");
            fs::write(dir.join(file), text).expect("a temporary directory is writable");
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
        assert_eq!(read(v1.cpu.join("c1/cpu.cfs_period_us")), "100000");
        assert_eq!(read(v1.cpu.join("c1/cpu.cfs_quota_us")), "160000", "with what its first process has");
        assert_eq!(read(v1.memory.join("c1/task/memory.limit_in_bytes")), (64 << 20).to_string());
        assert_eq!(read(v1.memory.join("c1/task/memory.memsw.limit_in_bytes")), (65 << 20).to_string());
        assert_eq!(read(v1.pids.join("c1/task/pids.max")), "100");
    }

    #[test]
    fn what_may_be_saved_up_is_cut_to_the_quota_and_what_is_kept_is_a_soft_limit() {
        let root = TempDir::new().expect("a temporary directory");
        let v1 = laid_out(&root);
        let burst = |cpus| Limits {
            cpu_burst: Some(Milli::new(cpus)),
            memory_request_bytes: Some(32 << 20),
            ..limits()
        };
        let written = || {
            let of_both = ["c1", "c1/task"].map(|group| read(v1.cpu.join(group).join("cpu.cfs_burst_us")));
            assert_eq!(of_both[0], of_both[1], "what a task has saved up, its container lets it have");
            of_both[1].clone()
        };
        v1.create("c1", &burst(500)).expect("all files are there");
        assert_eq!(written(), "50000");
        assert_eq!(read(v1.memory.join("c1/task/memory.soft_limit_in_bytes")), (32 << 20).to_string());
        v1.create("c1", &burst(9000)).expect("all files are there");
        assert_eq!(written(), "150000");
        let without_quota = Limits { cpu_quota: None, ..burst(500) };
        v1.create("c1", &without_quota).expect("all files are there");
        assert_eq!((written(), read(v1.cpu.join("c1/task/cpu.cfs_quota_us"))), ("0".into(), "-1".into()));
        assert_eq!(read(v1.cpu.join("c1/cpu.cfs_quota_us")), "-1");
    }

    #[test]
    fn a_container_is_under_the_controllers_that_it_asks_for_and_its_groups_have_what_is_above_them() {
        let root = TempDir::new().expect("a temporary directory");
        let v1 = laid_out(&root);
        lay_out_extras(&root);
        let limits =
            Limits { cores: Some("1,3".parse().expect("a list")), io_weight: Some(5000), ..limits() };
        let joins = v1.create("c1", &limits).expect("all files are there");
        assert_eq!(joins.init.len(), 5, "the first process needs no more than before");
        assert_eq!(joins.task.len(), 6);
        let cpuset = |file: &str| read(root.path().join("cpuset/bourse").join(file));
        for dir in ["", "a1/", "a1/c1/"] {
            assert_eq!(cpuset(&format!("{dir}cpuset.cpus")), "0-3");
            assert_eq!(cpuset(&format!("{dir}cpuset.mems")), "0");
        }
        assert_eq!(cpuset("a1/c1/task/cpuset.cpus"), "1,3");
        assert_eq!(cpuset("a1/c1/task/cpuset.mems"), "0");
        assert_eq!(read(root.path().join("blkio/bourse/a1/c1/blkio.bfq.weight")), "1000", "BFQ ends there");
    }

    #[test]
    fn a_limit_that_the_machine_cannot_set_is_refused_with_what_it_lacks() {
        let root = TempDir::new().expect("a temporary directory");
        let v1 = laid_out(&root);
        lay_out_extras(&root);
        let refused = |limits: Limits| v1.create("c1", &limits).expect_err("it cannot be set").to_string();
        let cores = Some("3-4".parse().expect("a list"));
        let error = refused(Limits { cores, ..limits() });
        assert!(error.contains("the cores 3-4 were asked for, and this machine has 0-3"), "{error}");
        let hugepages = vec![crate::spec::HugePages { page_bytes: 2 << 20, bytes: 0 }];
        let error = refused(Limits { hugepages, ..limits() });
        assert!(error.contains("no hugetlb controller"), "{error}");
    }

    #[test]
    fn a_task_that_runs_gets_other_limits_and_joins_the_groups_that_it_needs_for_them() {
        let root = TempDir::new().expect("a temporary directory");
        let v1 = laid_out(&root);
        assert_eq!(v1.resize("c2", &limits()).expect("nothing to do"), None);
        let before = v1.create("c1", &limits()).expect("all files are there");
        lay_out_extras(&root);
        fs::write(v1.memory.join("c1/task/cgroup.procs"), "41\n").expect("it is writable");
        let inside = root.path().join("cpuset/bourse/a1/c1/task/cgroup.procs");
        fs::write(&inside, "").expect("it is writable");
        let cores = Some("0-1".parse().expect("a list"));
        let other = Limits { memory_bytes: Some(32 << 20), pids: Some(7), cores, ..limits() };
        let joins = v1.resize("c1", &other).expect("all files are there").expect("it has groups");
        assert_eq!(read(v1.memory.join("c1/task/memory.limit_in_bytes")), (32 << 20).to_string());
        assert_eq!(read(v1.memory.join("c1/task/memory.memsw.limit_in_bytes")), (33 << 20).to_string());
        assert_eq!(read(v1.pids.join("c1/task/pids.max")), "7");
        assert_eq!(read(inside.clone()), "41", "what runs is moved there");
        assert_eq!((before.task.len(), joins.task.len()), (4, 5));
        assert!(joins.task.contains(&inside.with_file_name("tasks")));

        v1.resize("c1", &Limits::unlimited(Milli::new(500))).expect("all files are there");
        assert_eq!(read(v1.memory.join("c1/task/memory.limit_in_bytes")), "-1");
        assert_eq!(read(v1.memory.join("c1/task/memory.memsw.limit_in_bytes")), "-1");
        assert_eq!(read(v1.pids.join("c1/task/pids.max")), "max");
        assert_eq!(read(root.path().join("cpuset/bourse/a1/c1/task/cpuset.cpus")), "0-3");
    }

    #[test]
    fn limits_that_are_refused_leave_those_of_before() {
        let root = TempDir::new().expect("a temporary directory");
        let v1 = laid_out(&root);
        v1.create("c1", &limits()).expect("all files are there");
        lay_out_extras(&root);
        let cores = Some("9".parse().expect("a list"));
        let other = Limits { cpu_quota: Some(Milli::new(100)), pids: None, cores, ..limits() };
        v1.resize("c1", &other).expect_err("there is no such cpu");
        assert_eq!(read(v1.cpu.join("c1/task/cpu.cfs_quota_us")), "150000");
        assert_eq!(read(v1.cpu.join("c1/cpu.cfs_quota_us")), "160000");
        assert_eq!(read(v1.pids.join("c1/task/pids.max")), "100");
    }

    #[test]
    fn a_peak_from_before_a_lower_limit_is_not_taken_for_a_sign_of_it() {
        let root = TempDir::new().expect("a temporary directory");
        let v1 = laid_out(&root);
        v1.create("c1", &limits()).expect("all files are there");
        let put = |file: &str, text: &str| {
            fs::write(v1.memory.join("c1/task").join(file), text).expect("a temporary directory is writable");
        };
        put("memory.max_usage_in_bytes", &(40 << 20).to_string());
        put("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
        v1.resize("c1", &Limits { memory_bytes: Some(32 << 20), ..limits() }).expect("all files are there");
        assert!(!v1.is_over_memory("c1"));
    }

    #[test]
    fn the_first_process_joins_every_hierarchy_and_the_task_those_with_limits() {
        let root = TempDir::new().expect("a temporary directory");
        let v1 = laid_out(&root);
        let joins = v1.create("c1", &limits()).expect("all files are there");
        assert_eq!(joins.init.len(), 5, "four controllers and the freezer");
        assert!(joins.init.contains(&root.path().join("freezer/bourse/a1/c1/tasks")));
        assert_eq!(joins.task.len(), 4);
        assert!(joins.task.contains(&root.path().join("memory/bourse/a1/c1/task/tasks")));
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
        put(&v1.cpuacct, "../cpuacct.usage", "1500000000\n");
        put(&v1.cpuacct, "cpuacct.usage", "1200000000\n");
        put(&v1.cpu, "cpu.stat", "nr_periods 20\nnr_throttled 7\nthrottled_time 350000000\n");
        put(&v1.memory, "memory.usage_in_bytes", "1048576\n");
        put(&v1.memory, "memory.max_usage_in_bytes", "2097152\n");
        put(&v1.memory, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
        put(&v1.pids, "pids.current", "3\n");
        put(&v1.pids, "pids.events", "max 9\n");
        put(&v1.cpuacct, "../cpuacct.stat", "user 120\nsystem 30\n");
        put(&v1.memory, "memory.stat", "cache 700\nrss 4096\nrss_huge 1\nshmem 500\nswap 8\nswapcached 1\n");
        put(&v1.memory, "memory.kmem.usage_in_bytes", "300\n");
        let usage = v1.usage("c1").expect("the group is there");
        assert_eq!(usage.cpu.as_millis(), 1500, "with that of the first process");
        assert_eq!((usage.cpu_periods, usage.cpu_periods_throttled), (20, 7));
        assert_eq!(usage.cpu_throttled.as_millis(), 350);
        assert_eq!((usage.memory_bytes, usage.memory_peak_bytes), (1 << 20, Some(2 << 20)));
        assert_eq!((usage.memory_limit_bytes, usage.oom_kills, usage.pids), (Some(64 << 20), 2, 3));
        assert_eq!((usage.pids_limit, usage.pids_refused), (Some(100), Some(9)));
        let parts = (usage.cpu_user, usage.cpu_system);
        assert_eq!(parts, (Some(Duration::from_millis(1200)), Some(Duration::from_millis(300))));
        let kinds = MemoryKinds {
            anonymous_bytes: 4096,
            file_bytes: 700,
            shared_bytes: 500,
            kernel_bytes: Some(300),
        };
        assert_eq!((usage.memory_kinds, usage.swap_bytes), (Some(kinds), Some(8)));
        assert_eq!((usage.io, usage.cpu_pressure), (None, None), "it is under no such controller");
        assert_eq!(v1.usage("c2"), None);
    }

    #[test]
    fn what_was_read_and_written_is_told_of_those_who_share_disks_by_weight() {
        let root = TempDir::new().expect("a temporary directory");
        let v1 = laid_out(&root);
        v1.create("c1", &Limits { io_weight: Some(100), ..limits() }).expect("all files are there");
        let dir = root.path().join("blkio/bourse/a1/c1/task");
        let bytes = "8:0 Read 4096\n8:0 Write 100\n8:0 Total 4196\n8:16 Read 4\n8:16 Write 1\nTotal 4201\n";
        fs::write(dir.join("blkio.throttle.io_service_bytes_recursive"), bytes).expect("it is writable");
        let operations = "8:0 Read 2\n8:0 Write 1\nTotal 3\n";
        fs::write(dir.join("blkio.throttle.io_serviced_recursive"), operations).expect("it is writable");
        let expected = Io { read_bytes: 4100, written_bytes: 101, reads: 2, writes: 1 };
        assert_eq!(v1.usage("c1").expect("the group is there").io, Some(expected));
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
        assert_eq!(v1.oom_kills("c1"), 1, "it lacks a process all the same");
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
            cpuset: Some(base("cpuset")),
            blkio: None,
            hugetlb: None,
            killer: Killer::Signals,
        };
        for dir in [
            "cpu/bourse/a1/c1/task",
            "memory/bourse/a1/c1/task",
            "memory/bourse/a2",
            "pids/other",
            "cpuset/bourse/a1/c1/task",
        ] {
            fs::create_dir_all(root.path().join(dir)).expect("a temporary directory is writable");
        }
        assert_eq!(v1.containers(), ["c1"]);
        v1.remove("c1").expect("all are empty");
        v1.remove("c1").expect("a repeat does nothing");
        assert!(!root.path().join("cpu/bourse").exists());
        assert!(!root.path().join("cpuset/bourse").exists());
        assert!(root.path().join("cpu").exists());
        assert!(!root.path().join("memory/bourse/a1").exists());
        assert!(root.path().join("memory/bourse/a2").exists());
        assert!(root.path().join("pids/other").exists());
    }
}
