//! How much a sandbox holds, and the quota that keeps it to that where its file system has quotas of projects.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use bourse_containerizer::{Bind, ContainerSpec, Containerizer, quota};
use bourse_types::Exit;

use super::lab::{Lab, read, until};

const MIB: u64 = 1 << 20;

/// A folder on a file system that has them. The kernel of the machine that runs the tests may be without; the guest of
/// `test-cgroup2` is not.
const PLACE: &str = "QUOTA_TEST_DIR";

/// A task that holds so many MiB in a file that has no name any more.
fn keeps_unlinked(mebibytes: u64) -> String {
    format!("exec 3> gone; rm gone; head -c {mebibytes}M /dev/zero >&3; echo ready; sleep 1000")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_task_has_open_and_that_has_no_name_is_seen_until_the_end() {
    let lab = Lab::new();
    let spec = lab.shell("c1", &keeps_unlinked(2));
    lab.launch(&spec).await;
    until("it has written", || read(&spec, "stdout") == "ready\n").await;
    let device = fs::metadata(&spec.sandbox).expect("it is there").dev();
    let seen = lab.containerizer.unlinked_bytes(&spec.container_id, device).await;
    assert!((2 * MIB..3 * MIB).contains(&seen), "{seen}");
    lab.containerizer.kill_all(&spec.container_id).await.expect("it runs");
    lab.wait(&spec).await;
    assert_eq!(lab.containerizer.unlinked_bytes(&spec.container_id, device).await, 0);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_a_name_counts_in_tmp_and_not_in_a_volume_on_the_same_disk() {
    let lab = Lab::new();
    // Beside the sandbox, so that its disk is the same.
    let volume = lab.root().canonicalize().expect("it is there").join("volume");
    fs::create_dir(&volume).expect("it is writable");
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).expect("it is ours");
    let script = "for folder in /tmp /volume; do \
                  exec 3> $folder/gone; rm $folder/gone; head -c 2M /dev/zero >&3; sleep 1000 & done; \
                  exec 3>&-; echo ready; wait";
    let mut spec = lab.shell("c1", script);
    spec.volumes = vec![Bind { source: volume.clone(), target: "/volume".into(), writable: true }];
    lab.launch(&spec).await;
    until("it has written", || read(&spec, "stdout") == "ready\n").await;
    let device = fs::metadata(&spec.sandbox).expect("it is there").dev();
    assert_eq!(fs::metadata(&volume).expect("it is there").dev(), device);
    let seen = lab.containerizer.unlinked_bytes(&spec.container_id, device).await;
    assert!((2 * MIB..3 * MIB).contains(&seen), "{seen}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fills_its_quota_is_told_so_and_others_on_the_same_disk_go_on() {
    let Some(place) = env::var_os(PLACE).map(PathBuf::from) else { return };
    let lab = Lab::new();
    let on_it = |name: &str, mebibytes: u64, script: &str| {
        let sandbox = place.join(name);
        fs::create_dir(&sandbox).expect("it is writable");
        assert!(quota::give(&sandbox, Some(mebibytes * MIB)).expect("it can be set"), "there are quotas");
        ContainerSpec { sandbox, ..lab.shell(name, script) }
    };
    let fill = "head -c 16M /dev/zero > big; code=$?; size=$(stat -c %s big); rm big; echo $code $size";
    let full = on_it("full", 4, fill);
    let told = lab.output(&full).await;
    let size: u64 = told.trim().strip_prefix("1 ").and_then(|size| size.parse().ok()).expect("it failed");
    assert!((3 * MIB..=4 * MIB).contains(&size), "{size}");

    // Nor does its log pass the limit, of which what is thrown away is only counted.
    let loud = on_it("loud", 4, "head -c 16M /dev/zero > big; head -c 300000 /dev/zero >&2; exit 3");
    assert_eq!(lab.run(&loud).await, Exit::Code(3));
    let used = quota::used(&loud.sandbox).expect("it has one");
    assert!((3 * MIB..=4 * MIB).contains(&used), "{used}");

    // One that begins without a limit can have one later, and what it made before is renamed as what it makes then is.
    let sandbox = place.join("later");
    fs::create_dir(&sandbox).expect("it is writable");
    assert!(quota::give(&sandbox, None).expect("it can be set"));
    let script = "echo old > old; until [ -e go ]; do sleep 0.1; done; mv old new; head -c 16M /dev/zero > big; echo $?";
    let later = ContainerSpec { sandbox, ..lab.shell("later", script) };
    lab.launch(&later).await;
    until("it has begun", || later.sandbox.join("old").exists()).await;
    assert!(quota::change(&later.sandbox, Some(4 * MIB)).expect("it can be set"));
    fs::write(later.sandbox.join("go"), "").expect("it is writable");
    lab.wait(&later).await;
    assert!(
        later.sandbox.join("new").exists() && !later.sandbox.join("old").exists(),
        "{}",
        read(&later, "stderr")
    );
    let none = place.join("none");
    fs::create_dir(&none).expect("it is writable");
    assert!(!quota::change(&none, Some(MIB)).expect("that is no error"), "it was given none");
    fs::remove_dir(&none).expect("it is empty");

    // Of two at once each has its own, and what has no name any more counts until its end.
    let keeper = on_it("keeper", 4, &keeps_unlinked(3));
    lab.launch(&keeper).await;
    until("it has written", || read(&keeper, "stdout") == "ready\n").await;
    let used = quota::used(&keeper.sandbox).expect("it has one");
    assert!((3 * MIB..=4 * MIB).contains(&used), "{used}");
    let other = on_it("other", 4, "head -c 3M /dev/zero > big && echo whole");
    assert_eq!(lab.output(&other).await, "whole\n");

    // Another figure counts at once, for what runs as well; none is none.
    let script = "until [ -e go ]; do sleep 0.1; done; head -c 6M /dev/zero > big; echo $?";
    for (name, limit, expected) in [("more", Some(8 * MIB), "0\n"), ("free", None, "0\n")] {
        let grown = on_it(name, 4, script);
        lab.launch(&grown).await;
        assert!(quota::change(&grown.sandbox, limit).expect("it can be set"));
        fs::write(grown.sandbox.join("go"), "").expect("it is writable");
        lab.wait(&grown).await;
        assert_eq!(read(&grown, "stdout"), expected, "{name}");
    }

    lab.finish().await;
    for name in ["full", "loud", "later", "keeper", "other", "more", "free"] {
        let sandbox = place.join(name);
        fs::remove_dir_all(&sandbox).expect("it is there");
        // Nobody's any more: the next one in its place begins with nothing.
        fs::create_dir(&sandbox).expect("it is writable");
        assert!(quota::give(&sandbox, Some(MIB)).expect("it can be set"));
        let used = quota::used(&sandbox).expect("it has one");
        assert!(used < MIB / 4, "{used}");
        fs::remove_dir(&sandbox).expect("it is empty");
    }
}
