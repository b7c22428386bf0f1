//! Finds this machine's control groups: what is mounted, with which controllers, and where new groups may be
//! made.
//!
//! Root makes them at the top, as other managers of containers do, unless systemd owns the tree and has delegated a part of
//! it to the agent; but at the top in any case on version 1, where an agent of an earlier release has them, which is said.
//! Who is not root makes them in the agent's own group, if that was given to its user.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::files::{make, processes, remove_if_empty};
use super::v1::Killer;
use super::v2::LEAF;
use super::{Extra, Hierarchy, OURS, PROBE, V1, V2, memory, systemd};

/// The controllers that a container needs, by their names in version 1 and version 2.
const NEEDED_V1: [&str; 4] = ["cpu", "cpuacct", "memory", "pids"];
const NEEDED_V2: [&str; 3] = ["cpu", "memory", "pids"];

/// What someone who is not root can do about control groups.
const OF_USERS: &str = "an agent without root needs control groups of version 2 that are given to its user: start it as a \
     service of that user with Delegate=yes, or by `systemd-run --user --scope --property=Delegate=yes`, and have the \
     controllers cpu, memory and pids delegated to users (docs/operating.md, Without root)";

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

/// The control groups that an agent can use.
#[derive(Debug)]
pub(crate) struct Detected {
    /// For its containers.
    pub groups: Box<dyn Hierarchy>,
    /// What they cannot do, or systemd can do to them: each a sentence without its full stop.
    pub lacking: Vec<String>,
}

/// The control groups of this machine for one agent instance, or the list of what is missing.
pub(crate) fn detect(instance: &str) -> Result<Detected, Vec<String>> {
    let read = |path: &str| {
        fs::read_to_string(path).map_err(|error| vec![format!("{path} cannot be read ({error})")])
    };
    let mounts = parse_mounts(&read("/proc/self/mountinfo")?);
    let own = read("/proc/self/cgroup")?;
    choose(&mounts, &own, instance, &systemd::is_delegated).map_err(|mut missing| {
        if !geteuid().is_root() {
            missing.push(OF_USERS.into());
        }
        missing
    })
}

/// `is_delegated` says whether systemd has marked a group so.
fn choose(
    mounts: &[Mount],
    own: &str,
    instance: &str,
    is_delegated: &dyn Fn(&Path) -> bool,
) -> Result<Detected, Vec<String>> {
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
        let extras = Extra::ALL.map(|extra| v1(extra.name_v1()).map(&base));
        let closed = Extra::ALL.into_iter().zip(&extras).filter(|(_, base)| matches!(base, Some(Err(_))));
        let mut lacking = not_given(closed.map(|(extra, _)| (extra, extra.name_v1())));
        let is_at_top = mounts.iter().any(|mount| memory.starts_with(mount.point.join(OURS)));
        // It keeps its own order in one of them, version 2 or one without a controller, and makes groups in the others as
        // its units need them.
        if is_at_top && mounts.iter().any(|mount| systemd::owns(&mount.point)) {
            lacking.push(systemd::at_top_of_version_1());
        }
        let [cpuset, blkio, hugetlb] = extras.map(|base| base.and_then(Result::ok));
        let groups = Box::new(V1 { cpu, cpuacct, memory, pids, cpuset, blkio, hugetlb, killer });
        return Ok(Detected { groups, lacking });
    }

    let Some(unified) = unified else {
        let missing = NEEDED_V1.iter().filter(|name| v1(name).is_none());
        return Err(missing
            .map(|name| format!("{name} controller: no control groups with it are mounted"))
            .collect());
    };
    let (root, mut lacking) =
        place(unified, own, instance, is_delegated).map_err(|why| vec![format!("control groups: {why}")])?;
    let controllers = |group: &Path| -> Vec<String> {
        let there = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
        there.split_whitespace().map(str::to_owned).collect()
    };
    let has = |there: &[String], name: &str| there.iter().any(|found| found == name);
    let (there, at_top) = (controllers(&root), controllers(&unified.point));
    let missing: Vec<String> = NEEDED_V2
        .iter()
        .filter(|name| !has(&there, name))
        .map(|name| format!("{name} controller: not listed in {}", root.join("cgroup.controllers").display()))
        .collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    let names = Extra::ALL.into_iter().map(|extra| (extra, extra.name_v2()));
    lacking.extend(not_given(names.filter(|(_, name)| has(&at_top, name) && !has(&there, name))));
    lacking.extend(not_kept(&root, &unified.point));
    let base = root.join(OURS).join(instance);
    Ok(Detected { groups: Box::new(V2 { root, base }), lacking })
}

/// That these controllers are there and not for the agent, in a sentence; nothing where there are none.
fn not_given<'a>(extras: impl Iterator<Item = (Extra, &'a str)>) -> Vec<String> {
    let (whats, names): (Vec<&str>, Vec<&str>) = extras.map(|(extra, name)| (extra.what(), name)).unzip();
    if names.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "a task that asks for {} is refused, as the controllers for that ({}) are not delegated to the agent; delegate them \
         (docs/operating.md, Without root) if you need them",
        whats.join(" or "),
        names.join(", ")
    )]
}

/// That no memory is kept for tasks, in a sentence, where a group above the agent's own keeps none for those in it: none
/// keeps more than the groups above it do (`cgroup-v2.rst`, "memory.low"), and these are not the agent's to change.
fn not_kept(root: &Path, top: &Path) -> Option<String> {
    let above = root.ancestors().take_while(|group| group.starts_with(top));
    let closed = above.filter(|group| memory::keeps_nothing_v2(group));
    let closed: Vec<String> = closed.map(|group| group.display().to_string()).collect();
    (!closed.is_empty()).then(|| {
        format!(
            "what a task asked for of its memory is not kept for it when the machine is short, only its limit holds, as \
             memory.low is 0 above the agent's control groups, in {}; set it there, of a unit and the slices around it by \
             MemoryLow= (docs/operating.md, Under systemd), if you need that",
            closed.join(" and ")
        )
    })
}

/// Where groups of version 2 are made, and what is to be said about that.
fn place(
    mount: &Mount,
    own: &str,
    instance: &str,
    is_delegated: &dyn Fn(&Path) -> bool,
) -> Result<(PathBuf, Vec<String>), String> {
    let own_path = own_group(mount, own);
    let unit = own_path.as_deref().map(Path::new).and_then(systemd::unit);
    let Some(unit) = unit.filter(|_| systemd::owns(&mount.point)) else {
        return Ok((writable_root(mount, own, instance)?, Vec::new()));
    };
    let inside = |path: &Path| join_inside(&mount.point, &path.display().to_string());
    // Older ones mark for root alone: then nobody else sees a mark where there always is one.
    let is_silent = systemd::of_user(unit).is_some_and(|of_user| !is_delegated(&inside(of_user)));
    let group = inside(unit);
    if is_silent || is_delegated(&group) {
        let refused = |error| format!("no group can be made in {} ({error})", group.display());
        try_out(&group, instance).map_err(refused)?;
        return Ok((group, Vec::new()));
    }
    let root = writable_root(mount, own, instance)?;
    if root != mount.point {
        // A group hands down controllers only when all processes have left it, and these are not ours to move.
        let mut others = processes([&root]);
        others.remove(&std::process::id());
        if !others.is_empty() {
            return Err(format!(
                "the agent shares {} with the processes {others:?}, and systemd has not delegated it",
                root.display()
            ));
        }
    }
    Ok((root, vec![systemd::not_delegated(unit)]))
}

/// Where groups can be made: at the top, as other managers of containers do; else beneath the agent's own
/// group, which is what an agent gets that runs in a container itself.
fn writable_root(mount: &Mount, own: &str, instance: &str) -> Result<PathBuf, String> {
    let beneath = own_group(mount, own).map(|path| join_inside(&mount.point, outside_leaf(&path)));
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

/// An agent that has moved into a leaf of its group, to hand controllers down, still has that group for its own.
fn outside_leaf(group: &str) -> &str {
    group.strip_suffix(LEAF).and_then(|above| above.strip_suffix('/')).unwrap_or(group)
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

    /// Where systemd has delegated nothing.
    fn nobody(_: &Path) -> bool {
        false
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
        let found = choose(&mounts(&root, &V1_MOUNTS), "", "a1", &nobody).expect("all controllers are there");
        assert_eq!(found.groups.layout(), Layout::V1);
        assert!(format!("{found:?}").contains("freezer/bourse/a1"));
    }

    #[test]
    fn a_version_2_tree_beside_version_1_makes_it_hybrid() {
        let root = TempDir::new().expect("a temporary directory");
        let mut list = V1_MOUNTS.to_vec();
        list.push(("unified", "cgroup2", "nsdelegate"));
        let found = choose(&mounts(&root, &list), "", "a1", &nobody).expect("all controllers are there");
        assert_eq!(found.groups.layout(), Layout::Hybrid);
    }

    #[test]
    fn what_only_some_limits_need_is_used_where_it_is_and_not_missed_elsewhere() {
        let root = TempDir::new().expect("a temporary directory");
        let mut list = V1_MOUNTS.to_vec();
        list.push(("cpuset", "cgroup", "cpuset"));
        let found = choose(&mounts(&root, &list), "", "a1", &nobody).expect("all that is needed is there");
        let found = format!("{found:?}");
        assert!(found.contains("cpuset/bourse/a1") && found.contains("hugetlb: None"), "{found}");
    }

    #[test]
    fn a_machine_with_version_2_needs_its_controllers_listed() {
        let root = TempDir::new().expect("a temporary directory");
        let mounts = mounts(&root, &[("", "cgroup2", "nsdelegate")]);
        fs::write(root.path().join("cgroup.controllers"), "cpuset cpu io pids\n").expect("it is writable");
        let missing = choose(&mounts, "0::/\n", "a1", &nobody).expect_err("memory is not there");
        assert_eq!(missing.len(), 1);
        assert!(missing[0].starts_with("memory controller: not listed in"), "{missing:?}");
        fs::write(root.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n")
            .expect("it is writable");
        let found = choose(&mounts, "0::/\n", "a1", &nobody).expect("all are there");
        assert_eq!(found.groups.layout(), Layout::V2);
    }

    #[test]
    fn each_missing_controller_is_named() {
        let root = TempDir::new().expect("a temporary directory");
        let missing = choose(&mounts(&root, &[("cpu", "cgroup", "cpu")]), "", "a1", &nobody)
            .expect_err("three are not there");
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
        choose(&mounts, "", "a1", &nobody).expect("all controllers are there");
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

    /// A tree of version 2 in which systemd has put the agent into this group, with these controllers.
    fn of_systemd(root: &TempDir, group: &str, controllers: &str) -> Vec<Mount> {
        let mounts = mounts(root, &[("", "cgroup2", "nsdelegate")]);
        for made in ["init.scope", "system.slice", group] {
            fs::create_dir_all(root.path().join(made)).expect("it is writable");
        }
        let all = "cpuset cpu io memory hugetlb pids\n";
        fs::write(root.path().join("cgroup.controllers"), all).expect("it is writable");
        let file = root.path().join(group).join("cgroup.controllers");
        fs::write(file, controllers).expect("it is writable");
        mounts
    }

    #[test]
    fn where_systemd_owns_the_tree_groups_are_made_in_the_agents_unit_if_it_is_delegated() {
        const UNIT: &str = "system.slice/bourse-agent.service";
        let root = TempDir::new().expect("a temporary directory");
        let mounts = of_systemd(&root, UNIT, "cpu memory pids\n");
        let is_delegated = |group: &Path| group == root.path().join(UNIT);
        for own in [format!("0::/{UNIT}\n"), format!("0::/{UNIT}/bourse-host\n")] {
            let found = choose(&mounts, &own, "a1", &is_delegated).expect("all that is needed is there");
            let base = root.path().join(UNIT).join("bourse/a1");
            assert!(format!("{:?}", found.groups).contains(&format!("base: {base:?}")), "{found:?}");
            let [lacking] = &found.lacking[..] else { panic!("one sentence: {found:?}") };
            for part in ["cores or the io weight", "(cpuset, io, hugetlb)"] {
                assert!(lacking.contains(part), "{lacking}");
            }
        }
    }

    #[test]
    fn a_unit_that_is_not_delegated_is_told_with_the_line_to_add_and_groups_are_made_at_the_top() {
        let root = TempDir::new().expect("a temporary directory");
        let mounts = of_systemd(&root, "system.slice/bourse-agent.service", "cpu memory pids\n");
        let own = "0::/system.slice/bourse-agent.service\n";
        let found = choose(&mounts, own, "a1", &nobody).expect("all that is needed is there");
        let base = root.path().join("bourse/a1");
        assert!(format!("{:?}", found.groups).contains(&format!("base: {base:?}")), "{found:?}");
        let [lacking] = &found.lacking[..] else { panic!("one sentence: {found:?}") };
        assert!(lacking.contains("bourse-agent.service") && lacking.contains("Delegate=yes"), "{lacking}");
        // Without systemd nobody has to delegate anything.
        fs::remove_dir(root.path().join("init.scope")).expect("it is empty");
        assert_eq!(choose(&mounts, own, "a1", &nobody).expect("likewise").lacking, Vec::<String>::new());
    }

    #[test]
    fn groups_of_version_1_at_the_top_of_what_systemd_owns_are_told() {
        for of_systemd in [("unified", "cgroup2", "nsdelegate"), ("systemd", "cgroup", "xattr,name=systemd")]
        {
            let root = TempDir::new().expect("a temporary directory");
            let mut list = V1_MOUNTS.to_vec();
            list.push(of_systemd);
            let mounts = mounts(&root, &list);
            let lacking = || choose(&mounts, "", "a1", &|_| true).expect("all controllers are there").lacking;
            assert_eq!(lacking(), Vec::<String>::new(), "without systemd nobody else owns them");
            for made in ["init.scope", "system.slice"] {
                fs::create_dir(root.path().join(of_systemd.0).join(made)).expect("it is writable");
            }
            let told = lacking();
            let [sentence] = &told[..] else { panic!("one sentence: {told:?}") };
            for part in ["systemd owns", "systemd.unified_cgroup_hierarchy=1", "Delegate=yes"] {
                assert!(sentence.contains(part), "{part:?} is not in {sentence:?}");
            }
        }
    }

    #[test]
    fn groups_above_the_agents_that_keep_no_memory_are_told_as_tasks_can_keep_none_below_them() {
        const UNIT: &str = "system.slice/bourse-agent.service";
        let root = TempDir::new().expect("a temporary directory");
        let mounts = of_systemd(&root, UNIT, "cpuset cpu io memory hugetlb pids\n");
        let is_delegated = |group: &Path| group == root.path().join(UNIT);
        let own = format!("0::/{UNIT}\n");
        let lacking = |of_slice: &str, of_unit: &str| {
            for (group, low) in [("system.slice", of_slice), (UNIT, of_unit)] {
                fs::write(root.path().join(group).join("memory.low"), low).expect("it is writable");
            }
            choose(&mounts, &own, "a1", &is_delegated).expect("all that is needed is there").lacking
        };
        let told = lacking("0\n", "0\n");
        let [both] = &told[..] else { panic!("one sentence: {told:?}") };
        for part in ["memory.low is 0", "bourse-agent.service and ", "system.slice;", "MemoryLow="] {
            assert!(both.contains(part), "{part:?} is not in {both:?}");
        }
        let told = lacking("0\n", "1073741824\n");
        let [slice] = &told[..] else { panic!("one sentence: {told:?}") };
        assert!(slice.contains("system.slice;") && !slice.contains("bourse-agent.service"), "{slice}");
        assert_eq!(lacking("max\n", "1073741824\n"), Vec::<String>::new());
    }

    #[test]
    fn an_agent_in_a_leaf_of_its_group_makes_others_beside_that_and_not_in_it() {
        assert_eq!(outside_leaf("/a/bourse-host"), "/a");
        for group in ["/a", "/a/not-bourse-host", "/bourse-host/a", "/"] {
            assert_eq!(outside_leaf(group), group);
        }
        assert_eq!(join_inside(Path::new("/g"), outside_leaf("/bourse-host")), Path::new("/g"));
    }
}
