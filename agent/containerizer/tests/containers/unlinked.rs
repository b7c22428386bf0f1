//! What a task keeps on its disk that has no name any more, and that no walk finds.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use bourse_containerizer::{Bind, ContainerSpec, Containerizer, Unlinked};

use super::lab::{Lab, read, until};
use super::rootfs::image;

const MIB: u64 = 1 << 20;

/// A task that holds so many MiB in a file that has no name any more.
pub fn keeps_unlinked(mebibytes: u64) -> String {
    format!("exec 3> gone; rm gone; head -c {mebibytes}M /dev/zero >&3; echo ready; sleep 1000")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_task_has_open_and_that_has_no_name_is_seen_until_the_end() {
    let lab = Lab::new();
    let spec = lab.shell("c1", &keeps_unlinked(2));
    lab.launch(&spec).await;
    until("it has written", || read(&spec, "stdout") == "ready\n").await;
    let device = fs::metadata(&spec.sandbox).expect("it is there").dev();
    let seen = lab.containerizer.unlinked(&spec.container_id, device).await;
    assert!((2 * MIB..3 * MIB).contains(&seen.bytes) && seen.inodes == 1 && seen.is_whole, "{seen:?}");
    lab.containerizer.kill_all(&spec.container_id).await.expect("it runs");
    lab.wait(&spec).await;
    assert_eq!(lab.containerizer.unlinked(&spec.container_id, device).await, Unlinked::NONE);
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
    let seen = lab.containerizer.unlinked(&spec.container_id, device).await;
    assert!((2 * MIB..3 * MIB).contains(&seen.bytes) && seen.inodes == 1 && seen.is_whole, "{seen:?}");
    lab.finish().await;
}

/// Ways to keep a file of 2 MiB, or a folder, that has no name any more, and no descriptor that is shown of the process.
const WAYS: &str = r#"
import ctypes, os, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
SIZE = 2 << 20

def removed(name='gone'):
    file = os.open(name, os.O_RDWR | os.O_CREAT)
    os.write(file, bytes(SIZE))
    os.unlink(name)
    return file

def ready():
    print('ready', flush=True)
    time.sleep(1000)

# PROT_READ, MAP_SHARED; Python's own module keeps the file open.
def mapped(name='gone'):
    file = removed(name)
    assert libc.mmap(None, SIZE, 1, 1, file, 0) not in (None, ctypes.c_void_p(-1).value)
    os.close(file)
    ready()

def mapped_in_a_volume():
    mapped('/volume/gone')

# CLOSE_RANGE_UNSHARE: from then on the thread has descriptors of its own.
def open_in_one_thread():
    file, apart, closed = removed(), threading.Event(), threading.Event()
    def keep():
        assert libc.syscall(CLOSE_RANGE, 1000, 1000, 2) == 0
        apart.set()
        closed.wait()
        ready()
    threading.Thread(target=keep).start()
    apart.wait()
    os.close(file)
    closed.set()

# The thread by whose number the process is known.
def open_after_the_end_of_the_first_thread():
    removed()
    threading.Thread(target=ready).start()
    libc.syscall(EXIT, 0)

def a_folder_to_be_in():
    os.mkdir('folder')
    os.chdir('folder')
    os.rmdir('../folder')
    ready()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_name_any_more_counts_however_a_task_keeps_it() {
    let lab = Lab::new();
    let volume = lab.root().canonicalize().expect("it is there").join("volume");
    fs::create_dir(&volume).expect("it is writable");
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).expect("it is ours");
    let numbers = format!("EXIT, CLOSE_RANGE = {}, {}", libc::SYS_exit, libc::SYS_close_range);
    for (way, bytes, inodes) in [
        ("mapped", 2 * MIB, 1),
        ("mapped_in_a_volume", 0, 0),
        ("open_in_one_thread", 2 * MIB, 1),
        ("open_after_the_end_of_the_first_thread", 2 * MIB, 1),
        ("a_folder_to_be_in", 0, 1),
    ] {
        let script = format!("{numbers}\n{WAYS}\n{way}()\n");
        let mut spec = lab.spec(way, &["python3", "-c", &script]);
        spec.volumes = vec![Bind { source: volume.clone(), target: "/volume".into(), writable: true }];
        lab.launch(&spec).await;
        until("it keeps it", || read(&spec, "stdout") == "ready\n").await;
        let device = fs::metadata(&spec.sandbox).expect("it is there").dev();
        let seen = lab.containerizer.unlinked(&spec.container_id, device).await;
        assert!((bytes..bytes + MIB).contains(&seen.bytes), "{way}: {seen:?}");
        assert!(seen.inodes == inodes && seen.is_whole, "{way}: {seen:?}");
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_a_name_counts_in_a_root_of_the_tasks_own_and_what_was_there_before_does_not() {
    let lab = Lab::new();
    let image = image(&lab, "image");
    fs::write(image.join("large"), vec![7_u8; 2 << 20]).expect("it is writable");
    // One that is new, one that is only hidden, and one that is copied as it is written to.
    let script = "exec 3> /gone; rm /gone; head -c 2097152 /dev/zero >&3; exec 4< /large; rm /large
        exec 5>> /release; rm /release; echo ready; exec sleep 1000";
    let spec = ContainerSpec { root: Some(image.clone()), ..lab.shell("c1", script) };
    lab.launch(&spec).await;
    until("it has written", || read(&spec, "stdout") == "ready\n").await;
    let device = fs::metadata(&spec.sandbox).expect("it is there").dev();
    let seen = lab.containerizer.unlinked(&spec.container_id, device).await;
    assert!((2 * MIB..3 * MIB).contains(&seen.bytes) && seen.inodes == 2 && seen.is_whole, "{seen:?}");
    assert!(image.join("large").exists(), "what is in there is nobody's disk");
    lab.finish().await;
}
