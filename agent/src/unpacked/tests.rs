use super::*;

use std::io::Write;

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
        let (work, tar) = (self.path("work"), tar.to_owned());
        let found = tokio::task::spawn_blocking(move || directory(&work, &tar, &container)).await;
        found.expect("no panic").map_err(|error| format!("{error:#}"))
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

use EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};

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
    for (name, mode) in [("", 0o755), ("bin", 0o750)] {
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
    let cases: [Case<'_>; 9] = [
        ("up", vec![file, ("../up", Regular, "x")], 0, "\"../up\" leads out"),
        ("between", vec![("a/../../up", Regular, "x")], 0, "leads out"),
        ("through", vec![("out", Symlink, &out), ("out/new", Regular, "x")], 0, "\"out/new\""),
        ("folder", vec![("out", Symlink, &out), ("out/new/", Directory, "")], 0, "\"out/new/\""),
        ("onto", vec![("out", Symlink, &out), ("out", Directory, "")], 0, "\"out\""),
        ("hard", vec![("stolen", Link, &secret)], 0, "\"stolen\""),
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
    // Those that are left go at once, unless another test unpacks at this moment.
    while lab.kept().len() > 2 {
        collect(&work, &BTreeSet::from(["c1", "c2"]), |_| Ok(false));
    }
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
