//! Control groups on the real kernel, by every means of killing that this machine offers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use bourse_containerizer::cgroup::{Extra, Hierarchy, Killer, V1, V2};
use bourse_containerizer::{Containerizer, Limits};
use bourse_types::Milli;

use super::lab::{Lab, groups_of, has, processes_marked, read, until};

/// Where the hierarchy with this controller is mounted; `None` for the controller asks for version 2.
pub fn mounted(controller: Option<&str>) -> Option<PathBuf> {
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
        assert!(!groups.remove_empty("c1"), "{groups:?}: somebody is in them");
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
        assert_eq!(groups_of(&instance), Vec::<&Path>::new(), "{groups:?}");
    }
}

/// Makes groups by hand, one in the other, in those of the task of a container, and tells the files by which processes come
/// into the inner ones. Where the kernel can refuse them, it has to.
fn make_below(instance: &str) -> Vec<PathBuf> {
    let make = |base: PathBuf| {
        let container = base.join("c1");
        let of_task = container.join("task");
        // One by which a container is killed has none of the task's own.
        let within = if of_task.exists() { &of_task } else { &container };
        let deep = within.join("made/deeper");
        let limit = container.join("cgroup.max.descendants");
        if limit.exists() {
            let error = fs::create_dir_all(&deep).expect_err("there may be none");
            assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "{}: {error}", deep.display());
            // As before Linux 4.14, and of an older agent.
            fs::write(&limit, "max").expect("we are root");
        }
        fs::create_dir_all(&deep).unwrap_or_else(|error| panic!("{}: {error}", deep.display()));
        deep.join("cgroup.procs")
    };
    groups_of(instance).into_iter().map(make).collect()
}

#[test]
fn every_way_of_killing_reaches_what_is_in_groups_made_in_those_of_a_container() {
    assert!(nix::unistd::geteuid().is_root(), "this test makes control groups for real: run it with sudo");
    let instance = format!("test-groups-{}-below", std::process::id());
    for groups in hierarchies(&instance) {
        let limits = Limits::unlimited(Milli::new(100));
        groups.create("c1", &limits).unwrap_or_else(|error| panic!("{groups:?}: {error}"));
        let mut child = in_group(None, &make_below(&instance));
        groups.kill("c1").unwrap_or_else(|error| panic!("{groups:?}: {error}"));
        child.wait().expect("it is our child");
        groups.remove("c1").unwrap_or_else(|error| panic!("{groups:?}: {error}"));
        assert_eq!(groups_of(&instance), Vec::<&Path>::new(), "{groups:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_were_made_in_those_of_a_task_go_with_it() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "sleep 1000 & echo up; wait");
    let task = lab.launch(&spec).await.pid;
    until("it runs", || read(&spec, "stdout") == "up\n").await;
    for procs in make_below(&lab.instance) {
        fs::write(&procs, task.to_string()).unwrap_or_else(|error| panic!("{}: {error}", procs.display()));
    }
    lab.containerizer.destroy(&spec.container_id).await.expect("it can be destroyed");
    assert_eq!(groups_of(&lab.instance), Vec::<&Path>::new());
    assert_eq!(processes_marked(&format!("LAB={}", lab.instance)), Vec::<u32>::new());
    lab.finish().await;
}
