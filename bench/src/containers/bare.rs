//! The floor with all that a container of ours takes of the kernel: the same mounts, as many control groups, the same
//! namespaces and the same program, by plain calls. Nothing is decided, limited, filtered or written down, and there is no
//! first process. What each step of it takes is told, as it is the part that no runtime with this isolation gets around.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::pivot_root;

use super::ours::Ours;
use super::seen::{Mount, Seen, What};
use super::side::{NAMESPACES, good};

/// What is told of a life, in this order; the figures are how many there are.
pub const STEPS: [&str; 6] = [
    "control groups made",
    "namespaces made",
    "mounts made, and the root switched to",
    "the program, from its start to its end seen",
    "mounts and namespaces gone",
    "control groups removed",
];

/// How long an empty group may be called busy.
const BUSY: Duration = Duration::from_secs(5);

/// What a life is made of.
pub struct Bare {
    seen: Seen,
    /// Over which the root is mounted.
    place: PathBuf,
}

impl Bare {
    /// Asks a container of ours what it has.
    pub fn open(folder: &Path) -> anyhow::Result<Bare> {
        let ours = Ours::open(folder)?;
        let seen = Seen::by(&ours)?;
        ours.close()?;
        let place = folder.join("bare");
        fs::create_dir(&place).with_context(|| format!("making {}", place.display()))?;
        Ok(Bare { seen, place })
    }

    /// How many mounts and control groups there are, in words.
    pub fn told(&self) -> String {
        format!("{} mounts, {} control groups", self.seen.mounts.len(), self.seen.groups.len())
    }

    /// From nothing to nothing; what each of the [`STEPS`] took.
    pub fn life(&self) -> anyhow::Result<Vec<Duration>> {
        // On a thread, as a process can make a pid namespace for its children only once.
        thread::scope(|scope| {
            scope.spawn(|| self.steps()).join().unwrap_or_else(|_| bail!("the floor gave way"))
        })
    }

    fn steps(&self) -> anyhow::Result<Vec<Duration>> {
        let machine = File::open("/proc/thread-self/ns/mnt").context("opening this mount namespace")?;
        let mut took = Vec::with_capacity(STEPS.len());
        let mut begun = Instant::now();
        let mut step = || {
            took.push(begun.elapsed());
            begun = Instant::now();
        };
        for group in &self.seen.groups {
            fs::create_dir(group).with_context(|| format!("making {}", group.display()))?;
        }
        step();
        unshare(NAMESPACES).context("making namespaces")?;
        step();
        self.mount()?;
        step();
        good(&mut Command::new("/program"), "the static program")?;
        step();
        // The last one in there leaves, and the kernel takes all of it away before it goes on.
        setns(&machine, CloneFlags::CLONE_NEWNS).context("coming back to this mount namespace")?;
        step();
        self.seen.groups.iter().rev().try_for_each(|group| remove(group))?;
        step();
        Ok(took)
    }

    /// In a mount namespace of this thread's own, whose root it has afterwards.
    fn mount(&self) -> anyhow::Result<()> {
        call(None, Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
        let at = |path: &Path| match path.strip_prefix("/") {
            Ok(below) => self.place.join(below),
            Err(_) => path.to_owned(),
        };
        for Mount { place, what, flags } in &self.seen.mounts {
            let place = at(place);
            let source = match what {
                What::New(kind) => {
                    fs::create_dir_all(&place)?;
                    call(None, &place, Some(kind), *flags - MsFlags::MS_RDONLY)?;
                    continue;
                }
                What::Machines(path) => path.clone(),
                What::Own(path) => at(path),
            };
            make_place(&source, &place)?;
            call(Some(&source), &place, None, MsFlags::MS_BIND)?;
            call(None, &place, None, *flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND)?;
        }
        std::env::set_current_dir(&self.place)?;
        pivot_root(".", ".").context("switching the root")?;
        umount2(".", MntFlags::MNT_DETACH).context("leaving the machine's root")?;
        std::env::set_current_dir("/")?;
        for Mount { place, flags, .. } in self.seen.mounts.iter().filter(|mount| is_closed(mount)) {
            call(None, place, None, *flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND)?;
        }
        Ok(())
    }
}

/// Whether it is closed to writing last, as there are places to be made in it.
fn is_closed(mount: &Mount) -> bool {
    matches!(mount.what, What::New(_)) && mount.flags.contains(MsFlags::MS_RDONLY)
}

/// A place for a mount of this file or directory, as far as there is none. A device is bound over and never used here: any
/// file stands for it.
fn make_place(source: &Path, place: &Path) -> anyhow::Result<()> {
    let is_directory = source.is_dir();
    for path in [place, source].into_iter().filter(|path| !path.exists()) {
        match is_directory {
            true => fs::create_dir_all(path),
            false => {
                path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| File::create(path).map(drop))
            }
        }
        .with_context(|| format!("making {}", path.display()))?;
    }
    Ok(())
}

fn call(source: Option<&Path>, place: &Path, kind: Option<&str>, flags: MsFlags) -> anyhow::Result<()> {
    mount(source, place, kind, flags, None::<&str>)
        .with_context(|| format!("mounting {source:?} at {} ({kind:?}, {flags:?})", place.display()))
}

/// The kernel may call a group busy for a moment after its last process has ended.
fn remove(group: &Path) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && begun.elapsed() < BUSY => {
                thread::yield_now();
            }
            removed => return removed.with_context(|| format!("removing {}", group.display())),
        }
    }
}

/// The files that there are for each container, besides those of the task: what was planned, who runs, how it ended, two logs.
pub fn files(folder: &Path) -> io::Result<()> {
    let run = folder.join("files");
    let (here, sandbox) = (run.join("run"), run.join("sandbox"));
    for dir in [&run, &here, &sandbox] {
        DirBuilder::new().mode(0o700).create(dir)?;
    }
    let write = |path: PathBuf, bytes: &[u8]| {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
    };
    // Lengths as they are, with some places more or less.
    write(here.join("plan"), &[7; 4096])?;
    write(here.join("started"), &[7; 80])?;
    write(here.join("exit"), &[7; 25])?;
    write(sandbox.join("stdout"), &[])?;
    write(sandbox.join("stderr"), &[])?;
    fs::remove_dir_all(run)
}
