//! Tars by somebody who means harm: nothing gets out of where they are unpacked, and a refusal is for people.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;

use bourse_hostile::{damaged, soon, told};
use proptest::prelude::*;
use tar::{EntryType, Header};

use super::*;

const BLOCK: usize = 512;

/// The longest that a link may lead by a header alone.
const LINK_MAX: usize = 100;

/// Entries that could lead out where `out` is a link.
const ENTRIES: [(&str, EntryType); 6] = [
    ("out", EntryType::Symlink),
    ("out/x", EntryType::Regular),
    ("out/", EntryType::Directory),
    ("out/secret", EntryType::Link),
    ("holes", EntryType::GNUSparse),
    ("@", EntryType::XHeader),
];

/// What an entry begins with. A link leads to a place outside.
fn header((path, kind): (&str, EntryType), outside: &Path) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(0);
    let outside = outside.as_os_str().as_encoded_bytes();
    let length = outside.len().min(LINK_MAX);
    if matches!(kind, EntryType::Symlink | EntryType::Link) {
        header.as_old_mut().linkname[..length].copy_from_slice(&outside[..length]);
    }
    header.as_bytes().to_vec()
}

/// A header as a block with the right checksum: nobody reads on after a wrong one.
fn block(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(BLOCK, 0);
    let mut header = Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&bytes);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn opened(folder: &Path, blocks: Vec<u8>) -> (PathBuf, File) {
    let path = folder.join("image.tar");
    fs::write(&path, blocks).expect("writable");
    let tar = File::open(&path).expect("there");
    (path, tar)
}

fn names(folder: &Path) -> Vec<OsString> {
    let mut names: Vec<_> = fs::read_dir(folder).expect("there").flatten().map(|it| it.file_name()).collect();
    names.sort();
    names
}

proptest! {
    #[test]
    fn no_damaged_tar_leads_out_and_each_is_unpacked_or_refused_in_words(
        entries in proptest::collection::vec((0..ENTRIES.len(), 0..BLOCK), 1..4),
        // What is put over a header at that place, which may be most of it.
        damages in proptest::collection::vec(damaged(Just(vec![0; 8])), 4),
    ) {
        let lab = tempfile::tempdir().expect("a folder");
        let (inside, outside) = (lab.path().join("in"), lab.path().join("out"));
        fs::create_dir(&inside).expect("writable");
        fs::create_dir(&outside).expect("writable");
        fs::write(outside.join("secret"), "s3cret").expect("writable");
        let secret = || {
            let about = fs::metadata(outside.join("secret")).expect("there");
            (about.nlink(), about.size(), about.mode(), about.uid(), about.mtime())
        };
        let before = secret();
        let mut tar = block(header(ENTRIES[0], &outside));
        for ((which, at), damage) in entries.iter().zip(&damages) {
            let mut header = header(ENTRIES[*which], &outside);
            header.iter_mut().skip(*at).zip(damage).for_each(|(byte, with)| *byte ^= *with);
            tar.extend(block(header));
        }
        tar.extend([0; 2 * BLOCK]);
        let (_, tar) = opened(&inside, tar);
        if let Err(error) = soon(|| archive::unpack(&tar, &inside.join("root"))) {
            told(&for_people(&format!("{error:#}")));
        }
        prop_assert_eq!(names(&outside), ["secret"]);
        prop_assert_eq!(secret(), before);
        prop_assert_eq!(names(lab.path()), ["in", "out"]);
        prop_assert!(names(&inside).iter().all(|name| name == "image.tar" || name == "root"));
    }
}

/// The crate that reads tars adds a block to where the next entry should be.
#[test]
fn a_tar_whose_sizes_do_not_add_up_is_refused_and_leaves_nothing() {
    let lab = tempfile::tempdir().expect("a folder");
    let mut header = Header::new_gnu();
    header.set_path("holes").expect("short");
    header.set_entry_type(EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_size(u64::MAX - 1023);
    header.as_gnu_mut().expect("of GNU tar").isextended = [1];
    header.set_cksum();
    let (path, tar) = opened(lab.path(), [&header.as_bytes()[..], &[0; 3 * BLOCK]].concat());
    let place = lab.path().join("rootfs").join(which(&tar.metadata().expect("there")));
    let why = unpack(&tar, &path, &place).expect_err("no file is so large");
    assert!(why.contains("name the directory"), "{why}");
    assert_eq!(names(&lab.path().join("rootfs")), Vec::<OsString>::new(), "{why}");
}

#[test]
fn the_name_of_an_entry_does_nothing_to_the_terminal_of_who_reads_why_it_was_refused() {
    assert_eq!(for_people("`a\u{1b}[2J\n`"), "`a [2J `");
}
