use super::*;

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use rustix::fs::listxattr;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// A work directory, and a place for tars.
struct Lab {
    folder: TempDir,
}

impl Lab {
    fn new() -> Lab {
        Lab { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().expect("there").join(name)
    }

    /// Writes a tar, as whole as it is said.
    fn tar(&self, name: &str, entries: &[(&str, EntryType, &str)], cut: usize) -> PathBuf {
        let mut builder = Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let (header, data) = header(path, *kind, content);
            builder.append(&header, data).expect("it is in memory");
        }
        let bytes = builder.into_inner().expect("it is in memory");
        fs::write(self.path(name), &bytes[..bytes.len() - cut]).expect("writable");
        self.path(name)
    }

    async fn directory(&self, tar: &Path, container: &str) -> Result<PathBuf, String> {
        let container = ContainerId::new(container).expect("valid");
        let open = File::open(tar).expect("there");
        match find(&self.path("work"), open, tar, &container).map_err(|error| format!("{error:#}"))? {
            Found::There(root) => Ok(root),
            Found::Packed(mut packed) => {
                packed.unpacked().await?;
                packed.take().map_err(|error| format!("{error:#}"))
            }
        }
    }

    /// An open tar, and the place that it is unpacked to.
    fn opened(&self, tar: &Path) -> (File, PathBuf) {
        let open = File::open(tar).expect("there");
        let place = place_in(&self.path(""), &open);
        (open, place)
    }

    /// What is in the agent's folder of unpacked tars.
    fn kept(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("work/rootfs")) else { return vec![] };
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

/// Names are written as they are: the library's own way refuses those that lead out. The content of a link is where it
/// leads.
fn header<'a>(path: &str, kind: EntryType, content: &'a str) -> (Header, &'a [u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o750 } else { 0o4755 });
    header.set_uid(1234);
    header.set_gid(5678);
    header.set_mtime(1_000_000_000);
    let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
    if is_link {
        header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
    }
    let data = if is_link { "" } else { content };
    header.set_size(data.len() as u64);
    header.set_cksum();
    (header, data.as_bytes())
}

use EntryType::{Block, Char, Directory, Fifo, GNUSparse, Link, Regular, Symlink, XHeader};

#[tokio::test]
async fn a_tar_is_unpacked_once_as_it_is_and_anew_when_it_was_changed() {
    let lab = Lab::new();
    let entries = [
        ("./", Directory, ""),
        ("bin/", Directory, ""),
        ("bin/tool", Regular, "a program"),
        ("bin/same", Link, "bin/tool"),
        ("/absolute", Regular, "from the top"),
        ("lib", Symlink, "/usr/lib"),
        ("pipe", Fifo, ""),
        ("disk", Block, ""),
        ("null", Char, ""),
        ("deep/er/file", Regular, "x"),
    ];
    let tar = lab.tar("image.tar", &entries, 0);
    let root = lab.directory(&tar, "c1").await.expect("it is good");
    assert!(root.starts_with(lab.path("work/rootfs")) && root.ends_with("root"));
    assert_eq!(fs::read_to_string(root.join("bin/tool")).expect("there"), "a program");
    assert_eq!(fs::read_to_string(root.join("absolute")).expect("there"), "from the top");
    assert_eq!(fs::read_link(root.join("lib")).expect("there"), Path::new("/usr/lib"));
    let [tool, same] = ["bin/tool", "bin/same"].map(|name| fs::metadata(root.join(name)).expect("there"));
    assert_eq!((tool.ino(), tool.nlink()), (same.ino(), 2));
    assert_eq!((tool.mode() & 0o7777, tool.uid(), tool.gid()), (0o4755, 1234, 5678));
    assert_eq!(tool.mtime(), 1_000_000_000);
    for (name, mode) in [("", 0o755), ("bin", 0o750), ("deep", 0o755), ("deep/er", 0o755)] {
        assert_eq!(fs::metadata(root.join(name)).expect("there").mode() & 0o7777, mode, "{name:?}");
    }
    for name in ["pipe", "disk", "null"] {
        assert!(!root.join(name).exists(), "{name}");
    }
    let closed = fs::metadata(lab.path("work/rootfs")).expect("there");
    assert_eq!(closed.mode() & 0o777, 0o700, "programs that run as root are nobody's else");

    fs::write(root.join("mark"), "the same").expect("writable");
    assert_eq!(lab.directory(&tar, "c2").await, Ok(root.clone()));
    assert!(root.join("mark").exists());
    let other = lab.tar("image.tar", &[("file", Regular, "another")], 0);
    let anew = lab.directory(&other, "c3").await.expect("it is good");
    assert_ne!(anew, root);
    assert_eq!(fs::read_to_string(anew.join("file")).expect("there"), "another");
}

#[tokio::test]
async fn tasks_that_begin_together_have_their_tar_unpacked_once() {
    let lab = Lab::new();
    let tar = lab.tar("image.tar", &[("file", Regular, "x")], 0);
    let (one, two, three) =
        tokio::join!(lab.directory(&tar, "c1"), lab.directory(&tar, "c2"), lab.directory(&tar, "c3"));
    assert!(one.is_ok() && one == two && two == three, "{one:?} {two:?} {three:?}");
    assert_eq!(lab.kept().len(), 1);
}

#[tokio::test]
async fn a_tar_that_leads_out_or_is_not_whole_is_refused_with_what_is_wrong_and_nothing_is_left() {
    let lab = Lab::new();
    let outside = lab.path("outside");
    fs::create_dir(&outside).expect("writable");
    fs::write(outside.join("secret"), "s3cret").expect("writable");
    let out = outside.display().to_string();
    let secret = format!("{out}/secret");
    let long = "x".repeat(2000);
    let file = ("file", Regular, long.as_str());
    // With the end of an archive, which is two blocks of zeros, and padding.
    let cut = 1024 + 600;
    let name = "n".repeat(2 << 20);
    type Case<'a> = (&'a str, Vec<(&'a str, EntryType, &'a str)>, usize, &'a str);
    let cases: [Case<'_>; 12] = [
        ("up", vec![file, ("../up", Regular, "x")], 0, "\"../up\": it leads out"),
        ("between", vec![("a/../../up", Regular, "x")], 0, "leads out"),
        ("through", vec![("out", Symlink, &out), ("out/new", Regular, "x")], 0, "\"out/new\": it leads out"),
        ("above", vec![("out", Symlink, "../.."), ("out/new", Regular, "x")], 0, "\"out/new\": it leads out"),
        ("folder", vec![("out", Symlink, &out), ("out/new/", Directory, "")], 0, "\"out/new/\""),
        ("onto", vec![("out", Symlink, &out), ("out", Directory, "")], 0, "\"out\""),
        ("hard", vec![("stolen", Link, &secret)], 0, "\"stolen\""),
        (
            "by way",
            vec![("out", Symlink, &out), ("stolen", Link, "out/secret")],
            0,
            "\"stolen\": it leads out",
        ),
        ("pax", vec![("x", XHeader, "22 GNU.sparse.major=1\n"), file], 0, "make the tar with --format=gnu"),
        ("cut", vec![file], cut, "\"file\""),
        (
            "long",
            vec![("././@LongLink", EntryType::GNULongName, &name), file],
            0,
            "of more than 1048576 bytes",
        ),
        ("empty", vec![], 0, "nothing is in it"),
    ];
    for (name, entries, cut, said) in cases {
        let tar = lab.tar(name, &entries, cut);
        let why = lab.directory(&tar, "c1").await.expect_err(name);
        assert!(why.contains("unpacking") && why.contains("name the directory"), "{name}: {why}");
        assert!(why.contains(said), "{name}: {why}");
        assert_eq!(lab.kept(), Vec::<String>::new(), "{name}");
        let left: Vec<_> = fs::read_dir(&outside).expect("there").flatten().collect();
        assert_eq!(left.len(), 1, "{name}: {left:?}");
    }
    assert_eq!(fs::metadata(outside.join("secret")).expect("there").nlink(), 1);
    assert!(!lab.path("work/up").exists());
}

#[tokio::test]
async fn a_file_that_is_no_tar_or_a_compressed_one_is_refused_by_what_it_is() {
    let lab = Lab::new();
    for (content, said) in [
        (&b"\x1f\x8b\x08\0rest"[..], "compressed with gzip"),
        (b"\x28\xb5\x2f\xfdrest", "compressed with zstd"),
        (b"\xfd7zXZ\0rest", "compressed with xz"),
        (b"BZh9rest", "compressed with bzip2"),
        (b"just a text that is long enough to be looked at and still no archive", "unpacking"),
        (b"", "nothing is in it"),
    ] {
        let path = lab.path("file");
        File::create(&path).and_then(|mut file| file.write_all(content)).expect("writable");
        let why = lab.directory(&path, "c1").await.expect_err("no tar");
        assert!(why.contains(said), "{said} is not in {why}");
        assert_eq!(lab.kept(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_is_used_stays_and_what_is_old_goes_with_what_a_killed_agent_left() {
    let lab = Lab::new();
    let work = lab.path("work");
    let is_old = |_: &Path| Ok(true);
    assert_eq!(collect(&work, &BTreeSet::new(), is_old), 0, "nothing was unpacked yet");
    let one = lab.tar("one.tar", &[("file", Regular, "x")], 0);
    let two = lab.tar("two.tar", &[("file", Regular, "y")], 0);
    let [one, two] = [lab.directory(&one, "c1").await, lab.directory(&two, "c2").await]
        .map(|root| root.expect("it is good"));
    for left in [".new-1-2-3", ".old-4-5-6"] {
        fs::create_dir_all(work.join(FOLDER).join(left).join("deep")).expect("writable");
    }
    assert_eq!(collect(&work, &BTreeSet::from(["c1", "c2"]), |_| Ok(false)), 2, "what was left goes at once");
    assert_eq!(lab.kept().len(), 2);
    assert_eq!(collect(&work, &BTreeSet::new(), |_| Ok(false)), 0, "nothing is old");
    assert!(one.exists() && two.exists());
    assert_eq!(collect(&work, &BTreeSet::from(["c2"]), is_old), 1);
    assert!(!one.exists() && two.join("file").exists());
    // Its user has ended, and it was taken again a moment ago.
    assert_eq!(collect(&work, &BTreeSet::from(["c3"]), |path| Ok(path.ends_with("c2"))), 0);
    assert!(two.exists() && !two.with_file_name(USED).join("c2").exists());
    assert_eq!(collect(&work, &BTreeSet::from(["c3"]), is_old), 1);
    assert_eq!(lab.kept(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_being_unpacked_is_not_taken_for_what_a_killed_agent_left() {
    let lab = Lab::new();
    let (work, tar) = (lab.path("work"), lab.tar("image.tar", &[("file", Regular, "x")], 0));
    let (open, place) = lab.opened(&tar);
    let new = beside(&place, NEW);
    fs::create_dir_all(&new).expect("writable");
    let nothing_is_unpacked = hold().await;
    let container = ContainerId::new("c1").expect("valid");
    let Found::Packed(mut packed) = find(&work, open, &tar, &container).expect("it is good") else {
        panic!("nothing was unpacked yet")
    };
    assert_eq!(collect(&work, &BTreeSet::new(), |_| Ok(true)), 0);
    assert!(new.exists());
    drop(nothing_is_unpacked);
    assert_eq!(packed.unpacked().await, Ok(()));
    assert!(packed.take().expect("there").join("file").exists());
    assert!(!new.exists(), "what an earlier agent left of the same is gone");
}

#[tokio::test]
async fn links_that_stay_within_a_tar_are_followed_and_what_comes_twice_is_as_the_last_says() {
    let lab = Lab::new();
    let entries = [
        ("usr/lib/", Directory, ""),
        ("lib", Symlink, "usr/lib"),
        ("lib/one", Regular, "by way of a link"),
        ("usr/lib/up", Symlink, "../../usr"),
        ("lib/up/two", Regular, "by way of two"),
        ("old", Regular, "the first"),
        ("kept", Link, "old"),
        ("old", Regular, "the second"),
        ("same", Link, "/old"),
        ("same", Link, "old"),
        ("one", Link, "old"),
        ("one", Link, "lib/one"),
        ("link", Link, "lib"),
        ("lib", Symlink, "/nowhere"),
        ("usr/lib/", Directory, ""),
    ];
    let root = lab.directory(&lab.tar("image.tar", &entries, 0), "c1").await.expect("it is good");
    for (path, content) in [
        ("usr/lib/one", "by way of a link"),
        ("usr/two", "by way of two"),
        ("kept", "the first"),
        ("old", "the second"),
        ("same", "the second"),
        ("one", "by way of a link"),
    ] {
        assert_eq!(fs::read_to_string(root.join(path)).expect(path), content, "{path}");
    }
    assert_eq!(fs::read_link(root.join("lib")).expect("a link"), Path::new("/nowhere"));
    assert_eq!(fs::read_link(root.join("link")).expect("a link"), Path::new("usr/lib"));
    assert_eq!(fs::metadata(root.join("usr/lib")).expect("there").mode() & 0o7777, 0o750);
}

#[tokio::test]
async fn of_attributes_those_are_kept_that_steer_neither_overlayfs_nor_the_kernel() {
    let lab = Lab::new();
    let attributes = "32 SCHILY.xattr.user.note=fresh\n\
                      41 SCHILY.xattr.trusted.overlay.opaque=y\n\
                      38 SCHILY.xattr.user.overlay.opaque=y\n";
    let entries = [("x", XHeader, attributes), ("file", Regular, "x")];
    let root = lab.directory(&lab.tar("image.tar", &entries, 0), "c1").await.expect("it is good");
    let mut names = [0_u8; 512];
    let length = listxattr(root.join("file"), &mut names).expect("there");
    let names = String::from_utf8_lossy(&names[..length]);
    assert!(names.contains("user.note") && !names.contains("overlay"), "{names:?}");
}

#[tokio::test]
async fn holes_of_a_file_take_no_room() {
    let lab = Lab::new();
    let block = "x".repeat(512);
    let (mut header, data) = header("holes", GNUSparse, &block);
    let end = 1_u64 << 40;
    let gnu = header.as_gnu_mut().expect("of GNU tar");
    gnu.sparse[0].set_offset(end - 512);
    gnu.sparse[0].set_length(512);
    gnu.set_real_size(end);
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&header, data).expect("it is in memory");
    fs::write(lab.path("image.tar"), builder.into_inner().expect("it is in memory")).expect("writable");
    let root = lab.directory(&lab.path("image.tar"), "c1").await.expect("it is good");
    let holes = fs::metadata(root.join("holes")).expect("there");
    assert_eq!(holes.size(), end);
    assert!(holes.blocks() * 512 < 1 << 20, "{} blocks", holes.blocks());
}

#[test]
fn a_tar_that_changes_while_it_is_read_is_not_kept_for_what_it_was() {
    let lab = Lab::new();
    let tar = lab.tar("image.tar", &[("file", Regular, "x")], 0);
    let (open, place) = lab.opened(&tar);
    File::options().append(true).open(&tar).and_then(|mut tar| tar.write_all(b"more")).expect("writable");
    let why = unpack(&open, &tar, &place).expect_err("it is another");
    assert!(why.contains("it was changed while it was read"), "{why}");
    assert_eq!(lab.kept(), Vec::<String>::new());
}

#[test]
fn a_name_of_any_length_makes_no_message_that_is_too_long_for_a_status() {
    let lab = Lab::new();
    let name = "n".repeat(1 << 19);
    let entries = [("././@LongLink", EntryType::GNULongName, name.as_str()), ("file", Regular, "x")];
    let tar = lab.tar("image.tar", &entries, 0);
    let (open, place) = lab.opened(&tar);
    let why = unpack(&open, &tar, &place).expect_err("no file has such a name");
    assert_eq!(why.len(), MESSAGE_MAX);
    assert_eq!(lab.kept(), Vec::<String>::new());
}

#[test]
fn where_there_is_no_room_that_is_told_and_nothing_is_left() {
    let lab = Lab::new();
    let large = "x".repeat(2 << 20);
    let large = lab.tar("large.tar", &[("file", Regular, &large)], 0);
    let names: Vec<String> = (0..40).map(|number| format!("file-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), Regular, "x")).collect();
    let many = lab.tar("many.tar", &many, 0);
    // For this thread only.
    let in_a_small_place = || {
        unshare(CloneFlags::CLONE_NEWNS).expect("tests run as root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("ours");
        fs::create_dir(lab.path("work")).expect("writable");
        let small = Some("size=1m,nr_inodes=20");
        mount(Some("none"), &lab.path("work"), Some("tmpfs"), MsFlags::empty(), small).expect("ours");
        for (tar, said) in [(&large, "MiB are free"), (&many, "file-")] {
            let (open, place) = lab.opened(tar);
            let why = unpack(&open, tar, &place).expect_err("there is no room");
            assert!(why.contains("has no room for it") && why.contains(said), "{why}");
            assert!(!why.contains("compression"), "{why}");
            assert_eq!(lab.kept(), Vec::<String>::new());
        }
    };
    thread::scope(|scope| scope.spawn(in_a_small_place).join()).expect("as said");
}

#[test]
fn who_is_not_root_fills_directories_that_are_closed_to_their_owner_and_has_all_but_owners_and_attributes() {
    const FOLDER_OF: &str = "BOURSE_TEST_UNPACKED_FOLDER";
    const USER: u32 = 54_321;
    if let Some(folder) = std::env::var_os(FOLDER_OF) {
        // This process is for this test alone.
        umask(Mode::from_bits_truncate(0o077));
        let tar = File::open(Path::new(&folder).join("image.tar")).expect("there");
        let left_out = unpack_to(&tar, &place_in(Path::new(&folder), &tar)).expect("it is good");
        assert_eq!(left_out, LeftOut { devices: 1, attributes: 1, owners: true });
        return;
    }
    let lab = Lab::new();
    let mut builder = Builder::new(Vec::new());
    for (path, kind, mode, content) in [
        ("shut/", Directory, 0, ""),
        ("shut/read/", Directory, 0o555, ""),
        ("x", XHeader, 0, "32 SCHILY.xattr.user.note=fresh\n"),
        ("shut/read/file", Regular, 0o4400, "x"),
        ("shut/read/same", Link, 0, "shut/read/file"),
        ("shut/read/more/", Directory, 0o500, ""),
        ("way", Symlink, 0, "shut/read/more"),
        ("way/in/deep", Regular, 0, "x"),
        ("opened/", Directory, 0o555, ""),
        ("opened/", Directory, 0o711, ""),
        ("null", Char, 0, ""),
    ] {
        let (mut header, data) = header(path, kind, content);
        header.set_mode(mode);
        header.set_cksum();
        builder.append(&header, data).expect("it is in memory");
    }
    fs::write(lab.path("image.tar"), builder.into_inner().expect("it is in memory")).expect("writable");
    chown(lab.folder.path(), Some(USER), Some(USER)).expect("tests run as root");
    fs::set_permissions(lab.path("image.tar"), fs::Permissions::from_mode(0o444)).expect("ours");
    // Opened before, as that user may not pass the way to it.
    let tests = File::open(std::env::current_exe().expect("it runs")).expect("there");
    let name = "unpacked::tests::who_is_not_root_fills_directories_that_are_closed_to_their_owner_and_has_all_but_\
                owners_and_attributes";
    let unpacked = Command::new(format!("/proc/self/fd/{}", tests.as_raw_fd()))
        .args(["--exact", name])
        .env(FOLDER_OF, lab.path(""))
        .current_dir("/")
        .uid(USER)
        .gid(USER)
        .status();
    assert!(unpacked.expect("it can be started").success());
    let open = File::open(lab.path("image.tar")).expect("there");
    let root = place_in(&lab.path(""), &open).join(ROOT);
    for (path, mode) in [
        ("", 0o755),
        ("shut", 0),
        ("shut/read", 0o555),
        ("shut/read/file", 0o4400),
        ("shut/read/more", 0o500),
        ("shut/read/more/in", 0o755),
        ("shut/read/more/in/deep", 0),
        ("opened", 0o711),
    ] {
        let there = fs::metadata(root.join(path)).expect(path);
        assert_eq!((there.mode() & 0o7777, there.uid()), (mode, USER), "{path:?}");
    }
    assert_eq!(fs::metadata(root.join("shut/read/same")).expect("there").nlink(), 2);
    assert!(!root.join("null").exists());
}

fn place_in(folder: &Path, tar: &File) -> PathBuf {
    folder.join("work").join(FOLDER).join(which(&tar.metadata().expect("there")))
}
