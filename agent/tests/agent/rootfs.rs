use std::fs;
use std::path::Path;

use bourse_proto::v1::TaskState::*;
use bourse_proto::v1::task_status::Reason;
use bourse_types::{Rootfs, TaskSpec};
use tar::{Builder, EntryType, Header};

use crate::lab::{Lab, shell};

/// A tar with a shell, `cat` and a file `release`.
fn write_image(path: &Path) {
    let mut builder = Builder::new(fs::File::create(path).expect("writable"));
    builder.append_path_with_name("/bin/busybox", "bin/busybox").expect("busybox-static is installed");
    let mut header = Header::new_gnu();
    for set in [Header::set_uid, Header::set_gid, Header::set_mtime, Header::set_size] {
        set(&mut header, 0);
    }
    header.set_mode(0o644);
    header.set_entry_type(EntryType::Symlink);
    for name in ["bin/sh", "bin/cat"] {
        builder.append_link(&mut header.clone(), name, "busybox").expect("writable");
    }
    let text = "from a tar\n";
    header.set_entry_type(EntryType::Regular);
    header.set_size(text.len() as u64);
    builder.append_data(&mut header, "release", text.as_bytes()).expect("writable");
    builder.finish().expect("writable");
}

#[tokio::test]
async fn a_task_has_a_tar_as_its_root_that_is_unpacked_once_and_one_that_is_none_fails_it_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let images = folder.path().canonicalize().expect("there");
    write_image(&images.join("image.tar"));
    fs::write(images.join("bad.tar"), "no tar").expect("writable");
    let lab = Lab::with(&[&format!("--rootfs={}", images.display())]).await;
    let rooted = |task: &str, rootfs: &Path, line: &str| {
        let rootfs = Rootfs::new(&rootfs.display().to_string()).expect("absolute");
        TaskSpec { rootfs: Some(rootfs), ..shell(task, line) }
    };
    for task in ["t1", "t2"] {
        lab.run(&rooted(task, &images.join("image.tar"), "cat /release && echo own > own"));
        lab.until_state(task, TaskFinished).await;
        assert_eq!(lab.stdout(task).await, "from a tar\n");
        assert_eq!(fs::read_to_string(lab.sandbox(task).join("own")).expect("there"), "own\n");
    }
    let unpacked = fs::read_dir(lab.work_dir().join("rootfs")).expect("there").count();
    assert_eq!(unpacked, 1);
    for (task, rootfs, said) in
        [("t3", images.join("bad.tar"), "unpacking"), ("t4", "/usr".into(), "--rootfs")]
    {
        lab.run(&rooted(task, &rootfs, "true"));
        let end = lab.until_state(task, TaskFailed).await;
        assert_eq!(end.reason(), Reason::ContainerLaunchFailed);
        let start = format!("the task cannot have the root {}: ", rootfs.display());
        assert!(end.message().starts_with(&start) && end.message().contains(said), "{}", end.message());
    }
    lab.clean().await;
}
