use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::unistd::{Uid, setfsuid};

use super::*;
use crate::tree;

const MIB: u64 = 1 << 20;

/// What folders and the rounding of file systems may add.
const SLACK: u64 = MIB / 4;

fn bytes(folder: &Path) -> u64 {
    let size = measure(folder).expect("it can be measured");
    assert_eq!(size.left_out, 0);
    size.bytes
}

/// So much is written and on the disk.
fn fill(path: &Path, mebibytes: u64) {
    let file = fs::File::create(path).expect("writable");
    io::copy(&mut io::Read::take(io::repeat(7), mebibytes * MIB), &mut &file).expect("there is room");
    file.sync_all().expect("there is room");
}

fn about(bytes: u64, mebibytes: u64) -> bool {
    (mebibytes * MIB..mebibytes * MIB + SLACK).contains(&bytes)
}

#[test]
fn a_folder_takes_the_blocks_of_each_file_once_and_nothing_of_what_its_links_lead_to() {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let path = folder.path();
    fs::create_dir_all(path.join("a/b")).expect("writable");
    fill(&path.join("a/file"), 2);
    assert!(about(bytes(path), 2), "{}", bytes(path));
    fs::hard_link(path.join("a/file"), path.join("a/b/again")).expect("writable");
    assert!(about(bytes(path), 2), "two names of a file: {}", bytes(path));
    fs::File::create(path.join("sparse")).and_then(|file| file.set_len(1 << 30)).expect("writable");
    assert!(about(bytes(path), 2), "a gap takes nothing: {}", bytes(path));
    fill(&other.path().join("file"), 4);
    symlink(other.path(), path.join("folder elsewhere")).expect("writable");
    symlink(other.path().join("file"), path.join("file elsewhere")).expect("writable");
    symlink("..", path.join("a/b/up")).expect("writable");
    assert!(about(bytes(path), 2), "links are not followed: {}", bytes(path));
    fs::remove_file(path.join("a/file")).expect("there");
    assert!(about(bytes(path), 2), "the other name is left: {}", bytes(path));
    fs::remove_file(path.join("a/b/again")).expect("there");
    assert!(about(bytes(path), 0), "{}", bytes(path));
    assert!(measure(&path.join("sparse")).is_err(), "a file is no folder");
    assert!(measure(&path.join("folder elsewhere")).is_err(), "nor is a link");
}

#[test]
fn each_file_folder_and_link_is_one_inode_however_many_names_it_has_and_whatever_is_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let inodes = || measure(path).expect("it can be measured").inodes;
    assert_eq!(inodes(), 1, "the folder itself");
    for number in 0..100 {
        fs::File::create(path.join(number.to_string())).expect("writable");
    }
    fs::create_dir_all(path.join("a/b")).expect("writable");
    symlink("1", path.join("a/link")).expect("writable");
    assert_eq!(inodes(), 1 + 100 + 2 + 1);
    fs::hard_link(path.join("1"), path.join("a/again")).expect("writable");
    assert_eq!(inodes(), 104);
    fs::remove_file(path.join("1")).expect("there");
    assert_eq!(inodes(), 104, "the other name is left");
    fs::remove_file(path.join("a/again")).expect("there");
    assert_eq!(inodes(), 103);
}

#[test]
fn folders_nested_deeper_than_a_stack_or_a_path_can_be_are_measured_to_the_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tree, around) = (folder.path().join("tree"), folder.path().join("around"));
    fs::create_dir(&tree).expect("writable");
    // Two chains, so that the way leads up from the bottom of one of them.
    for name in ["one", "two"] {
        let chain = folder.path().join(name);
        fs::create_dir(&chain).expect("writable");
        fill(&chain.join("file"), 1);
        for _ in 0..20_000 {
            fs::create_dir(&around).expect("writable");
            fs::rename(&chain, around.join("inner")).expect("writable");
            fs::rename(&around, &chain).expect("writable");
        }
        fs::rename(&chain, tree.join(name)).expect("writable");
    }
    // A test's thread has a stack of 2 MiB, as the threads have that measure. A folder may take a block of its own.
    let size = measure(&tree).expect("it can be measured");
    assert_eq!(size.left_out, 0);
    assert!(size.bytes >= 2 * MIB && size.bytes < 2 * MIB + 40_002 * 8192 + SLACK, "{size:?}");
    tree::remove(&tree).expect("removed");
}

#[test]
fn what_is_mounted_in_a_folder_is_not_its_own() {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let path = folder.path().to_owned();
    // For this thread only.
    thread::spawn(move || {
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).expect("tests run as root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("ours");
        fs::create_dir(path.join("mounted")).expect("writable");
        mount(Some("none"), &path.join("mounted"), Some("tmpfs"), MsFlags::empty(), none).expect("ours");
        fill(&path.join("mounted/file"), 4);
        fill(&path.join("file"), 1);
        assert!(about(bytes(&path), 1), "{}", bytes(&path));
        // A part of the same disk: its device is that of the folder.
        fs::create_dir(path.join("bound")).expect("writable");
        mount(Some(other.path()), &path.join("bound"), none, MsFlags::MS_BIND, none).expect("ours");
        fill(&path.join("bound/file"), 4);
        assert!(about(bytes(&path), 1), "{}", bytes(&path));
        assert!(about(bytes(&path.join("mounted")), 4));
    })
    .join()
    .expect("as said");
}

#[test]
fn what_may_not_be_looked_into_is_left_out_and_the_rest_is_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    for name in ["closed", "open"] {
        fs::create_dir(path.join(name)).expect("writable");
        fill(&path.join(name).join("file"), 1);
    }
    for (folder, mode) in [(path.clone(), 0o755), (path.join("open"), 0o755), (path.join("closed"), 0o700)] {
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("ours");
    }
    // For this thread only: as somebody else, without the rights of root.
    thread::spawn(move || {
        setfsuid(Uid::from_raw(65_534));
        let size = measure(&path).expect("it can be measured");
        assert_eq!(size.left_out, 1);
        assert!(about(size.bytes, 1), "{size:?}");
    })
    .join()
    .expect("as said");
}

#[test]
fn beyond_its_bounds_a_measurement_leaves_folders_out_and_counts_a_file_by_the_share_of_each_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    for name in ["a", "b", "c"] {
        fs::create_dir(path.join(name)).expect("writable");
        fill(&path.join(name).join("file"), 1);
    }
    let narrow = Bounds { waiting: 1, ..Bounds::USUAL };
    let size = measure_within(&narrow, path).expect("it can be measured");
    assert_eq!(size.left_out, 2);
    assert!(about(size.bytes, 1), "{size:?}");
    let hasty = Bounds { time: Duration::ZERO, ..Bounds::USUAL };
    assert!(measure_within(&hasty, path).expect("it can be measured").left_out > 0);

    fs::hard_link(path.join("a/file"), path.join("b/again")).expect("writable");
    let forgetful = Bounds { linked: 0, ..Bounds::USUAL };
    let size = measure_within(&forgetful, path).expect("it can be measured");
    assert!(size.left_out == 0 && about(size.bytes, 3), "{size:?}");
    assert_eq!(size.inodes, 7, "four folders and three files, one of them by two halves");
}

/// Two folders with three in each, all with a file of 1 MiB, and a walk that is in the first of the six.
fn in_the_midst(path: &Path) -> (Walk<'static>, Place) {
    for name in ["a/1", "a/2", "a/3", "b/1", "b/2", "b/3"] {
        fs::create_dir_all(path.join(name)).expect("writable");
        fill(&path.join(name).join("file"), 1);
    }
    let (mut walk, mut place) = Walk::begin(&Bounds::USUAL, path).expect("it can be measured");
    walk.look_around(&place);
    while place.depth < 2 {
        assert!(walk.go_on(&mut place));
        walk.look_around(&place);
    }
    (walk, place)
}

fn path_of(place: &Place) -> PathBuf {
    fs::read_link(format!("/proc/self/fd/{}", place.folder.as_raw_fd())).expect("it is open")
}

fn to_the_end(mut walk: Walk<'_>, mut place: Place) -> Size {
    while walk.go_on(&mut place) {
        walk.look_around(&place);
    }
    walk.size()
}

#[test]
fn a_walk_whose_way_back_was_cut_by_a_move_goes_on_from_the_top_and_leaves_nothing_out() {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("measured");
    let (walk, place) = in_the_midst(&path);
    fs::rename(path_of(&place), folder.path().join("elsewhere")).expect("writable");
    let size = to_the_end(walk, place);
    assert!(size.left_out == 0 && about(size.bytes, 6), "{size:?}");

    // What is deeper than the way that is remembered is lost, and nothing else.
    let path = other.path().join("measured");
    let (mut walk, place) = in_the_midst(&path);
    walk.way.clear();
    fs::rename(path_of(&place), other.path().join("elsewhere")).expect("writable");
    let size = to_the_end(walk, place);
    assert!(size.left_out == 2 && about(size.bytes, 4), "{size:?}");
}

#[test]
fn a_folder_that_was_moved_itself_while_it_was_looked_at_costs_what_waits_in_it_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("measured");
    let (walk, place) = in_the_midst(&path);
    let inner = path_of(&place);
    let around = inner.parent().expect("it is in a folder").to_owned();
    fs::rename(&inner, folder.path().join("elsewhere")).expect("writable");
    fs::rename(&around, path.join("moved")).expect("writable");
    let size = to_the_end(walk, place);
    assert!(size.left_out == 2 && about(size.bytes, 4), "{size:?}");
}

#[test]
fn a_way_up_that_leads_elsewhere_is_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    fs::create_dir_all(path.join("measured/inner")).expect("writable");
    fs::create_dir(path.join("elsewhere")).expect("writable");
    let opened = |path: &Path| open(path, of_folders(), Mode::empty()).expect("there");
    let top = fstat(opened(&path.join("measured"))).expect("open");
    let branch = Branch { identity: identity(&top), depth: 0, waiting: 1 };
    let mut place = Place { folder: opened(&path.join("measured/inner")), depth: 1 };
    assert!(place.climb(&branch));
    let mut place = Place { folder: opened(&path.join("measured/inner")), depth: 1 };
    fs::rename(path.join("measured/inner"), path.join("elsewhere/inner")).expect("writable");
    assert!(!place.climb(&branch));
    assert!(place.come_from(&opened(&path.join("measured")), &[], &branch));
    assert!(!place.come_from(&opened(&path.join("elsewhere")), &[], &branch), "it is another folder");
}
