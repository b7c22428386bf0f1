use std::path::Path;
use std::time::Duration;

use bourse_proto::v1::TaskState::*;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

use crate::lab::{Lab, is_alive, shell, wait_for};

/// A file system of 24 MiB.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> SmallDisk {
        let folder = TempDir::new().expect("a folder");
        let options = Some("size=24m,mode=755");
        mount(Some("small"), folder.path(), Some("tmpfs"), MsFlags::empty(), options).expect("mounted");
        SmallDisk(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn free(&self) -> u64 {
        let stat = statvfs(self.path()).expect("there");
        stat.blocks_available() * stat.fragment_size()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}

#[tokio::test]
async fn a_task_that_fills_the_disk_is_killed_by_an_agent_that_lives_on_and_the_others_go_on() {
    let small = SmallDisk::new();
    let work_dir = small.path().canonicalize().expect("there").join("work");
    let mut lab = Lab::at(Some(work_dir), &[]).await;
    lab.run(&shell("t1", "while [ ! -f go ]; do sleep 0.02; done; exit 7"));
    let pid = lab.until_running("t1").await;
    // What is written to this file system counts as the memory of whoever writes it.
    let hog = shell("hog", "cat /dev/zero > big; exec sleep 1000");
    lab.run(&bourse_types::TaskSpec { resources: "cpus:0.1; mem:128".parse().expect("valid"), ..hog });
    lab.until_running("hog").await;
    wait_for("the disk is full", || small.free() == 0).await;

    lab.run(&shell("late", "true"));
    let dropped = lab.until_state("late", TaskDropped).await;
    assert!(dropped.message().contains("disk"), "{}", dropped.message());

    lab.kill_agent().await;
    lab.start().await;
    lab.kill_task("hog", Some(Duration::ZERO));
    lab.until_state("hog", TaskKilled).await;
    assert!(is_alive(pid) && small.free() < 1 << 20, "{} bytes are free", small.free());

    std::fs::remove_file(lab.sandbox("hog").join("big")).expect("there");
    // The agent looks once a second.
    let mut number = 0;
    loop {
        let task = format!("n{number}");
        lab.run(&shell(&task, "true"));
        let told =
            |state| move |master: &crate::master::Master, task: &str| master.states(task).contains(&state);
        lab.until("it ends", |master| told(TaskFinished)(master, &task) || told(TaskDropped)(master, &task))
            .await;
        if lab.master.states(&task).contains(&TaskFinished) {
            break;
        }
        number += 1;
    }
    std::fs::write(lab.sandbox("t1").join("go"), "").expect("written");
    let end = lab.until_state("t1", TaskFailed).await;
    assert_eq!(end.exit.and_then(|exit| exit.code), Some(7));
    lab.clean().await;
}
