//! Where systemd owns the control groups of version 2: a tree as it makes it, in a group of ours, which is all that the agent in
//! it sees.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::thread;
use std::time::{Duration, Instant};

use bourse_containerizer::{Containerizer, Isolation, RecoveredState};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::groups::mounted;
use super::lab::{DEADLINE, Lab};
use super::recovery::recover;

/// Set for the process that plays the agent.
const AGENT: &str = "CONTAINERS_TEST_SYSTEMD_AGENT";

const UNIT: &str = "system.slice/bourse-agent.service";

const CONTROL: &str = "cgroup.subtree_control";
const CONTROLLERS: &str = "+cpu +memory +pids";

/// A group of ours, which goes with all that is in it.
struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        remove(&self.0, Instant::now() + DEADLINE);
    }
}

fn remove(group: &Path, deadline: Instant) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path(), deadline);
        }
    }
    // The kernel may call it busy for a moment after its last process has ended.
    while fs::remove_dir(group).is_err() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Plan: an agent is started in a group that is the top of all for it, and makes of that what systemd makes of a tree. Its
/// unit is delegated by the mark that systemd itself makes.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_unit_that_systemd_has_delegated_an_agent_has_its_tasks_and_says_so_where_it_has_not() {
    if env::var_os(AGENT).is_some() {
        return agent().await;
    }
    assert!(nix::unistd::geteuid().is_root(), "this test makes control groups: run it with sudo");
    // On version 1 no part of the tree is used that is delegated.
    let (None, Some(tree)) = (mounted(Some("memory")), mounted(None)) else { return };
    let top = Group(tree.join(format!("bourse-test-systemd-{}", process::id())));
    fs::create_dir(&top.0).expect("we are root");
    fs::write(tree.join(CONTROL), CONTROLLERS).expect("we are root");
    let test =
        "systemd::in_a_unit_that_systemd_has_delegated_an_agent_has_its_tasks_and_says_so_where_it_has_not";
    let script = "echo $$ > \"$0/cgroup.procs\" && exec unshare --cgroup --mount \"$@\"";
    let mut agent = Command::new("sh");
    agent.args(["-c", script]).arg(&top.0).arg(env::current_exe().expect("it is running"));
    let ran = agent.args(["--exact", test, "--nocapture"]).env(AGENT, "1").output();
    let ran = ran.expect("it can be started");
    let (said, trouble) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.contains("1 passed"), "{said}{trouble}");
    let place = top.0.clone();
    drop(top);
    assert!(!place.exists(), "something is left in {}", place.display());
}

/// The agent, in its unit.
async fn agent() {
    let tree = mounted(None).expect("it is mounted");
    // Of the one of before it sees only a part, which begins above its own top.
    umount2(&tree, MntFlags::MNT_DETACH).expect("we are root");
    mount(Some("cgroup2"), &tree, Some("cgroup2"), MsFlags::empty(), None::<&str>).expect("we are root");
    let unit = tree.join(UNIT);
    for made in [&tree.join("init.scope"), &unit] {
        fs::create_dir_all(made).expect("we are root");
    }
    fs::write(unit.join("cgroup.procs"), process::id().to_string()).expect("we are root");
    for above in [&tree, &tree.join("system.slice")] {
        fs::write(above.join(CONTROL), CONTROLLERS).expect("nobody is in it");
    }
    assert_eq!(group_of(process::id()), format!("/{UNIT}"));

    let lab = Lab::new();
    let told = lacking(&lab).await;
    let of_unit = |told: &[String]| told.iter().any(|told| told.contains("has not delegated"));
    assert!(of_unit(&told), "{told:?}");
    let at_top = lab.spec("c1", &["sleep", "1000"]);
    let task = lab.launch(&at_top).await.pid;
    assert_eq!(group_of(task), format!("/bourse/{}/c1/task", lab.instance));
    assert_eq!(group_of(process::id()), format!("/{UNIT}"), "nobody had to make way");
    lab.finish().await;
    assert!(!tree.join("bourse").exists());

    // As systemd does (systemd.io/CGROUP_DELEGATION).
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&unit, "trusted.delegate", b"1", flags).expect("we are root, and kernfs has these");
    let lab = Lab::new();
    let told = lacking(&lab).await;
    assert!(!of_unit(&told), "{told:?}");
    let spec = lab.spec("c1", &["sleep", "1000"]);
    let task = lab.launch(&spec).await.pid;
    assert_eq!(group_of(task), format!("/{UNIT}/bourse/{}/c1/task", lab.instance));
    // A group that hands controllers down holds no process itself.
    assert_eq!(group_of(process::id()), format!("/{UNIT}/bourse-host"));
    assert!(lab.containerizer.usage(&spec.container_id).await.expect("it runs").pids > 0);

    // The next one begins in the leaf.
    let next = Lab::at(lab.root(), &lab.instance);
    let found = recover(&next.containerizer).await;
    assert!(matches!(found[0].state, RecoveredState::Running(launched) if launched.pid == task), "{found:?}");
    next.containerizer.destroy(&spec.container_id).await.expect("it can be destroyed");
    lab.finish().await;
    assert!(!unit.join("bourse").exists() && !tree.join("bourse").exists());
}

/// What an agent says of what it has to do without.
async fn lacking(lab: &Lab) -> Vec<String> {
    let can = lab.containerizer.try_out(Isolation::Linux).await.unwrap_or_else(|error| panic!("{error}"));
    can.expect("it isolates").lacking
}

/// Where a process is in the tree.
fn group_of(pid: u32) -> String {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    let of_version_2 = groups.lines().find_map(|line| line.strip_prefix("0::"));
    of_version_2.expect("every process is in one").to_owned()
}
