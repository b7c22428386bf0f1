//! The quota that keeps a sandbox to its limit, where its file system has quotas of projects.

use std::fs;

use bourse_containerizer::{ContainerSpec, quota};
use bourse_hostile::quota_folder;
use bourse_types::Exit;

use super::lab::{Lab, read, until};
use super::unlinked::keeps_unlinked;

const MIB: u64 = 1 << 20;

/// So many MiB, and as many files as there are.
fn of_bytes(mebibytes: u64) -> quota::Limit {
    quota::Limit { bytes: mebibytes * MIB, inodes: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fills_its_quota_is_told_so_and_others_on_the_same_disk_go_on() {
    let Some(place) = quota_folder() else { return };
    let lab = Lab::new();
    let on_it = |name: &str, mebibytes: u64, script: &str| {
        let sandbox = place.join(name);
        fs::create_dir(&sandbox).expect("it is writable");
        assert!(quota::give(&sandbox, Some(of_bytes(mebibytes))).expect("it can be set"), "there are quotas");
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
    let used = quota::used(&loud.sandbox).expect("it has one").bytes;
    assert!((3 * MIB..=4 * MIB).contains(&used), "{used}");

    // One that begins without a limit can have one later, and what it made before is renamed as what it makes then is.
    let sandbox = place.join("later");
    fs::create_dir(&sandbox).expect("it is writable");
    assert!(quota::give(&sandbox, None).expect("it can be set"));
    let script = "echo old > old; until [ -e go ]; do sleep 0.1; done; mv old new; head -c 16M /dev/zero > big; echo $?";
    let later = ContainerSpec { sandbox, ..lab.shell("later", script) };
    lab.launch(&later).await;
    until("it has begun", || later.sandbox.join("old").exists()).await;
    assert!(quota::change(&later.sandbox, Some(of_bytes(4))).expect("it can be set"));
    fs::write(later.sandbox.join("go"), "").expect("it is writable");
    lab.wait(&later).await;
    assert!(
        later.sandbox.join("new").exists() && !later.sandbox.join("old").exists(),
        "{}",
        read(&later, "stderr")
    );
    let none = place.join("none");
    fs::create_dir(&none).expect("it is writable");
    assert!(!quota::change(&none, Some(of_bytes(1))).expect("that is no error"), "it was given none");
    fs::remove_dir(&none).expect("it is empty");

    // Of two at once each has its own, and what has no name any more counts until its end.
    let keeper = on_it("keeper", 4, &keeps_unlinked(3));
    lab.launch(&keeper).await;
    until("it has written", || read(&keeper, "stdout") == "ready\n").await;
    let used = quota::used(&keeper.sandbox).expect("it has one").bytes;
    assert!((3 * MIB..=4 * MIB).contains(&used), "{used}");
    let other = on_it("other", 4, "head -c 3M /dev/zero > big && echo whole");
    assert_eq!(lab.output(&other).await, "whole\n");

    // Another figure counts at once, for what runs as well; none is none.
    let script = "until [ -e go ]; do sleep 0.1; done; head -c 6M /dev/zero > big; echo $?";
    for (name, limit, expected) in [("more", Some(of_bytes(8)), "0\n"), ("free", None, "0\n")] {
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
        assert!(quota::give(&sandbox, Some(of_bytes(1))).expect("it can be set"));
        let used = quota::used(&sandbox).expect("it has one");
        assert!(used.bytes < MIB / 4 && used.inodes == 1, "{used:?}");
        fs::remove_dir(&sandbox).expect("it is empty");
    }
}

/// A script that makes so many empty files in its sandbox, or as many as it can, and says how many.
fn makes_files(count: u32) -> String {
    format!("n=0; while [ $n -lt {count} ] && true > f$n; do n=$((n + 1)); done; echo $n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_makes_more_files_than_its_quota_has_inodes_is_told_so_and_others_make_theirs() {
    let Some(place) = quota_folder() else { return };
    let lab = Lab::new();
    let on_it = |name: &str, inodes: Option<u64>, script: &str| {
        let sandbox = place.join(name);
        fs::create_dir(&sandbox).expect("it is writable");
        let limit = quota::Limit { inodes, ..of_bytes(4) };
        assert!(quota::give(&sandbox, Some(limit)).expect("it can be set"), "there are quotas");
        ContainerSpec { sandbox, ..lab.shell(name, script) }
    };
    let many = on_it("many", Some(100), &makes_files(200));
    let told = lab.output(&many).await;
    let made: u64 = told.trim().parse().expect("a number");
    // The sandbox itself, its logs and its `/tmp` are among the hundred.
    assert!((80..100).contains(&made), "{made}");
    let said = read(&many, "stderr");
    assert!(said.contains("quota exceeded"), "{said}");
    let used = quota::used(&many.sandbox).expect("it has one").inodes;
    assert!((made..=100).contains(&used), "{used}");

    // Beside it another one makes as many as its own lets it, and one without such a limit as many as it likes.
    let few = on_it("few", Some(50), &makes_files(200));
    let made: u64 = lab.output(&few).await.trim().parse().expect("a number");
    assert!((30..50).contains(&made), "{made}");
    let free = on_it("unbound", None, &makes_files(200));
    assert_eq!(lab.output(&free).await, "200\n");

    // Another figure counts at once, for what runs as well.
    let script = format!("until [ -e go ]; do sleep 0.1; done; {}", makes_files(200));
    let grown = on_it("wider", Some(50), &script);
    lab.launch(&grown).await;
    let limit = quota::Limit { inodes: Some(300), ..of_bytes(4) };
    assert!(quota::change(&grown.sandbox, Some(limit)).expect("it can be set"));
    fs::write(grown.sandbox.join("go"), "").expect("it is writable");
    lab.wait(&grown).await;
    assert_eq!(read(&grown, "stdout"), "200\n");

    lab.finish().await;
    for name in ["many", "few", "unbound", "wider"] {
        fs::remove_dir_all(place.join(name)).expect("it is there");
    }
}
