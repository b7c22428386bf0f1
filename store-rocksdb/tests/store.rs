//! The databases over restarts, crashes and damage.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bourse_master::Stores;
use bourse_master::config::HistoryBounds;
use bourse_master::history::{Filter, History as _, Stamped};
use bourse_master::registry::Registry as _;
use bourse_master_core::history::{Entry, Kind};
use bourse_master_core::registry::{Change, Snapshot};
use bourse_store_rocksdb::{OpenError, RocksHistory, RocksRegistry, open};
use bourse_types::{Epoch, FrameworkId, FrameworkInfo, MasterId, Milli, Role, Wall};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

fn weight(role: &str, thousandths: u64) -> Change {
    Change::WeightSet { role: Role::new(role).expect("a role"), weight: Milli::new(thousandths) }
}

fn framework(id: &str) -> (FrameworkId, FrameworkInfo) {
    let id = FrameworkId::new(id).expect("an id");
    let mut info = FrameworkInfo::new("batch");
    info.id = Some(id.clone());
    info.roles = vec![Role::any()];
    (id, info)
}

fn some_changes() -> Vec<Change> {
    let (id, info) = framework("m-0001");
    let (gone, gone_info) = framework("m-0002");
    vec![
        Change::EpochStarted { epoch: Epoch(3), master: MasterId::new("m").expect("an id") },
        weight("web", 2_000),
        Change::FrameworkSubscribed { id: id.clone(), info, at: Wall(1) },
        Change::FrameworkDisconnected { id, left: Duration::from_secs(60), at: Wall(2) },
        Change::FrameworkSubscribed { id: gone.clone(), info: gone_info, at: Wall(3) },
        Change::FrameworkRemoved { id: gone, at: Wall(4) },
    ]
}

fn applied(changes: &[Change]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    changes.iter().for_each(|change| snapshot.apply(change));
    snapshot
}

fn load(dir: &Path) -> Snapshot {
    open(dir).expect("it opens").registry.load().expect("it is read")
}

fn entry(sequence: u64, at: u64, summary: &str) -> Stamped {
    let entry = Entry {
        kind: Kind::Task,
        summary: summary.to_owned(),
        agent: None,
        framework: None,
        task: None,
        role: None,
        reason: None,
        principal: None,
    };
    Stamped { sequence, at: Wall(at), entry: Arc::new(entry) }
}

fn sequences(entries: &[Stamped]) -> Vec<u64> {
    entries.iter().map(|entry| entry.sequence).collect()
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    {
        let Stores { mut registry, history } = open(dir.path()).expect("it opens");
        assert_eq!(registry.load().expect("empty"), Snapshot::default());
        registry.commit(&some_changes()).expect("committed");
        history.append(&[entry(1, 10, "first"), entry(2, 20, "second")]).expect("appended");
    }
    assert_eq!(load(dir.path()), applied(&some_changes()));
    let history = open(dir.path()).expect("it opens").history;
    assert_eq!(history.last_sequence().expect("read"), 2);
}

#[test]
fn a_commit_before_the_first_load_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut registry = open(dir.path()).expect("it opens").registry;
    assert!(registry.commit(&[weight("web", 1)]).is_err());
}

#[test]
fn history_is_read_newest_first_page_by_page_and_filtered() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let history = open(dir.path()).expect("it opens").history;
    let entries: Vec<_> = (1..=300).map(|n| entry(n, n, "something")).collect();
    history.append(&entries).expect("appended");
    let all = Filter::default();
    assert_eq!(sequences(&history.read(&all, None, 3).expect("read")), [300, 299, 298]);
    assert_eq!(sequences(&history.read(&all, Some(257), 2).expect("read")), [256, 255]);
    assert_eq!(sequences(&history.read(&all, Some(2), 9).expect("read")), [1]);
    assert_eq!(sequences(&history.read(&all, Some(1), 9).expect("read")), [0u64; 0]);
    let agents = Filter { kinds: vec![Kind::Agent], ..Filter::default() };
    assert!(history.read(&agents, None, 9).expect("read").is_empty());
}

#[test]
fn history_is_bounded_by_age_and_by_size_and_the_oldest_go_first() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("history");
    let history = RocksHistory::open(&path).expect("it opens");
    let entries: Vec<_> = (1..=100).map(|n| entry(n, n * 1_000, &"x".repeat(100))).collect();
    history.append(&entries).expect("appended");
    let left =
        |history: &RocksHistory| sequences(&history.read(&Filter::default(), None, 1_000).expect("read"));

    let by_age = HistoryBounds { max_age: Duration::from_secs(60), max_bytes: u64::MAX };
    assert_eq!(history.trim(Wall(100_000), by_age).expect("trimmed"), 39);
    assert_eq!(left(&history).last(), Some(&40));
    assert_eq!(history.trim(Wall(100_000), by_age).expect("trimmed"), 0);

    drop(history);
    // The size is counted anew when it is opened.
    let history = RocksHistory::open(&path).expect("it opens");
    let by_size = HistoryBounds { max_age: Duration::from_secs(3600), max_bytes: 2_000 };
    history.trim(Wall(100_000), by_size).expect("trimmed");
    let kept = left(&history);
    assert!((10..=20).contains(&kept.len()), "{} entries of some 120 bytes in 2000", kept.len());
    assert_eq!(kept.first(), Some(&100));
}

#[test]
fn a_database_that_is_in_use_is_refused_in_words() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let _first = open(dir.path()).expect("it opens");
    let refused = open(dir.path()).err().expect("in use");
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused:?}");
    assert!(refused.to_string().contains("work-dir"));
}

#[test]
fn a_database_of_a_newer_format_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    open(dir.path()).expect("it opens").registry.load().expect("empty");
    {
        let db = rocksdb::DB::open_default(dir.path().join("registry")).expect("it opens");
        db.put("format", "2").expect("written");
    }
    for _ in 0..2 {
        let refused = open(dir.path()).err().expect("too new");
        assert!(matches!(refused, OpenError::Newer { found: 2, .. }), "{refused:?}");
    }
}

#[test]
fn a_database_of_somebody_else_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    rocksdb::DB::open_default(dir.path().join("registry"))
        .expect("it opens")
        .put("theirs", "x")
        .expect("written");
    assert!(matches!(open(dir.path()).err(), Some(OpenError::NoFormat { .. })));
}

/// A file system of which less is free at first than what RocksDB would take for a log ahead of need, so that it takes
/// none, and finds with the next page that there is no room.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// 1 MiB of 16 is free. Once all is, RocksDB goes on: it wants to have as much as its buffer of 4 MiB.
    fn new() -> SmallDisk {
        let folder = tempfile::tempdir().expect("a temporary directory");
        mount(Some("small"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some("size=16m"))
            .expect("these tests run as root");
        let disk = SmallDisk(folder);
        fs::write(disk.ballast(), vec![0; 15 << 20]).expect("it is new");
        disk
    }

    fn database(&self) -> PathBuf {
        self.0.path().join("database")
    }

    fn ballast(&self) -> PathBuf {
        self.0.path().join("ballast")
    }

    /// Takes all the rest.
    fn fill(&self) {
        let mut ballast = fs::OpenOptions::new().append(true).open(self.ballast()).expect("it is there");
        ballast.write_all(&vec![0; 2 << 20]).expect_err("it does not fit");
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

/// Writes that fit into what is left of the last page of a full disk are no more than so many.
const LAST_WRITES: u64 = 1_000;

#[test]
fn a_history_whose_disk_was_full_goes_on_when_there_is_room() {
    let disk = SmallDisk::new();
    let history = RocksHistory::open(&disk.database()).expect("it opens");
    history.append(&[entry(1, 1, "before")]).expect("there is room");
    disk.fill();
    let mut next = 2;
    while history.append(&[entry(next, next, "when it is full")]).is_ok() {
        next += 1;
        assert!(next < LAST_WRITES, "the disk is full, and everything is written");
    }
    assert_eq!(history.last_sequence().expect("what was written is read"), next - 1);

    disk.make_room();
    // RocksDB looks every five seconds.
    let give_up = Instant::now() + Duration::from_secs(60);
    while let Err(error) = history.append(&[entry(next, next, "after")]) {
        assert!(Instant::now() < give_up, "there is room, and still: {error} ({:?})", error.source);
        sleep(Duration::from_millis(50));
    }
    let all = |history: &RocksHistory| {
        let entries = history.read(&Filter::default(), None, LAST_WRITES as usize).expect("read");
        sequences(&entries)
    };
    let expected: Vec<u64> = (1..=next).rev().collect();
    assert_eq!(all(&history), expected);
    drop(history);
    assert_eq!(all(&RocksHistory::open(&disk.database()).expect("it opens")), expected);
}

#[test]
fn a_registry_on_a_full_disk_refuses_the_batch_and_has_all_before_it_when_there_is_room() {
    let disk = SmallDisk::new();
    let mut registry = RocksRegistry::open(&disk.database()).expect("it opens");
    registry.load().expect("empty");
    disk.fill();
    let mut kept = Vec::new();
    let batch = |n: u64| [weight(&format!("first{n}"), 1_000 + n), weight(&format!("second{n}"), 1_000 + n)];
    for n in 0.. {
        assert!(n < LAST_WRITES, "the disk is full, and everything is written");
        match registry.commit(&batch(n)) {
            Ok(()) => kept.extend(batch(n)),
            Err(_) => break,
        }
    }
    registry.commit(&batch(LAST_WRITES)).expect_err("nobody knows what the disk has");
    drop(registry);
    let refused =
        RocksRegistry::open(&disk.database()).expect_err("there is no room for what a start writes");
    assert!(matches!(refused, OpenError::NoRoom { .. }), "{refused:?}");

    disk.make_room();
    let mut registry = RocksRegistry::open(&disk.database()).expect("it opens");
    assert_eq!(registry.load().expect("read"), applied(&kept));
    registry.commit(&batch(LAST_WRITES)).expect("it goes on");
}

#[test]
fn a_database_on_a_read_only_disk_is_refused_in_words() {
    let disk = SmallDisk::new();
    drop(RocksRegistry::open(&disk.database()).expect("it opens"));
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, disk.0.path(), None::<&str>, read_only, None::<&str>).expect("nobody writes to it");
    let refused = RocksRegistry::open(&disk.database()).expect_err("it cannot be written");
    assert!(matches!(refused, OpenError::ReadOnly { .. }), "{refused:?}");
}

/// The newest write-ahead log of a database.
fn log(dir: &Path, database: &str) -> PathBuf {
    let files =
        fs::read_dir(dir.join(database)).expect("a directory").map(|file| file.expect("a file").path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.max_by_key(|path| fs::metadata(path).expect("a file").len()).expect("a log")
}

#[test]
fn a_last_write_that_a_crash_tore_is_as_if_it_never_was() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    {
        let mut registry = open(dir.path()).expect("it opens").registry;
        registry.load().expect("empty");
        registry.commit(&[weight("first", 1_500)]).expect("committed");
        registry.commit(&[weight("second", 2_500)]).expect("committed");
    }
    let log = log(dir.path(), "registry");
    let file = fs::OpenOptions::new().write(true).open(&log).expect("the log");
    let length = file.metadata().expect("its length").len();
    file.set_len(length - 3).expect("torn");
    assert_eq!(load(dir.path()), applied(&[weight("first", 1_500)]));
}

#[test]
fn a_flipped_bit_among_what_was_synced_is_refused_and_never_served() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    {
        let mut registry = open(dir.path()).expect("it opens").registry;
        registry.load().expect("empty");
        for n in 0..50 {
            registry.commit(&[weight(&format!("role{n}"), 1_000 + n)]).expect("committed");
        }
    }
    let log = log(dir.path(), "registry");
    let mut file = fs::OpenOptions::new().read(true).write(true).open(&log).expect("the log");
    let middle = file.metadata().expect("its length").len() / 2;
    let mut byte = [0];
    file.seek(SeekFrom::Start(middle)).expect("inside");
    file.read_exact(&mut byte).expect("a byte");
    file.seek(SeekFrom::Start(middle)).expect("inside");
    file.write_all(&[byte[0] ^ 1]).expect("flipped");
    drop(file);
    let refused = open(dir.path()).err().expect("damaged");
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
}

/// Set for the child of the next test: where it writes.
const CHILD: &str = "BOURSE_STORE_TEST_DIR";

/// The child of the next test, which is this binary again. Does nothing unless it was asked.
#[test]
fn child_that_commits_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let Stores { mut registry, history } = open(Path::new(&dir)).expect("it opens");
    registry.load().expect("read");
    for n in 1.. {
        registry.commit(&[weight("count", n), weight("again", n)]).expect("committed");
        history.append(&[entry(n, n, "committed")]).expect("appended");
        // Spoken only after it was synced.
        println!("committed {n}");
    }
}

#[test]
fn what_was_spoken_survives_a_kill_and_half_of_a_commit_is_never_seen() {
    use std::io::BufRead as _;
    let dir = tempfile::tempdir().expect("a temporary directory");
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["child_that_commits_until_it_is_killed", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut spoken = 0;
        for line in std::io::BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok)
        {
            if let Some(number) = line.rsplit_once("committed ").and_then(|(_, number)| number.parse().ok()) {
                spoken = number;
            }
            if spoken >= 20 {
                break;
            }
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert!(spoken >= 20);
        let snapshot = load(dir.path());
        let count = |role: &str| snapshot.weights[&Role::new(role).expect("a role")].thousandths();
        assert!(count("count") >= spoken, "{} was spoken, {} is there", spoken, count("count"));
        assert_eq!(count("count"), count("again"));
    }
}
