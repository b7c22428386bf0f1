//! Finds this machine's control groups: what is mounted, with which controllers, and where new groups may be
//! made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{make, remove_if_empty};
use super::v1::Killer;
use super::{Extra, Hierarchy, OURS, PROBE, V1, V2};

/// The controllers that a container needs, by their names in version 1 and version 2.
const NEEDED_V1: [&str; 4] = ["cpu", "cpuacct", "memory", "pids"];
const NEEDED_V2: [&str; 3] = ["cpu", "memory", "pids"];

/// One control group file system.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// Where it is mounted.
    point: PathBuf,
    /// Which part of it: `/` unless a container of someone else sees only a part.
    part: String,
    /// `None` for version 2.
    controllers: Option<Vec<String>>,
}

/// The control groups of this machine for one agent instance, or the list of what is missing.
pub(crate) fn detect(instance: &str) -> Result<Box<dyn Hierarchy>, Vec<String>> {
    let read = |path: &str| {
        fs::read_to_string(path).map_err(|error| vec![format!("{path} cannot be read ({error})")])
    };
    let mounts = parse_mounts(&read("/proc/self/mountinfo")?);
    let own = read("/proc/self/cgroup")?;
    choose(&mounts, &own, instance)
}

fn choose(mounts: &[Mount], own: &str, instance: &str) -> Result<Box<dyn Hierarchy>, Vec<String>> {
    let v1 = |name: &str| {
        mounts
            .iter()
            .find(|mount| mount.controllers.as_ref().is_some_and(|list| list.iter().any(|c| c == name)))
    };
    let unified = mounts.iter().find(|mount| mount.controllers.is_none());
    let base = |mount: &Mount| writable_root(mount, own, instance).map(|root| root.join(OURS).join(instance));

    if NEEDED_V1.iter().all(|name| v1(name).is_some()) {
        let mut missing = Vec::new();
        let mut take = |name: &str| {
            let mount = v1(name).expect("all of them were found above");
            base(mount).map_err(|why| missing.push(format!("{name} controller: {why}"))).unwrap_or_default()
        };
        let [cpu, cpuacct, memory, pids] = NEEDED_V1.map(&mut take);
        if !missing.is_empty() {
            return Err(missing);
        }
        let killer = match (unified.map(&base), v1("freezer").map(&base)) {
            (Some(Ok(dir)), _) => Killer::Unified(dir),
            (_, Some(Ok(dir))) => Killer::Freezer(dir),
            _ => Killer::Signals,
        };
        // Without these, only who asks for a limit of theirs is refused.
        let [cpuset, blkio, hugetlb] =
            Extra::ALL.map(|extra| v1(extra.name_v1()).and_then(|mount| base(mount).ok()));
        return Ok(Box::new(V1 { cpu, cpuacct, memory, pids, cpuset, blkio, hugetlb, killer }));
    }

    let Some(unified) = unified else {
        let missing = NEEDED_V1.iter().filter(|name| v1(name).is_none());
        return Err(missing
            .map(|name| format!("{name} controller: no control groups with it are mounted"))
            .collect());
    };
    let root = writable_root(unified, own, instance).map_err(|why| vec![format!("control groups: {why}")])?;
    let there = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    let missing: Vec<String> = NEEDED_V2
        .iter()
        .filter(|name| !there.split_whitespace().any(|found| found == **name))
        .map(|name| format!("{name} controller: not listed in {}", root.join("cgroup.controllers").display()))
        .collect();
    if missing.is_empty() {
        let base = root.join(OURS).join(instance);
        Ok(Box::new(V2 { root, base }))
    } else {
        Err(missing)
    }
}

/// Where groups can be made: at the top, as other managers of containers do; else beneath the agent's own
/// group, which is what an agent gets that runs in a container itself.
fn writable_root(mount: &Mount, own: &str, instance: &str) -> Result<PathBuf, String> {
    let beneath = own_group(mount, own).map(|path| join_inside(&mount.point, &path));
    let mut why = String::new();
    for root in [Some(mount.point.clone()), beneath].into_iter().flatten() {
        match try_out(&root, instance) {
            Ok(()) => return Ok(root),
            Err(error) if why.is_empty() => {
                why = format!("no group can be made in {} ({error})", root.display())
            }
            Err(_) => {}
        }
    }
    Err(why)
}

/// Makes a group and removes it. It is among the agent's own: what one leaves that is killed in between, the next one
/// finds and removes.
fn try_out(root: &Path, instance: &str) -> io::Result<()> {
    fs::metadata(root)?;
    let base = root.join(OURS).join(instance);
    let probe = base.join(PROBE);
    make(&probe).map_err(|error| error.source)?;
    let _ = fs::remove_dir(&probe);
    remove_if_empty(&base);
    Ok(())
}

/// The agent's own group, as a path inside the mount.
fn own_group(mount: &Mount, own: &str) -> Option<String> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next()?, parts.next()?);
        let ours = match &mount.controllers {
            None => names.is_empty(),
            Some(list) => names.split(',').any(|name| list.iter().any(|c| c == name)),
        };
        // Outside the part that is mounted here, it cannot be reached.
        let inside = if mount.part == "/" { Some(path) } else { path.strip_prefix(&mount.part) };
        ours.then_some(inside)?.map(str::to_owned)
    })
}

fn join_inside(point: &Path, path: &str) -> PathBuf {
    point.join(path.trim_start_matches('/'))
}

/// The control group mounts in a `mountinfo` (proc_pid_mountinfo(5)).
fn parse_mounts(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut left = left.split(' ').skip(3);
            let (part, point) = (left.next()?, left.next()?);
            let mut right = right.split(' ');
            let (kind, options) = (right.next()?, right.nth(1)?);
            let controllers = match kind {
                "cgroup" => Some(options.split(',').map(str::to_owned).collect()),
                "cgroup2" => None,
                _ => return None,
            };
            Some(Mount { point: unescape(point).into(), part: unescape(part), controllers })
        })
        .collect()
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, letter)| text.replace(code, letter))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::Layout;
    use super::*;

    /// Mounts as on a machine whose control groups lie in a temporary directory.
    fn mounts(root: &TempDir, list: &[(&str, &str, &str)]) -> Vec<Mount> {
        let text: String = list
            .iter()
            .map(|(dir, kind, options)| {
                let point = root.path().join(dir);
                fs::create_dir_all(&point).expect("a temporary directory is writable");
                format!("31 23 0:28 / {} rw,relatime - {kind} {kind} rw,{options}\n", point.display())
            })
            .collect();
        parse_mounts(&text)
    }

    const V1_MOUNTS: [(&str, &str, &str); 4] = [
        ("cpu,cpuacct", "cgroup", "cpu,cpuacct"),
        ("memory", "cgroup", "memory"),
        ("pids", "cgroup", "pids"),
        ("freezer", "cgroup", "freezer"),
    ];

    #[test]
    fn a_machine_with_version_1_only_is_killed_by_the_freezer() {
        let root = TempDir::new().expect("a temporary directory");
        let found = choose(&mounts(&root, &V1_MOUNTS), "", "a1").expect("all controllers are there");
        assert_eq!(found.layout(), Layout::V1);
        assert!(format!("{found:?}").contains("freezer/bourse/a1"));
    }

    #[test]
    fn a_version_2_tree_beside_version_1_makes_it_hybrid() {
        let root = TempDir::new().expect("a temporary directory");
        let mut list = V1_MOUNTS.to_vec();
        list.push(("unified", "cgroup2", "nsdelegate"));
        let found = choose(&mounts(&root, &list), "", "a1").expect("all controllers are there");
        assert_eq!(found.layout(), Layout::Hybrid);
    }

    #[test]
    fn what_only_some_limits_need_is_used_where_it_is_and_not_missed_elsewhere() {
        let root = TempDir::new().expect("a temporary directory");
        let mut list = V1_MOUNTS.to_vec();
        list.push(("cpuset", "cgroup", "cpuset"));
        let found = choose(&mounts(&root, &list), "", "a1").expect("all that is needed is there");
        let found = format!("{found:?}");
        assert!(found.contains("cpuset/bourse/a1") && found.contains("hugetlb: None"), "{found}");
    }

    #[test]
    fn a_machine_with_version_2_needs_its_controllers_listed() {
        let root = TempDir::new().expect("a temporary directory");
        let mounts = mounts(&root, &[("", "cgroup2", "nsdelegate")]);
        fs::write(root.path().join("cgroup.controllers"), "cpuset cpu io pids\n").expect("it is writable");
        let missing = choose(&mounts, "0::/\n", "a1").expect_err("memory is not there");
        assert_eq!(missing.len(), 1);
        assert!(missing[0].starts_with("memory controller: not listed in"), "{missing:?}");
        fs::write(root.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n")
            .expect("it is writable");
        assert_eq!(choose(&mounts, "0::/\n", "a1").expect("all are there").layout(), Layout::V2);
    }

    #[test]
    fn each_missing_controller_is_named() {
        let root = TempDir::new().expect("a temporary directory");
        let missing =
            choose(&mounts(&root, &[("cpu", "cgroup", "cpu")]), "", "a1").expect_err("three are not there");
        assert_eq!(missing.len(), 3);
        assert!(missing.iter().any(|text| text.starts_with("memory controller")), "{missing:?}");
    }

    #[test]
    fn where_the_top_cannot_be_used_the_agents_own_group_is() {
        let root = TempDir::new().expect("a temporary directory");
        let point = root.path().join("gone");
        fs::create_dir_all(root.path().join("part/own")).expect("it is writable");
        let mount = Mount { point, part: "/".into(), controllers: Some(vec!["memory".into()]) };
        assert!(writable_root(&mount, "4:memory:/\n", "a1").is_err());
        let mount = Mount { point: root.path().join("gone"), part: "/part".into(), ..mount };
        fs::create_dir_all(root.path().join("gone/own")).expect("it is writable");
        assert_eq!(own_group(&mount, "4:memory:/part/own\n"), Some("/own".into()));
        assert_eq!(own_group(&mount, "4:memory:/elsewhere\n"), None);
    }

    #[test]
    fn looking_for_a_place_leaves_nothing_and_removes_what_an_agent_left_that_was_killed_meanwhile() {
        let root = TempDir::new().expect("a temporary directory");
        let mounts = mounts(&root, &V1_MOUNTS);
        fs::create_dir_all(root.path().join("memory/bourse/a1/probe")).expect("it is writable");
        choose(&mounts, "", "a1").expect("all controllers are there");
        for (dir, _, _) in V1_MOUNTS {
            let left: Vec<_> = fs::read_dir(root.path().join(dir)).expect("it is there").collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    #[test]
    fn a_mount_point_with_a_space_in_it_is_read_right() {
        let mounts = parse_mounts("1 2 0:3 / /a\\040b rw - cgroup2 none rw\n");
        assert_eq!(mounts[0].point, PathBuf::from("/a b"));
    }
}
