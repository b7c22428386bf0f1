//! What a container of ours has of the kernel: its mounts and control groups, as it sees them itself. So the floor makes as
//! much as is made, whatever that is by now.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use nix::mount::MsFlags;

use super::ours::Ours;

const MOUNTS: &str = "/proc/self/mountinfo";
const GROUPS: &str = "/proc/self/cgroup";

/// The name of the group in which the containerizer makes all others.
const OURS: &str = "bourse";

/// The mounts and control groups of a container.
#[derive(Debug)]
pub struct Seen {
    /// Those above before those in them; the root is the first.
    pub mounts: Vec<Mount>,
    /// As many directories as a container has made for it, in the hierarchies in which they are, none of which is there now:
    /// those above before those in them.
    pub groups: Vec<PathBuf>,
}

/// One mount.
#[derive(Debug, PartialEq)]
pub struct Mount {
    /// In the container.
    pub place: PathBuf,
    pub what: What,
    /// Properties of the mount.
    pub flags: MsFlags,
}

/// What is mounted.
#[derive(Debug, PartialEq)]
pub enum What {
    /// A file system of its own, of this kind.
    New(String),
    /// A file or directory of the machine.
    Machines(PathBuf),
    /// A file or directory of the container.
    Own(PathBuf),
}

impl Seen {
    /// Runs a container that tells.
    pub fn by(ours: &Ours) -> anyhow::Result<Seen> {
        let inside = ours.read_inside(&[MOUNTS, GROUPS])?;
        let machine = fs::read_to_string(MOUNTS).context("reading the machine's mounts; mount /proc")?;
        let seen = Seen { mounts: mounts(&inside, &machine)?, groups: groups(&inside, &machine) };
        match seen.mounts.first().map(|root| root.place.as_path()) == Some(Path::new("/")) {
            true => Ok(seen),
            false => bail!("a container saw no root of its own: {seen:?}"),
        }
    }
}

/// A line as proc_pid_mountinfo(5) has it.
struct Line<'a> {
    device: &'a str,
    /// What of the file system is mounted.
    root: &'a Path,
    place: &'a Path,
    options: &'a str,
    kind: &'a str,
    /// Of the file system; its controllers among them if it is one of control groups of version 1.
    of_system: &'a str,
}

fn lines(text: &str) -> Vec<Line<'_>> {
    text.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Line<'_>> {
    let (mount, system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(2);
    let mut system = system.split(' ');
    Some(Line {
        device: mount.next()?,
        root: Path::new(mount.next()?),
        place: Path::new(mount.next()?),
        options: mount.next()?,
        kind: system.next()?,
        of_system: system.nth(1)?,
    })
}

fn mounts(inside: &str, machine: &str) -> anyhow::Result<Vec<Mount>> {
    let (mut inside, machine) = (lines(inside), lines(machine));
    inside.sort_by_key(|line| line.place);
    let mount = |(index, line): (usize, &Line<'_>)| {
        // The part of a file system is found in whatever shows more of that, or as much.
        let place_in = |others: &[Line<'_>]| {
            let within = |other: &Line<'_>| Some(other.place.join(line.root.strip_prefix(other.root).ok()?));
            others.iter().filter(|other| other.device == line.device).find_map(within)
        };
        let what = match (place_in(&inside[..index]), place_in(&machine)) {
            (Some(own), _) => What::Own(own),
            (None, Some(machines)) => What::Machines(machines),
            (None, None) if line.root == Path::new("/") => What::New(line.kind.to_owned()),
            (None, None) => bail!("nobody knows what is mounted at {} in a container", line.place.display()),
        };
        let flag = |name| match name {
            "ro" => MsFlags::MS_RDONLY,
            "nosuid" => MsFlags::MS_NOSUID,
            "nodev" => MsFlags::MS_NODEV,
            "noexec" => MsFlags::MS_NOEXEC,
            _ => MsFlags::empty(),
        };
        let flags = line.options.split(',').map(flag).collect();
        Ok(Mount { place: line.place.to_owned(), what, flags })
    };
    inside.iter().enumerate().map(mount).collect()
}

/// From lines such as `4:memory:/bourse/a1/c1/task`.
fn groups(inside: &str, machine: &str) -> Vec<PathBuf> {
    let machine = lines(machine);
    let mut found = Vec::new();
    for line in inside.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let first = controllers.split(',').next().unwrap_or_default();
        let holds = |line: &&Line<'_>| match first.is_empty() {
            true => line.kind == "cgroup2",
            false => line.kind == "cgroup" && line.of_system.split(',').any(|option| option == first),
        };
        let Some(hierarchy) = machine.iter().find(holds) else { continue };
        let Ok(below) = Path::new(path).strip_prefix(hierarchy.root) else { continue };
        let names: Vec<Component<'_>> = below.components().collect();
        let Some(top) = names.iter().position(|name| name.as_os_str() == OURS) else { continue };
        // Others' groups are above ours, ours are new ones, of the same number.
        let mut dir = hierarchy.place.join(names[..top].iter().collect::<PathBuf>());
        for depth in top..names.len() {
            dir.push(format!("bourse-floor-{}-{depth}", std::process::id()));
            found.push(dir.clone());
        }
        if first.is_empty() && names.last().is_some_and(|name| name.as_os_str() == "task") {
            // That of the first process, beside the task's.
            found.push(dir.with_extension("init"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "\
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
22 21 0:20 / /sys rw,relatime shared:1 - sysfs sysfs rw
30 22 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 22 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    const INSIDE: &str = "\
90 80 254:0 /etc /etc ro,nosuid,nodev,relatime - ext4 /dev/vda rw
91 80 0:40 / /proc rw,nosuid,nodev,noexec - proc proc rw
80 70 0:41 / / ro,nosuid,nodev - tmpfs root rw,size=1024k
92 91 0:40 /sys /proc/sys ro,nosuid,nodev,noexec - proc proc rw
93 80 0:42 / /dev ro,nosuid,noexec - tmpfs dev rw
94 91 0:42 /null /proc/keys ro,nosuid,noexec - tmpfs dev rw
95 80 0:20 / /sys ro,nosuid,nodev,noexec - sysfs sysfs rw
4:memory:/bourse/a1/c1/task
0::/bourse/a1/c1
3:devices:/bourse/a1/c1
2:name=systemd:/user
";

    #[test]
    fn a_mount_is_made_of_what_is_there_by_then_and_those_above_come_first() {
        let found = mounts(INSIDE, MACHINE).expect("all of it is known");
        let places: Vec<&str> = found.iter().filter_map(|mount| mount.place.to_str()).collect();
        assert_eq!(places, ["/", "/dev", "/etc", "/proc", "/proc/keys", "/proc/sys", "/sys"]);
        let what: Vec<&What> = found.iter().map(|mount| &mount.what).collect();
        let new = |kind: &str| What::New(kind.into());
        let expected = [
            new("tmpfs"),
            new("tmpfs"),
            What::Machines("/etc".into()),
            new("proc"),
            What::Own("/dev/null".into()),
            What::Own("/proc/sys".into()),
            What::Machines("/sys".into()),
        ];
        assert_eq!(what, expected.iter().collect::<Vec<_>>());
        assert_eq!(found[2].flags, MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
        let odd = "90 80 0:99 /part /place rw - ext4 /dev/vdb rw\n";
        mounts(odd, MACHINE).expect_err("nobody shows it");
    }

    #[test]
    fn there_are_as_many_groups_as_a_container_has_where_there_are_hierarchies() {
        let found = groups(INSIDE, MACHINE);
        let of = |top: &str| found.iter().filter(|dir| dir.starts_with(top)).count();
        assert_eq!((of("/sys/fs/cgroup/memory"), of("/sys/fs/cgroup/unified"), found.len()), (4, 3, 7));
        assert!(found[..4].windows(2).all(|pair| pair[1].parent() == Some(&pair[0])), "{found:?}");
        let of_version_2 = groups("0::/bourse/a1/c1/task\n", MACHINE);
        assert_eq!(of_version_2.len(), 5, "the first process has one, too: {of_version_2:?}");
    }
}
