use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use bourse_hostile::FragileDisk;
use bourse_proto::agent_link::TaskUsage;
use bourse_proto::agent_link::from_agent::Message;
use bourse_proto::v1::TaskState::*;
use bourse_proto::v1::task_status::Reason;
use bourse_types::{Rootfs, TaskSpec};
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

use crate::lab::{Lab, is_alive, shell};

/// A task with 4 MiB of disk that has so much in its sandbox, and then waits.
fn holding(task: &str, mebibytes: u64) -> TaskSpec {
    let line = format!("head -c {} /dev/zero > big; exec sleep 1000", mebibytes << 20);
    TaskSpec { resources: "cpus:0.1; mem:64; disk:4".parse().expect("valid"), ..shell(task, &line) }
}

/// Waits until the use of a task was told as this.
pub async fn until_used(lab: &Lab, task: &str, is: impl Fn(&TaskUsage) -> bool) {
    lab.until(&format!("what {task} uses"), |master| {
        master.heard().iter().any(|message| match message {
            Message::Usage(usage) => usage.tasks.iter().any(|used| used.task_id == task && is(used)),
            _ => false,
        })
    })
    .await;
}

async fn one_over_its_disk_and_two_beside_it(isolation: &str) {
    let isolation = format!("--isolation={isolation}");
    let lab = Lab::with(&["--disk-interval=100ms", "--usage-interval=100ms", &isolation]).await;
    lab.run(&holding("beside", 2));
    lab.run(&shell("free", "head -c 8388608 /dev/zero > big; exec sleep 1000"));
    let pids = [lab.until_running("beside").await, lab.until_running("free").await];
    lab.run(&holding("over", 8));
    let end = lab.until_state("over", TaskFailed).await;
    assert_eq!(lab.master.states("over"), [TaskStarting, TaskRunning, TaskKilling, TaskFailed]);
    assert_eq!(end.reason(), Reason::ContainerLimitationDisk);
    let said = end.message();
    assert!(
        said.starts_with("disk limit 4 MiB exceeded: ") && said.ends_with(" MiB in its sandbox"),
        "{said}"
    );
    let limitation = end.limitation.expect("the limit").resources;
    let limit = limitation.first().and_then(|disk| disk.scalar.as_ref()?.value);
    assert_eq!((limitation.len(), limitation[0].name(), limit), (1, "disk", Some(4.0)));

    until_used(&lab, "beside", |used| {
        used.disk_limit_bytes == Some(4 << 20) && used.disk_used_bytes.is_some_and(|bytes| bytes >= 2 << 20)
    })
    .await;
    until_used(&lab, "free", |used| {
        used.disk_limit_bytes.is_none() && used.disk_used_bytes.is_some_and(|bytes| bytes >= 8 << 20)
    })
    .await;
    assert!(pids.into_iter().all(is_alive), "the others go on");
    lab.clean().await;
}

#[tokio::test]
async fn a_task_over_its_disk_fails_with_that_reason_and_the_ones_beside_it_go_on() {
    one_over_its_disk_and_two_beside_it("linux").await;
}

#[tokio::test]
async fn without_isolation_the_disk_of_tasks_is_limited_too() {
    one_over_its_disk_and_two_beside_it("process").await;
}

#[tokio::test]
async fn where_the_disk_is_not_enforced_it_is_measured_and_nobody_is_ended() {
    let lab = Lab::with(&["--disk-interval=100ms", "--usage-interval=100ms", "--enforce-disk=false"]).await;
    lab.run(&holding("over", 8));
    let pid = lab.until_running("over").await;
    until_used(&lab, "over", |used| used.disk_used_bytes.is_some_and(|bytes| bytes >= 8 << 20)).await;
    assert!(is_alive(pid));
    assert_eq!(lab.master.states("over"), [TaskStarting, TaskRunning]);
    lab.clean().await;
}

#[tokio::test]
async fn a_task_that_keeps_more_than_its_disk_in_files_without_a_name_is_ended_in_a_root_of_its_own_too() {
    let folder = TempDir::new().expect("a folder");
    let image = folder.path().canonicalize().expect("there").join("image");
    for name in ["bin", "free"] {
        fs::create_dir_all(image.join(name)).expect("writable");
    }
    fs::set_permissions(image.join("free"), fs::Permissions::from_mode(0o777)).expect("ours");
    fs::copy("/bin/busybox", image.join("bin/busybox")).expect("busybox-static is installed");
    for program in ["head", "rm", "sh", "sleep"] {
        symlink("busybox", image.join("bin").join(program)).expect("writable");
    }
    let rootfs = format!("--rootfs={}", folder.path().canonicalize().expect("there").display());
    let lab = Lab::with(&["--disk-interval=100ms", &rootfs]).await;
    let line = "exec 3> /free/big; rm /free/big; head -c 8388608 /dev/zero >&3; exec sleep 1000";
    let rootfs = Some(Rootfs::new(&image.display().to_string()).expect("absolute"));
    let resources = "cpus:0.1; mem:64; disk:4".parse().expect("valid");
    lab.run(&TaskSpec { resources, rootfs, ..shell("over", line) });
    let end = lab.until_state("over", TaskFailed).await;
    assert_eq!(end.reason(), Reason::ContainerLimitationDisk);
    assert!(end.message().starts_with("disk limit 4 MiB exceeded: "), "{}", end.message());
    lab.clean().await;
}

/// A disk of 64 MiB with a thousand inodes, where mkfs.ext4 would make 16 times as many: a few MiB come with not even a
/// hundred of them.
fn disk_for_few_files(folder: &TempDir) -> FragileDisk {
    FragileDisk::with_inodes(&folder.path().join("disk"), 64, 1024)
}

fn free_inodes(disk: &FragileDisk) -> u64 {
    statvfs(disk.path()).expect("it is mounted").files_available()
}

#[tokio::test]
async fn a_task_with_more_files_than_come_with_its_disk_is_ended_and_told_so_and_others_go_on_and_begin() {
    let folder = TempDir::new().expect("a folder");
    let disk = disk_for_few_files(&folder);
    let work_dir = disk.path().canonicalize().expect("there").join("work");
    let lab = Lab::at(Some(work_dir), &["--disk-interval=100ms", "--usage-interval=100ms"]).await;
    lab.run(&holding("beside", 2));
    let beside = lab.until_running("beside").await;
    let line = "n=0; while [ $n -lt 300 ]; do true > f$n; n=$((n + 1)); done; exec sleep 1000";
    let resources = "cpus:0.1; mem:64; disk:4".parse().expect("valid");
    lab.run(&TaskSpec { resources, ..shell("over", line) });
    let end = lab.until_state("over", TaskFailed).await;
    assert_eq!(end.reason(), Reason::ContainerLimitationDisk);
    let said = end.message();
    for part in
        ["disk limit 4 MiB exceeded: ", " files and folders in its sandbox", "4 MiB of its disk come with"]
    {
        assert!(said.contains(part), "{said}");
    }
    let limitation = end.limitation.expect("the limit").resources;
    assert_eq!((limitation.len(), limitation[0].name()), (1, "disk"));

    assert!(is_alive(beside), "the other goes on");
    lab.run(&shell("after", "exit 0"));
    lab.until_state("after", TaskFinished).await;
    assert!(is_alive(beside));
    assert_eq!(lab.master.states("beside"), [TaskStarting, TaskRunning]);
    lab.clean().await;
}

#[tokio::test]
async fn where_inodes_are_used_up_nothing_is_launched_which_says_so_and_what_runs_goes_on_and_can_be_killed()
{
    let folder = TempDir::new().expect("a folder");
    let disk = disk_for_few_files(&folder);
    let work_dir = disk.path().canonicalize().expect("there").join("work");
    let lab = Lab::at(Some(work_dir), &[]).await;
    lab.run(&shell("t1", "while [ ! -f go ]; do sleep 0.02; done; exit 7"));
    lab.run(&shell("t2", "exec sleep 1000"));
    let pid = lab.until_running("t1").await;
    lab.until_running("t2").await;
    let hog = disk.path().join("hog");
    fs::create_dir(&hog).expect("it is new");
    // But for a few, by one of which the other task is told to go.
    for number in 8..free_inodes(&disk) {
        File::create(hog.join(number.to_string())).expect("there are inodes");
    }
    assert_eq!(free_inodes(&disk), 8);

    lab.run(&shell("late", "true"));
    let dropped = lab.until_state("late", TaskDropped).await;
    let said = dropped.message();
    assert!(said.contains("has too few inodes free, 8 of the 64 that a launch needs"), "{said}");
    assert!(is_alive(pid));
    lab.kill_task("t2", Some(Duration::ZERO));
    lab.until_state("t2", TaskKilled).await;
    fs::write(lab.sandbox("t1").join("go"), "").expect("there are some left");
    let end = lab.until_state("t1", TaskFailed).await;
    assert_eq!(end.exit.and_then(|exit| exit.code), Some(7));

    fs::remove_dir_all(&hog).expect("there");
    lab.run(&shell("again", "exit 0"));
    lab.until_state("again", TaskFinished).await;
    lab.clean().await;
}
