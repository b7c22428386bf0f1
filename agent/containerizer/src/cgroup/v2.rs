//! Control groups of version 2.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::files::{self, MAX_DESCENDANTS, MOVES, children, kill_until_empty, make, write};
use super::{
    CgroupError, Change, Extra, Hierarchy, Joins, Layout, LimitsError, MemoryWatch, TASK, blkio, cpu, cpuset,
    freezer, hugetlb, memory, pids, pressure,
};
use crate::spec::Limits;
use crate::usage::Usage;

/// The name of the group of the first process: version 2 wants processes in leaves.
const INIT: &str = "init";

/// The name of the group for what was in a group that has to hand controllers down.
pub(super) const LEAF: &str = "bourse-host";

/// Where it is written what is handed down to the groups below.
const CONTROL: &str = "cgroup.subtree_control";

/// What is handed down to the groups of every container.
const CONTROLLERS: &str = "+cpu +memory +pids";

/// One tree for all controllers.
#[derive(Debug, Clone)]
pub struct V2 {
    /// The group that ours is made in.
    pub root: PathBuf,
    /// The agent's own group.
    pub base: PathBuf,
}

impl V2 {
    fn dirs(&self, container: &str) -> [PathBuf; 3] {
        let dir = self.base.join(container);
        [dir.join(INIT), dir.join(TASK), dir]
    }

    /// Hands the controllers down from the root to the container's group. A repeat changes nothing, and other
    /// agents do the same with ours.
    fn hand_down(&self, dir: &Path, controllers: &str) -> Result<(), CgroupError> {
        let mut path: Vec<&Path> =
            dir.ancestors().take_while(|above| above.starts_with(&self.root)).collect();
        path.reverse();
        path.into_iter().try_for_each(|group| match write(group, CONTROL, controllers) {
            Err(error) if is_busy(&error) => make_way(group, controllers, std::process::id()),
            result => result,
        })
    }

    /// What is handed down to a container with these limits.
    fn controllers(&self, limits: &Limits) -> Result<String, LimitsError> {
        let there = fs::read_to_string(self.root.join("cgroup.controllers")).unwrap_or_default();
        Extra::wanted(limits).try_fold(CONTROLLERS.to_owned(), |all, extra| {
            match there.split_whitespace().any(|name| name == extra.name_v2()) {
                true => Ok(format!("{all} +{}", extra.name_v2())),
                false => Err(LimitsError::Missing(extra)),
            }
        })
    }

    fn set(&self, container: &str, limits: &Limits, change: &mut Change) -> Result<(), LimitsError> {
        let [init, task, dir] = self.dirs(container);
        let controllers = self.controllers(limits)?;
        make(&dir)?;
        // In this group and not in the task's, as a task that gets to see its own may write to that.
        change.write_if_there(&dir, MAX_DESCENDANTS, [INIT, TASK].len())?;
        self.hand_down(&dir, &controllers)?;
        make(&init)?;
        make(&task)?;
        cpu::share_v2(&dir, limits.cpus, change)?;
        cpu::quotas_v2([&dir, &task], limits, change)?;
        self.keep([&task, &dir], limits.memory_request_bytes, change)?;
        pids::limit(&task, limits.pids, change)?;
        blkio::weight_v2(&dir, limits.io_weight, change)?;
        cpuset::cores_v2(&self.root, &task, limits.cores.as_ref(), change)?;
        hugetlb::limit(&task, &hugetlb::V2, &limits.hugepages, change)?;
        // Last, as that may be refused, and may have been used when it is to be taken back.
        memory::limit_v2(&task, limits, change)
    }

    fn joins(&self, container: &str) -> Joins {
        let [init, task, _] = self.dirs(container);
        Joins { init_in: Some(init), task_in: Some(task), ..Joins::default() }
    }

    /// Keeps memory for a container. That takes a look at all of the agent's, so only for those that ask for it or did.
    fn keep(&self, dirs: [&Path; 2], bytes: Option<u64>, change: &mut Change) -> Result<(), CgroupError> {
        let [_, dir] = dirs;
        if bytes.unwrap_or(0) == 0 && memory::kept_v2(dir) == 0 {
            return Ok(());
        }
        memory::keep_v2(dirs, bytes, change)?;
        self.keep_for_all()
    }

    fn keep_for_all(&self) -> Result<(), CgroupError> {
        self.base.ancestors().take(2).try_for_each(memory::keep_sum_v2)
    }
}

fn is_busy(error: &CgroupError) -> bool {
    error.source.kind() == ErrorKind::ResourceBusy
}

/// Moves the processes of a group into a leaf beneath it, and hands controllers down: a group that does may hold no
/// process itself (`cgroup-v2.rst`, "No Internal Process Constraint"). Only where the agent is one of them: such a group
/// is that of the agent's own container or service, and the others came with it. Others' processes are left alone, and
/// named.
fn make_way(group: &Path, controllers: &str, agent: u32) -> Result<(), CgroupError> {
    let mut inside = files::processes([&group.to_path_buf()]);
    if !inside.contains(&agent) {
        return Err(CgroupError {
            what: format!("hand controllers down past the processes {inside:?} in"),
            path: group.into(),
            source: ErrorKind::ResourceBusy.into(),
        });
    }
    let leaf = group.join(LEAF);
    make(&leaf)?;
    let mut moves = 1..MOVES;
    loop {
        files::join(&leaf, inside)?;
        match write(group, CONTROL, controllers) {
            // A child was made by one that was yet to be moved.
            Err(error) if is_busy(&error) && moves.next().is_some() => {
                inside = files::processes([&group.to_path_buf()]);
            }
            result => return result,
        }
    }
}

impl Hierarchy for V2 {
    fn layout(&self) -> Layout {
        Layout::V2
    }

    fn create(&self, container: &str, limits: &Limits) -> Result<Joins, LimitsError> {
        self.set(container, limits, &mut Change::default()).inspect_err(|_| drop(self.remove(container)))?;
        Ok(self.joins(container))
    }

    fn resize(&self, container: &str, limits: &Limits) -> Result<Option<Joins>, LimitsError> {
        let [_, task, _] = self.dirs(container);
        if !task.exists() {
            return Ok(None);
        }
        Change::whole(|change| self.set(container, limits, change))
            // What is kept is among what was taken back; the error that is told is the one that was met first.
            .inspect_err(|_| drop(self.keep_for_all()))?;
        Ok(Some(self.joins(container)))
    }

    fn usage(&self, container: &str) -> Option<Usage> {
        let [_, task, dir] = self.dirs(container);
        if !task.exists() {
            return None;
        }
        let mut usage = Usage::default();
        cpu::usage_v2([&dir, &task], &mut usage);
        memory::usage_v2(&task, &mut usage);
        pids::usage(&task, &mut usage);
        blkio::usage_v2(&task, &mut usage);
        pressure::usage(&task, &mut usage);
        Some(usage)
    }

    fn watch_memory(&self, _: &str) -> MemoryWatch {
        // `memory.oom.group` is set.
        MemoryWatch::NotNeeded
    }

    fn is_over_memory(&self, container: &str) -> bool {
        let [_, task, _] = self.dirs(container);
        memory::is_over_v2(&task)
    }

    fn oom_kills(&self, container: &str) -> u64 {
        let [_, task, _] = self.dirs(container);
        memory::oom_kills_v2(&task)
    }

    fn processes(&self, container: &str) -> Vec<u32> {
        files::processes(&self.dirs(container)).into_iter().collect()
    }

    fn kill(&self, container: &str) -> Result<(), CgroupError> {
        let dirs = self.dirs(container);
        freezer::kill_v2(&self.base.join(container), &dirs)?;
        kill_until_empty(&dirs)
    }

    fn remove_empty(&self, container: &str) -> bool {
        // What it keeps, the groups above have to let go of.
        memory::kept_v2(&self.base.join(container)) == 0
            && files::remove_empty_container(&self.base, container, &[INIT, TASK])
    }

    fn remove(&self, container: &str) -> Result<(), CgroupError> {
        let kept = memory::kept_v2(&self.base.join(container));
        files::remove_container(&self.base, container, &[INIT, TASK])?;
        if kept > 0 {
            // With the last container its parents go, too, and there is nothing to keep.
            files::if_there(self.keep_for_all())?;
        }
        Ok(())
    }

    fn containers(&self) -> Vec<String> {
        children(&self.base)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bourse_types::Milli;
    use tempfile::TempDir;

    use super::*;
    use crate::usage::{Io, MemoryKinds, Pressure};

    fn limits() -> Limits {
        Limits {
            cpu_quota: Some(Milli::new(500)),
            memory_bytes: Some(64 << 20),
            pids: Some(100),
            ..Limits::unlimited(Milli::new(2000))
        }
    }

    fn laid_out(root: &TempDir) -> V2 {
        let base = root.path().join("bourse/a1");
        for file in [
            "cgroup.subtree_control",
            "bourse/cgroup.subtree_control",
            "bourse/a1/cgroup.subtree_control",
            "bourse/a1/c1/cgroup.subtree_control",
            "bourse/a1/c1/cpu.weight",
            "bourse/a1/c1/cpu.max",
            "bourse/a1/c1/task/cpu.max",
            "bourse/a1/c1/task/memory.max",
            "bourse/a1/c1/task/memory.swap.max",
            "bourse/a1/c1/task/memory.oom.group",
            "bourse/a1/c1/task/pids.max",
        ] {
            put(root, file, "");
        }
        V2 { root: root.path().into(), base }
    }

    fn put(root: &TempDir, file: &str, text: &str) {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a temporary directory is writable");
        fs::write(path, text).expect("a temporary directory is writable");
    }

    fn read(root: &TempDir, file: &str) -> String {
        fs::read_to_string(root.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    #[test]
    fn controllers_are_handed_down_from_the_root_to_the_container() {
        let root = TempDir::new().expect("a temporary directory");
        laid_out(&root).create("c1", &limits()).expect("all files are there");
        for dir in ["", "bourse/", "bourse/a1/", "bourse/a1/c1/"] {
            assert_eq!(read(&root, &format!("{dir}cgroup.subtree_control")), "+cpu +memory +pids");
        }
    }

    #[test]
    fn limits_are_written_to_the_group_of_the_task_and_the_share_to_that_of_the_container() {
        let root = TempDir::new().expect("a temporary directory");
        let v2 = laid_out(&root);
        put(&root, "bourse/a1/c1/cgroup.max.descendants", "max\n");
        let joins = v2.create("c1", &limits()).expect("all files are there");
        assert_eq!(read(&root, "bourse/a1/c1/cgroup.max.descendants"), "2", "the task makes none of its own");
        assert_eq!(read(&root, "bourse/a1/c1/cpu.weight"), "200");
        assert_eq!(read(&root, "bourse/a1/c1/task/cpu.max"), "50000 100000");
        assert_eq!(read(&root, "bourse/a1/c1/cpu.max"), "60000 100000", "with what its first process has");
        assert_eq!(read(&root, "bourse/a1/c1/task/memory.max"), (64 << 20).to_string());
        assert_eq!(read(&root, "bourse/a1/c1/task/memory.swap.max"), "0");
        assert_eq!(read(&root, "bourse/a1/c1/task/memory.oom.group"), "1");
        assert_eq!(read(&root, "bourse/a1/c1/task/pids.max"), "100");
        assert_eq!(joins.init_in, Some(root.path().join("bourse/a1/c1/init")));
        assert_eq!(joins.task_in, Some(root.path().join("bourse/a1/c1/task")));
    }

    #[test]
    fn controllers_are_handed_down_for_those_who_ask_for_a_limit_of_theirs() {
        let root = TempDir::new().expect("a temporary directory");
        let v2 = laid_out(&root);
        for (file, text) in [
            ("cgroup.controllers", "cpuset cpu io memory hugetlb pids\n"),
            ("cpuset.cpus.effective", "0-3\n"),
            ("bourse/a1/c1/io.weight", "default 100\n"),
            ("bourse/a1/c1/task/cpuset.cpus", "\n"),
            ("bourse/a1/c1/task/hugetlb.2MB.max", "max\n"),
            ("bourse/a1/c1/cpu.max.burst", "0\n"),
            ("bourse/a1/c1/task/cpu.max.burst", "0\n"),
        ] {
            put(&root, file, text);
        }
        let limits = Limits {
            cpu_burst: Some(Milli::new(200)),
            cores: Some("2-3".parse().expect("a list")),
            io_weight: Some(5000),
            hugepages: vec![crate::spec::HugePages { page_bytes: 2 << 20, bytes: 4 << 20 }],
            ..limits()
        };
        v2.create("c1", &limits).expect("all files are there");
        assert_eq!(read(&root, "cgroup.subtree_control"), "+cpu +memory +pids +cpuset +io +hugetlb");
        assert_eq!(read(&root, "bourse/a1/c1/io.weight"), "default 5000");
        assert_eq!(read(&root, "bourse/a1/c1/task/cpuset.cpus"), "2-3");
        assert_eq!(read(&root, "bourse/a1/c1/task/hugetlb.2MB.max"), (4 << 20).to_string());
        assert_eq!(read(&root, "bourse/a1/c1/task/cpu.max.burst"), "20000");
        assert_eq!(read(&root, "bourse/a1/c1/cpu.max.burst"), "20000");

        v2.create("c1", &Limits::unlimited(limits.cpus)).expect("likewise");
        assert_eq!(read(&root, "cgroup.subtree_control"), CONTROLLERS);
        assert_eq!(read(&root, "bourse/a1/c1/io.weight"), "default 100");
        assert_eq!(read(&root, "bourse/a1/c1/task/cpuset.cpus"), "0-3");
        assert_eq!(read(&root, "bourse/a1/c1/task/hugetlb.2MB.max"), "max");
        assert_eq!(read(&root, "bourse/a1/c1/task/cpu.max.burst"), "0");
        assert_eq!(read(&root, "bourse/a1/c1/cpu.max"), "max 100000");
        assert_eq!(read(&root, "bourse/a1/c1/task/memory.max"), "max");
    }

    #[test]
    fn a_limit_that_the_machine_cannot_set_is_refused_with_what_it_lacks() {
        let root = TempDir::new().expect("a temporary directory");
        let v2 = laid_out(&root);
        put(&root, "cgroup.controllers", "cpuset cpu memory pids\n");
        put(&root, "cpuset.cpus.effective", "0-3\n");
        let refused = |limits: Limits| v2.create("c1", &limits).expect_err("it cannot be set").to_string();
        let error = refused(Limits { io_weight: Some(5), ..limits() });
        assert!(error.contains("no io (version 1: blkio) controller"), "{error}");
        let error = refused(Limits { cores: Some("7".parse().expect("a list")), ..limits() });
        assert!(error.contains("the cores 7 were asked for, and this machine has 0-3"), "{error}");
    }

    #[test]
    fn groups_keep_as_much_memory_as_those_in_them_together() {
        let root = TempDir::new().expect("a temporary directory");
        let v2 = laid_out(&root);
        for (file, text) in [
            ("bourse/memory.low", "0\n"),
            ("bourse/a1/memory.low", "0\n"),
            ("bourse/a1/c1/memory.low", "0\n"),
            ("bourse/a1/c1/task/memory.low", "0\n"),
            ("bourse/a1/c2/memory.low", "1000\n"),
            ("bourse/a2/memory.low", "500\n"),
        ] {
            put(&root, file, text);
        }
        let kept =
            || ["c1/task/", "c1/", "", "../"].map(|dir| read(&root, &format!("bourse/a1/{dir}memory.low")));
        v2.create("c1", &Limits { memory_request_bytes: Some(70), ..limits() }).expect("all files are there");
        assert_eq!(kept(), ["70", "70", "1070", "1570"]);
        v2.create("c1", &limits()).expect("all files are there");
        assert_eq!(kept(), ["0", "0", "1000", "1500"]);
    }

    #[test]
    fn a_lower_limit_of_memory_is_set_when_what_is_above_it_was_given_back_and_else_refused_with_the_figures()
    {
        let root = TempDir::new().expect("a temporary directory");
        let v2 = laid_out(&root);
        assert_eq!(v2.resize("c2", &limits()).expect("nothing to do"), None);
        v2.create("c1", &limits()).expect("all files are there");
        let of_task = |file: &str| format!("bourse/a1/c1/task/{file}");
        put(&root, &of_task("memory.current"), &(20 << 20).to_string());
        put(&root, &of_task("memory.high"), "max\n");
        let with = |bytes| Limits { memory_bytes: Some(bytes), ..limits() };
        let joins = v2.resize("c1", &with(30 << 20)).expect("it uses less").expect("it has groups");
        assert_eq!(joins.task_in, Some(root.path().join("bourse/a1/c1/task")));
        assert_eq!(read(&root, &of_task("memory.max")), (30 << 20).to_string());
        assert_eq!(read(&root, &of_task("memory.high")), "max");

        let other = Limits { pids: Some(7), ..with(10 << 20) };
        let error = v2.resize("c1", &other).expect_err("it uses more").to_string();
        assert!(error.contains("cannot be limited to 10 MiB, as it uses 20 MiB"), "{error}");
        assert_eq!(read(&root, &of_task("memory.max")), (30 << 20).to_string());
        assert_eq!(read(&root, &of_task("memory.high")), "max");
        assert_eq!(read(&root, &of_task("pids.max")), "100", "the other limits are as before, too");
    }

    #[test]
    fn usage_is_read_from_the_group_of_the_task() {
        let root = TempDir::new().expect("a temporary directory");
        let v2 = laid_out(&root);
        let put = |file: &str, text: &str| {
            fs::write(root.path().join("bourse/a1/c1/task").join(file), text).expect("it is writable");
        };
        put(
            "../cpu.stat",
            "usage_usec 1500000\nuser_usec 1\nsystem_usec 2\nnr_periods 3\nnr_throttled 2\nthrottled_usec 1\n",
        );
        put(
            "cpu.stat",
            "usage_usec 1200000\nuser_usec 0\nsystem_usec 1\nnr_periods 20\nnr_throttled 7\nthrottled_usec 350000\n",
        );
        put("memory.current", "1048576\n");
        put("memory.max", "max\n");
        put("memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 2\noom_group_kill 1\n");
        put("pids.current", "3\n");
        put("pids.max", "max\n");
        put("pids.events", "max 9\n");
        put("memory.stat", "anon 4096\nfile 700\nkernel 300\nkernel_stack 1\nshmem 500\n");
        put("memory.swap.current", "8\n");
        put(
            "io.stat",
            "8:0 rbytes=4096 wbytes=100 rios=2 wios=1 dbytes=0 dios=0\n8:16 rbytes=4 wbytes=1 rios=1 wios=1\n",
        );
        put("memory.pressure", "some avg10=0.50 avg60=0.00 avg300=0.00 total=7\n");
        let usage = v2.usage("c1").expect("the group is there");
        assert_eq!(usage.cpu.as_millis(), 1500, "with that of the first process");
        assert_eq!((usage.cpu_periods, usage.cpu_periods_throttled), (20, 7));
        assert_eq!(usage.cpu_throttled.as_millis(), 350);
        assert_eq!(
            (usage.memory_bytes, usage.memory_peak_bytes, usage.memory_limit_bytes),
            (1 << 20, None, None)
        );
        assert_eq!((usage.oom_kills, usage.pids), (2, 3));
        assert_eq!((usage.pids_limit, usage.pids_refused), (None, Some(9)));
        let parts = (usage.cpu_user, usage.cpu_system);
        assert_eq!(parts, (Some(Duration::from_micros(1)), Some(Duration::from_micros(2))));
        let kinds = MemoryKinds {
            anonymous_bytes: 4096,
            file_bytes: 700,
            shared_bytes: 500,
            kernel_bytes: Some(300),
        };
        assert_eq!((usage.memory_kinds, usage.swap_bytes), (Some(kinds), Some(8)));
        let io = Io { read_bytes: 4100, written_bytes: 101, reads: 3, writes: 2 };
        assert_eq!(usage.io, Some(io));
        let pressure = Pressure { avg10: 50, total: Duration::from_micros(7) };
        assert_eq!((usage.memory_pressure, usage.cpu_pressure), (Some(pressure), None));
        assert!(v2.is_over_memory("c1"));
        assert_eq!((v2.oom_kills("c1"), v2.oom_kills("c2")), (2, 0));
        put("memory.events", "low 0\nhigh 0\nmax 9\noom 0\noom_kill 2\noom_group_kill 1\n");
        assert!(!v2.is_over_memory("c1"), "the whole machine was out of memory");
    }

    #[test]
    fn a_creation_that_fails_names_the_file_and_what_was_written() {
        let root = TempDir::new().expect("a temporary directory");
        let v2 = V2 { root: root.path().into(), base: root.path().join("bourse/a1") };
        let error =
            v2.create("c1", &limits()).expect_err("there is no control group file in a plain directory");
        assert!(error.to_string().contains("write +cpu +memory +pids to"), "{error}");
        assert!(!root.path().join("bourse").exists(), "what was made is removed again");
    }

    #[test]
    fn a_group_that_the_agent_itself_is_in_is_emptied_into_a_leaf_and_one_of_others_is_left_alone() {
        let root = TempDir::new().expect("a temporary directory");
        fs::create_dir(root.path().join(LEAF)).expect("it is writable");
        for file in ["cgroup.procs".to_owned(), CONTROL.to_owned(), format!("{LEAF}/cgroup.procs")] {
            fs::write(root.path().join(file), "").expect("it is writable");
        }
        fs::write(root.path().join("cgroup.procs"), "0\n41\n").expect("it is writable");
        let error = make_way(root.path(), CONTROLLERS, 42).expect_err("the agent is not in it");
        assert!(error.to_string().contains("{0, 41}"), "{error}");
        make_way(root.path(), CONTROLLERS, 41).expect("all files are there");
        assert_eq!(read(&root, &format!("{LEAF}/cgroup.procs")), "41");
        assert_eq!(read(&root, CONTROL), CONTROLLERS);
    }
}
