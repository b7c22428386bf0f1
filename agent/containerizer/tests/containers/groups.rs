//! Control groups on the real kernel, by every means of killing that this machine offers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use bourse_containerizer::Limits;
use bourse_containerizer::cgroup::{Extra, Hierarchy, Killer, V1, V2};
use bourse_types::Milli;

use super::lab::has;

/// Where the hierarchy with this controller is mounted; `None` for the controller asks for version 2.
fn mounted(controller: Option<&str>) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let fits = match (controller, right.next()?) {
            (None, "cgroup2") => true,
            (Some(wanted), "cgroup") => right.nth(1)?.split(',').any(|option| option == wanted),
            _ => false,
        };
        fits.then(|| left.split(' ').nth(4).map(PathBuf::from))?
    })
}

fn hierarchies(instance: &str) -> Vec<Box<dyn Hierarchy>> {
    let base = |controller| mounted(controller).map(|point| point.join("bourse").join(instance));
    let Some(memory) = base(Some("memory")) else {
        let root = mounted(None).expect("a machine has control groups of version 1 or 2");
        return vec![Box::new(V2 { base: root.join("bourse").join(instance), root })];
    };
    let killers =
        [base(None).map(Killer::Unified), base(Some("freezer")).map(Killer::Freezer), Some(Killer::Signals)];
    let with = |killer| -> Box<dyn Hierarchy> {
        let v1 = |controller| base(Some(controller)).expect("it is mounted where memory is");
        Box::new(V1 {
            cpu: v1("cpu"),
            cpuacct: v1("cpuacct"),
            memory: memory.clone(),
            pids: v1("pids"),
            cpuset: base(Some("cpuset")),
            blkio: base(Some("blkio")),
            hugetlb: base(Some("hugetlb")),
            killer,
        })
    };
    killers.into_iter().flatten().map(with).collect()
}

/// A process that was moved into a group of version 2, if there is one, and by these files into others.
fn in_group(group: Option<&PathBuf>, joins: &[PathBuf]) -> Child {
    let child = Command::new("sleep").arg("1000").spawn().expect("it can be started");
    for join in group.map(|group| group.join("cgroup.procs")).iter().chain(joins) {
        fs::write(join, child.id().to_string()).unwrap_or_else(|error| panic!("{}: {error}", join.display()));
    }
    child
}

#[test]
fn every_way_of_killing_empties_the_groups_so_that_they_can_be_removed() {
    assert!(nix::unistd::geteuid().is_root(), "this test makes control groups for real: run it with sudo");
    let instance = format!("test-groups-{}", std::process::id());
    for groups in hierarchies(&instance) {
        let limits = Limits {
            cpu_quota: Some(Milli::new(100)),
            memory_bytes: Some(16 << 20),
            pids: Some(10),
            cores: has(Extra::Cpuset).then(|| "0".parse().expect("a list of cpus")),
            io_weight: has(Extra::Io).then_some(200),
            ..Limits::unlimited(Milli::new(100))
        };
        let joins = groups.create("c1", &limits).unwrap_or_else(|error| panic!("{groups:?}: {error}"));
        let task = || in_group(joins.task_in.as_ref(), &joins.task);
        let mut children = [in_group(joins.init_in.as_ref(), &joins.init), task(), task()];
        let mut expected: Vec<u32> = children.iter().map(Child::id).collect();
        expected.sort_unstable();
        assert_eq!(groups.processes("c1"), expected, "{groups:?}");
        assert_eq!(groups.containers(), ["c1"]);
        assert_eq!(groups.usage("c1").expect("it is there").memory_limit_bytes, Some(16 << 20));

        groups.kill("c1").unwrap_or_else(|error| panic!("{groups:?}: {error}"));
        for child in &mut children {
            child.wait().expect("it is our child");
        }
        assert!(groups.processes("c1").is_empty(), "{groups:?}");
        groups.remove("c1").unwrap_or_else(|error| panic!("{groups:?}: {error}"));
        assert!(groups.containers().is_empty());
        assert_eq!(super::lab::groups_of(&instance), Vec::<&Path>::new(), "{groups:?}");
    }
}
