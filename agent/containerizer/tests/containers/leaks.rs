//! What containers could leave behind: the check of all other tests, itself checked, and the agent's own process.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

use bourse_containerizer::{Check, CheckEnd, ContainerSpec, Containerizer, Isolation};
use bourse_types::{Exit, Namespaces, Network, Users};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::lab::{DEADLINE, Lab, all_processes, is_alone, until};
use super::rootfs::image;

/// The kinds of what is left.
fn kinds(lab: &Lab) -> BTreeSet<String> {
    let first_word = |text: String| text.split(' ').next().unwrap_or_default().to_owned();
    lab.left().into_iter().map(first_word).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leak_check_of_these_tests_sees_every_kind_of_thing_that_can_be_left() {
    // What others hold for a moment in the same process would be told, too.
    if !is_alone("leaks::the_leak_check_of_these_tests_sees_every_kind_of_thing_that_can_be_left") {
        return;
    }
    let lab = Lab::new();
    assert_eq!(lab.left(), Vec::<String>::new());

    let open = File::open(&lab.work).expect("it is there");
    assert_eq!(kinds(&lab), BTreeSet::from(["held".to_owned()]));
    drop(open);
    for namespace in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let open = [(); 2].map(|()| File::open(Path::new("/proc/self/ns").join(namespace)));
        let open = open.map(|file| file.expect("every kernel has it that can isolate"));
        assert_eq!(lab.left().len(), open.len(), "{namespace}: {:?}", lab.left());
    }

    let place = lab.root().join("mounted");
    fs::create_dir(&place).expect("it is writable");
    mount(Some("none"), &place, Some("tmpfs"), MsFlags::empty(), Some("size=64k"))
        .expect("it can be mounted");
    let left = kinds(&lab);
    umount2(&place, MntFlags::empty()).expect("it is mounted");
    assert_eq!(left, BTreeSet::from(["mount".to_owned()]));

    for (name, isolation, kinds_of_it) in [
        ("c1", Isolation::Linux, ["control", "file", "held", "process"].as_slice()),
        ("c2", Isolation::Process, ["file", "held", "process"].as_slice()),
    ] {
        let spec = ContainerSpec { isolation, ..lab.spec(name, &["sleep", "1000"]) };
        lab.launch(&spec).await;
        let expected: BTreeSet<String> = kinds_of_it.iter().map(|&kind| kind.to_owned()).collect();
        assert_eq!(kinds(&lab), expected, "{isolation:?}");
        lab.containerizer.destroy(&spec.container_id).await.expect("it can be destroyed");
        lab.assert_nothing_is_left();
    }

    // Whoever has thrown away the lab's mark is seen by what it holds.
    let script = "exec env -i /bin/sleep 1000";
    let unmarked = ContainerSpec { isolation: Isolation::Process, ..lab.shell("c3", script) };
    let task = lab.launch(&unmarked).await.pid;
    let holds = |pid: u32| lab.left().iter().any(|left| left.starts_with(&format!("held by {pid}: ")));
    until("it has no variables", || {
        fs::read(format!("/proc/{task}/environ")).is_ok_and(|all| all.is_empty())
    })
    .await;
    assert!(holds(task), "{:?}", lab.left());
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_lives_of_containers_leave_their_agent_no_descriptor_and_no_child() {
    if !is_alone("leaks::whole_lives_of_containers_leave_their_agent_no_descriptor_and_no_child") {
        return;
    }
    let lab = Lab::new();
    let image = image(&lab, "image");
    // What is made once and kept, such as the program of the first process, is made by then.
    lives(&lab, &image, 0).await;
    until("all children are reaped", || children().is_empty()).await;
    let before = descriptors();
    for round in 1..=5 {
        lives(&lab, &image, round).await;
    }
    let is_as_before = || children().is_empty() && descriptors() <= before;
    until("descriptors and children are as before", is_as_before).await;
    lab.finish().await;
}

/// Makes a container one with a root, a network and users of its own.
pub fn with_all_its_own(spec: ContainerSpec, image: &Path) -> ContainerSpec {
    let namespaces = Namespaces { users: Users::Own, network: Network::Loopback };
    ContainerSpec { root: Some(image.into()), namespaces, ..spec }
}

/// Makes a container of a kind by its name and program.
type Kind<'a> = &'a dyn Fn(&str, &[&str]) -> ContainerSpec;

/// Everything that can happen to a container of each kind.
async fn lives(lab: &Lab, image: &Path, round: u32) {
    let isolated = |name: &str, argv: &[&str]| lab.spec(name, argv);
    let beside =
        |name: &str, argv: &[&str]| ContainerSpec { isolation: Isolation::Process, ..lab.spec(name, argv) };
    let by_itself = |name: &str, argv: &[&str]| with_all_its_own(lab.spec(name, argv), image);
    let kinds: [(&str, Kind<'_>); 3] =
        [("isolated", &isolated), ("beside", &beside), ("by-itself", &by_itself)];
    for (kind, spec) in kinds {
        let of = |what: &str| format!("{what}-{kind}-{round}");
        let runs = spec(&of("runs"), &["sleep", "1000"]);
        lab.launch(&runs).await;
        // Every one of them has a shell.
        let check =
            Check { argv: ["sh", "-c", ":"].map(str::to_owned).into(), env: Vec::new(), timeout: DEADLINE };
        let end = lab.containerizer.exec(&runs.container_id, &check).await.expect("it can be run");
        assert_eq!(end, CheckEnd::Exited(Exit::Code(0)));
        let missing = Check { argv: vec!["no-such-check".into()], ..check };
        lab.containerizer.exec(&runs.container_id, &missing).await.expect_err("there is no such program");
        lab.containerizer.usage(&runs.container_id).await.expect("it runs");
        {
            let next = Lab::at(lab.root(), &lab.instance);
            assert_eq!(next.containerizer.recover().await.expect("it is readable").len(), 1);
        }
        lab.containerizer.kill_all(&runs.container_id).await.expect("it runs");
        lab.wait(&runs).await;
        lab.containerizer.destroy(&runs.container_id).await.expect("it can be destroyed");

        let destroyed = spec(&of("destroyed"), &["sleep", "1000"]);
        lab.launch(&destroyed).await;
        lab.containerizer.destroy(&destroyed.container_id).await.expect("it can be destroyed");

        let failing = spec(&of("failing"), &["no-such-command"]);
        lab.containerizer.launch(&failing).await.expect_err("there is no such program");
    }
}

/// How many this process has.
pub fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

/// Processes that this one has started and not reaped.
pub fn children() -> Vec<u32> {
    let parent = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    all_processes().into_iter().filter(|pid| parent(pid) == Some(std::process::id())).collect()
}
