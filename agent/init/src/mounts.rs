//! What a task sees of the file system: a root of its own, in which nothing is the machine's but what is put there.
//!
//! - From the machine, read-only: programs, libraries and settings ([`VIEW`]).
//! - The sandbox, at [`SANDBOX`], writable; `/tmp` and `/var/tmp` are a directory in it, as in memory a large file would
//!   count against the task's memory.
//! - `/proc` of its own pid namespace, with the parts that steer the machine masked or read-only.
//! - `/sys`, read-only and without what is mounted in it, which takes the control groups out of reach; that of its own
//!   network, if it has one. A container in a user namespace of its own has what is mounted in it covered, as the kernel
//!   does not let it leave such mounts out.
//! - `/dev` with the harmless devices only, its own terminals and its own shared memory.
//! - Its volumes.
//!
//! What is hidden from tasks is covered in all of this. Everything is collected first and put up after the switch to the
//! new root: from then on no path leads out of it, whatever links a volume holds. The task cannot undo any of this,
//! because it keeps no capability to mount.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use bourse_init::plan::{Bind, LAYERS, Root, SANDBOX, TMP};
use bourse_init::record::Failure;
use bourse_init::step::Step;

use crate::errno::{EINVAL, ELOOP, ENOENT, ENOTDIR};
use crate::failure::At;
use crate::rootfs::{self, Layers};
use crate::sys::{
    self, Links, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MS_BIND,
    MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT,
};

/// What every task sees of the machine, as far as it is there.
///
/// Of Nix only the store: a daemon listens beside it, and a mount that is read-only keeps nobody from talking to it.
const VIEW: [&str; 12] = [
    "/bin",
    SETTINGS,
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/opt",
    // Where the programs of NixOS are, and where `/usr/local` leads on machines that are updated as a whole.
    "/run/current-system",
    "/sbin",
    "/usr",
    "/var/usrlocal",
];

/// The machine's settings, some of which are secrets.
const SETTINGS: &str = "/etc";

/// Often a link to a file that whoever manages the network keeps elsewhere.
const RESOLVER: &str = "/etc/resolv.conf";

/// Old names that programs still use: link, target.
const LINKS: [(&str, &str); 1] = [("/var/run", "/run")];

/// Directories that programs expect to be there.
const EMPTY: [&str; 4] = ["/home", "/root", "/run", "/var"];

const QUIET: u64 = MS_NOSUID | MS_NODEV | MS_NOEXEC;
const HARMLESS: u64 = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

/// Files and directories of `/proc` and `/sys` that tell or steer too much; the list is the one that Docker and Podman
/// use, and what root may steer there without any capability.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/dynamic_debug",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Parts of `/proc` that may be read but would change the machine if written.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Devices that every program may expect: name, major, minor.
const DEVICES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// What a container is to see; see [`Place::Container`](bourse_init::plan::Place::Container).
pub struct View<'a> {
    pub root: Option<&'a Root>,
    pub sandbox: &'a Path,
    pub shm_bytes: u64,
    pub volumes: &'a [Bind],
    pub hide: &'a [PathBuf],
    /// This process is in a network of the container's own.
    pub own_network: bool,
    /// The user namespace of a task with users of its own.
    pub users: Option<BorrowedFd<'a>>,
    /// A user namespace that knows none of the machine's users, for a task of the machine's root: with it, that reads of
    /// the machine's settings what everybody may read, and no more.
    pub strangers: Option<BorrowedFd<'a>>,
}

/// Makes the container's root; runs as pid 1 of the container, in a mount namespace of its own.
pub fn set_up(view: &View<'_>) -> Result<(), Failure> {
    let &View { root, sandbox, shm_bytes, volumes, hide, own_network, users, strangers } = view;
    // First of all: nothing of what follows may reach the machine's own mounts.
    sys::mount("", "/", "", MS_REC | MS_PRIVATE, "").at(Step::Mount, || "/ (private)".into())?;
    let layers = root.map(Layers::open).transpose()?;
    let mut machine = match root {
        Some(_) => settings()?,
        None => of_machine(strangers)?,
    };
    let Systems { parts, to_cover } = systems(shm_bytes, own_network)?;
    machine.extend(parts);
    let own = own(sandbox).at(Step::Mount, || sandbox.display().to_string())?;
    let volumes = volumes
        .iter()
        .map(|bind| volume(bind).at(Step::Volume, || bind.source.display().to_string()))
        .collect::<Result<Vec<_>, _>>()?;

    // Over the sandbox, as that is a directory that is there; it is held from before.
    match &layers {
        Some(layers) => layers.mount(sandbox, users).at(Step::Rootfs, || "overlayfs".into())?,
        None => sys::mount("root", sandbox, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m")
            .at(Step::Root, || "/".into())?,
    }
    drop(layers);
    let new_root = sys::open_place(sandbox, Links::Follow).at(Step::Root, || "/".into())?;
    sys::make_root(new_root.as_fd()).at(Step::Root, || "/".into())?;
    drop(new_root);

    // In a directory that a task brought, links may be anywhere; in an empty root there are those that we make.
    let (step, links) = match root {
        Some(_) => (Step::Rootfs, Links::Refuse),
        None => (Step::Mount, Links::Follow),
    };
    for (path, part) in &machine {
        part.put(path, links).at(step, || path.display().to_string())?;
    }
    let mut covers = Covers::default();
    for path in MASKED.map(Path::new).into_iter().chain(to_cover.iter().map(PathBuf::as_path)) {
        covers.put(path).at(Step::Mount, || path.display().to_string())?;
    }
    for path in READ_ONLY {
        make_read_only(path).at(Step::Mount, || path.into())?;
    }
    match root {
        Some(_) => rootfs::ABOVE_SANDBOX
            .iter()
            .try_for_each(|path| rootfs::remove_link(Path::new(path)).at(step, || (*path).into()))?,
        None => {
            EMPTY.iter().try_for_each(|path| fs::create_dir_all(path).at(step, || (*path).into()))?;
            LINKS.iter().try_for_each(|(link, target)| symlink(target, link).at(step, || (*link).into()))?;
        }
    }
    for (path, tree) in &own {
        tree.put(path, links).at(step, || path.display().to_string())?;
    }
    if root.is_some() {
        // A task that changed its layers under the root would see anything.
        let layers = Path::new(SANDBOX).join(LAYERS);
        covers.put(&layers).at(Step::Hide, || layers.display().to_string())?;
    }
    for (path, tree) in &volumes {
        let place = made_without_links(path, tree.is_directory);
        place
            .and_then(|place| sys::attach_tree(tree.mounts.as_fd(), place.as_fd()))
            .at(Step::Volume, || path.display().to_string())?;
    }
    let trees = machine.iter().filter_map(|(path, part)| Some((path.as_path(), part.tree()?)));
    let volumes = volumes.iter().map(|(path, tree)| (*path, tree));
    let trees = trees.chain(volumes).map(|(at, tree)| (at, tree.source.as_path()));
    let all = root.map(|root| (Path::new("/"), root.lower.as_path())).into_iter().chain(trees);
    for path in hide {
        for (at, source) in all.clone() {
            if let Some(place) = within(source, at, path) {
                hide_at(&place, at, &mut covers).at(Step::Hide, || place.display().to_string())?;
            }
        }
    }
    match root {
        Some(_) => Ok(()),
        None => sys::mount("", "/", "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, "")
            .at(Step::Root, || "/ (read-only)".into()),
    }
}

/// Where a path of the machine is found in the container, of which `source` is at `target`.
fn within(source: &Path, target: &Path, path: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix(source).ok()?;
    // A path that is joined to nothing would end with a slash.
    Some(if below.as_os_str().is_empty() { target.to_owned() } else { target.join(below) })
}

/// The sandbox, and the directory in it that is `/tmp`. The task's user owns the sandbox and may have put a link there.
fn own(sandbox: &Path) -> io::Result<[(&'static Path, Tree); 3]> {
    let place = sys::open_place(sandbox, Links::Follow)?;
    let tmp = || {
        let place = sys::open_place_at(place.as_fd(), Path::new(TMP), Links::Refuse)?;
        Tree::at(&sandbox.join(TMP), place, true, HARMLESS)
    };
    let (tmp, var_tmp) = (tmp()?, tmp()?);
    let sandbox = Tree::at(sandbox, place, true, HARMLESS)?;
    Ok([(Path::new(SANDBOX), sandbox), (Path::new("/tmp"), tmp), (Path::new("/var/tmp"), var_tmp)])
}

/// A place for a volume, made where it is missing: a directory or an empty file. There may be a link on the way, left in
/// another volume by whoever may write there, and what is made is made by root: it is not followed.
fn made_without_links(path: &Path, directory: bool) -> io::Result<OwnedFd> {
    let mut place = sys::open_place(Path::new("/"), Links::Follow)?;
    let mut names = path.components().filter(|part| matches!(part, Component::Normal(_))).peekable();
    while let Some(name) = names.next() {
        let name: &Path = name.as_ref();
        place = match sys::open_place_at(place.as_fd(), name, Links::Refuse) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let new = Path::new("/proc/self/fd").join(place.as_raw_fd().to_string()).join(name);
                match directory || names.peek().is_some() {
                    true => fs::create_dir(new)?,
                    false => File::options().write(true).create_new(true).open(new).map(drop)?,
                }
                sys::open_place_at(place.as_fd(), name, Links::Refuse)?
            }
            found => found?,
        };
    }
    Ok(place)
}

/// Covers a path in a tree that is put up at `root`, with no way for the task to move it, and with it the cover, to another
/// name: what something is mounted at cannot be renamed.
fn hide_at(place: &Path, root: &Path, covers: &mut Covers) -> io::Result<()> {
    let mut between: Vec<&Path> = place.ancestors().skip(1).take_while(|above| *above != root).collect();
    between.reverse();
    for above in between.into_iter().filter(|above| above.is_dir()) {
        sys::mount(&above.display().to_string(), above, "", MS_BIND | MS_REC, "")?;
    }
    covers.put(place)
}

/// Something to be put into the root.
enum Part {
    Link(PathBuf),
    Tree(Tree),
}

impl Part {
    fn tree(&self) -> Option<&Tree> {
        match self {
            Part::Link(_) => None,
            Part::Tree(tree) => Some(tree),
        }
    }

    fn put(&self, place: &Path, links: Links) -> io::Result<()> {
        match self {
            Part::Link(target) => {
                place.parent().map_or(Ok(()), fs::create_dir_all)?;
                symlink(target, place)
            }
            Part::Tree(tree) => tree.put(place, links),
        }
    }
}

/// A file or directory with what is mounted there, held whatever happens to its path.
struct Tree {
    /// Its path on the machine.
    source: PathBuf,
    mounts: File,
    is_directory: bool,
}

impl Tree {
    /// With what is mounted below it.
    fn of(path: &Path, properties: u64) -> io::Result<Tree> {
        Tree::at(path, sys::open_place(path, Links::Follow)?, true, properties)
    }

    fn at(path: &Path, place: OwnedFd, with_those_below: bool, properties: u64) -> io::Result<Tree> {
        let mounts = File::from(sys::detached_tree(place.as_fd(), with_those_below)?);
        sys::restrict_tree(mounts.as_fd(), properties)?;
        let is_directory = mounts.metadata()?.is_dir();
        Ok(Tree { source: path.to_owned(), mounts, is_directory })
    }

    /// Puts it up, once. Where links are refused, one at the place itself is removed.
    fn put(&self, place: &Path, links: Links) -> io::Result<()> {
        if links == Links::Refuse {
            rootfs::remove_link(place)?;
        }
        if self.is_directory {
            fs::create_dir_all(place)?;
        } else if !place.exists() {
            place.parent().map_or(Ok(()), fs::create_dir_all)?;
            File::create(place)?;
        }
        let place = sys::open_place(place, links)?;
        sys::attach_tree(self.mounts.as_fd(), place.as_fd())
    }
}

/// What a task without a root of its own sees of the machine.
fn of_machine(strangers: Option<BorrowedFd<'_>>) -> Result<Vec<(PathBuf, Part)>, Failure> {
    let mut parts = Vec::new();
    for path in VIEW.map(Path::new) {
        if let Some(part) = shown(path).at(Step::Mount, || path.display().to_string())? {
            parts.push((path.to_owned(), part));
        }
    }
    if let Some(strangers) = strangers
        && let Some((_, Part::Tree(settings))) = parts.iter().find(|(path, _)| path == Path::new(SETTINGS))
    {
        // Not every file system can. Then what is known to be secret is covered, and no more.
        let _ = sys::map_users_of_tree(settings.mounts.as_fd(), strangers);
    }
    // One whose file is missing resolves nothing on the machine either.
    if let Some(resolver) = fs::canonicalize(RESOLVER).ok().filter(|file| !is_in_view(file)) {
        let tree = Tree::of(&resolver, HARMLESS | MOUNT_ATTR_RDONLY);
        let tree = tree.at(Step::Mount, || resolver.display().to_string())?;
        parts.push((resolver, Part::Tree(tree)));
    }
    Ok(parts)
}

/// What a task with a root of its own sees of the machine, each at its own place and as far as it is there.
fn settings() -> Result<Vec<(PathBuf, Part)>, Failure> {
    let mut parts = Vec::new();
    for path in rootfs::SETTINGS {
        let Ok(file) = fs::canonicalize(path) else { continue };
        let tree = Tree::of(&file, HARMLESS | MOUNT_ATTR_RDONLY).at(Step::Mount, || path.into())?;
        parts.push((path.into(), Part::Tree(tree)));
    }
    Ok(parts)
}

/// What the kernel tells and gives.
struct Systems {
    parts: Vec<(PathBuf, Part)>,
    /// Places in them that a task must not see.
    to_cover: Vec<PathBuf>,
}

/// `/proc`, `/sys` and `/dev`, made where they are known to work.
fn systems(shm_bytes: u64, own_network: bool) -> Result<Systems, Failure> {
    let (mut parts, mut to_cover) = (Vec::new(), Vec::new());
    // In a user namespace the kernel lets /proc be mounted only while it sees another one, and so it is with /sys.
    sys::mount("proc", "/proc", "proc", QUIET, "").at(Step::Mount, || "/proc".into())?;
    if own_network {
        // One shows the network that it was mounted in (sysfs(5)).
        sys::mount("sysfs", "/sys", "sysfs", QUIET, "").at(Step::Mount, || "/sys".into())?;
    }
    devices(shm_bytes).at(Step::Mount, || "/dev".into())?;
    let quiet = HARMLESS | MOUNT_ATTR_NOEXEC;
    for (path, below, properties) in [
        ("/proc", false, quiet),
        // Without what is mounted in it: no control groups.
        ("/sys", false, quiet | MOUNT_ATTR_RDONLY),
        ("/dev", true, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC),
    ] {
        let tree = |below| {
            let place = sys::open_place(Path::new(path), Links::Follow)?;
            Tree::at(Path::new(path), place, below, properties)
        };
        let tree = match tree(below) {
            // In a user namespace of its own a container gets what others mounted only as a whole (mount_namespaces(7)).
            Err(error) if !below && error.raw_os_error() == Some(EINVAL) => {
                to_cover.extend(mounted_in(path).at(Step::Mount, || path.into())?);
                tree(true)
            }
            tree => tree,
        };
        parts.push((path.into(), Part::Tree(tree.at(Step::Mount, || path.into())?)));
    }
    Ok(Systems { parts, to_cover })
}

/// The outermost places in a directory where something is mounted (proc_pid_mountinfo(5)).
fn mounted_in(directory: &str) -> io::Result<Vec<PathBuf>> {
    let mounts = fs::read("/proc/self/mountinfo")?;
    let mounts = String::from_utf8_lossy(&mounts);
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut found: Vec<PathBuf> =
        places.filter(|place| place.starts_with(directory) && place != Path::new(directory)).collect();
    found.sort();
    // What lies in another one is covered with that.
    found.dedup_by(|place, above| place.starts_with(&*above));
    Ok(found)
}

/// A part of the machine as it is there, also if it is a link; `None` where it is not, or does not answer, as a disk of
/// another machine may do.
fn shown(path: &Path) -> io::Result<Option<Part>> {
    let Ok(real) = fs::canonicalize(path) else { return Ok(None) };
    match real != path && is_in_view(&real) {
        true => fs::read_link(path).map(Part::Link).map(Some),
        false => Tree::of(&real, HARMLESS | MOUNT_ATTR_RDONLY).map(Part::Tree).map(Some),
    }
}

fn is_in_view(path: &Path) -> bool {
    VIEW.iter().any(|seen| path.starts_with(seen))
}

fn volume(bind: &Bind) -> io::Result<(&Path, Tree)> {
    let properties = if bind.writable { HARMLESS } else { HARMLESS | MOUNT_ATTR_RDONLY };
    let place = sys::open_place(&bind.source, Links::Refuse)?;
    Ok((&bind.target, Tree::at(&bind.source, place, true, properties)?))
}

/// What is put over that which nobody is to see.
#[derive(Default)]
struct Covers {
    /// An empty directory that is read-only, from the first time that one was covered: the same for all, as to make and remove
    /// a file system for each takes far longer than to mount it once more.
    empty: Option<OwnedFd>,
}

impl Covers {
    /// Covers a directory by an empty one that is read-only, or a file by the null device. What does not exist needs no
    /// cover.
    fn put(&mut self, path: &Path) -> io::Result<()> {
        match fs::metadata(path) {
            Ok(what) if what.is_dir() => self.put_over_directory(path),
            Ok(_) => sys::mount("/dev/null", path, "", MS_BIND, ""),
            // Nothing is at such a path, or nothing any more: the task may have put something else on the way.
            Err(error) if matches!(error.raw_os_error(), Some(ENOENT | ENOTDIR | ELOOP)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn put_over_directory(&mut self, path: &Path) -> io::Result<()> {
        if let Some(empty) = &self.empty {
            let (tree, place) =
                (sys::detached_tree(empty.as_fd(), false)?, sys::open_place(path, Links::Follow)?);
            return sys::attach_tree(tree.as_fd(), place.as_fd());
        }
        sys::mount("hidden", path, "tmpfs", QUIET | MS_RDONLY, "mode=755,size=4k")?;
        self.empty = Some(sys::open_place(path, Links::Follow)?);
        Ok(())
    }
}

/// What does not exist cannot be written.
fn make_read_only(path: &str) -> io::Result<()> {
    if !Path::new(path).exists() {
        return Ok(());
    }
    sys::mount(path, path, "", MS_BIND | MS_REC, "")?;
    sys::mount("", path, "", MS_REMOUNT | MS_BIND | MS_RDONLY | QUIET, "")
}

/// A `/dev` without disks: a task of root could read and write other tasks' files through them.
fn devices(shm_bytes: u64) -> io::Result<()> {
    // Held from before it is covered.
    let machines = fs::File::open("/dev")?;
    sys::mount("dev", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k")?;
    for (name, major, minor) in DEVICES {
        let path = Path::new("/dev").join(name);
        match sys::make_device(&path, major, minor) {
            Ok(()) => fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?,
            // In a user namespace nobody may, not even its root (mknod(2)): the machine's own is lent.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                fs::File::create(&path)?;
                sys::mount(
                    &format!("/proc/self/fd/{}/{name}", machines.as_raw_fd()),
                    &path,
                    "",
                    MS_BIND,
                    "",
                )?;
            }
            Err(error) => return Err(error),
        }
    }
    fs::create_dir("/dev/pts")?;
    sys::mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")?;
    fs::create_dir("/dev/shm")?;
    // A size of 0 is no limit to the kernel, and none that is said is half of the machine's memory.
    let size = if shm_bytes == 0 { String::new() } else { format!(",size={shm_bytes}") };
    sys::mount("shm", "/dev/shm", "tmpfs", QUIET, &format!("mode=1777{size}"))?;
    for (target, name) in [
        ("pts/ptmx", "/dev/ptmx"),
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ] {
        symlink(target, name)?;
    }
    sys::mount("", "/dev", "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, "")
}
