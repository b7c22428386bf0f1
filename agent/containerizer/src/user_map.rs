//! The users of containers of an agent without root.
//!
//! Such an agent may become nobody else, but it may make user namespaces (user_namespaces(7)). So each of its containers has
//! one, of which the agent's own user is the root: the first process may do in there what a container takes, mounts among
//! it, and outside it may do what that user may. Others than that one user are in it only where root of the machine has
//! given the user a range of numbers (subuid(5)), and by the programs that may map those (newuidmap(1)).

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bourse_init::plan::UserRange;
use nix::sys::wait::WaitStatus;
use nix::unistd::{Uid, User, getegid, geteuid, getgroups};

use crate::spawn;

/// Who a user namespace takes for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserMap {
    /// The user and the group with this number in it are, on the machine,
    inside: u32,
    /// this user
    uid: u32,
    /// and this group.
    gid: u32,
    /// So many after each of the two are in it as well, mapped by the root of the machine.
    following: u32,
    /// Those with other numbers, where there are any; then `inside` is 0 and nobody follows.
    others: Option<Others>,
}

/// Users and groups from number 1 on, and the programs that map them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Others {
    uids: Range,
    gids: Range,
    newuidmap: PathBuf,
    newgidmap: PathBuf,
}

/// Numbers of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
}

/// The users that containers of this agent can have.
#[derive(Debug)]
pub struct Found {
    /// All of them.
    pub map: UserMap,
    /// What tasks cannot do for that, each a sentence without its full stop.
    pub lacking: Vec<String>,
}

/// Settings by which a kernel makes no user namespaces, or none for others than root, when they are 0.
const SWITCHES: [(&str, &str); 2] = [
    ("sys/user/max_user_namespaces", "user.max_user_namespaces"),
    // Debian's.
    ("sys/kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone"),
];

/// Where programs are looked for; the last two are where NixOS has them.
const PROGRAMS: [&str; 4] = ["/usr/bin", "/bin", "/run/wrappers/bin", "/run/current-system/sw/bin"];

/// Looks for the users of this agent's containers, and makes a user namespace with them; or tells what is missing for that.
pub fn find() -> Result<Found, Vec<String>> {
    let forbidden = forbidden(Path::new("/proc"));
    if !forbidden.is_empty() {
        return Err(forbidden);
    }
    let (uid, gid) = (geteuid(), getegid());
    let alone = UserMap { inside: 0, uid: uid.as_raw(), gid: gid.as_raw(), following: 0, others: None };
    let with_others = others(uid).and_then(|others| {
        let map = UserMap { others: Some(others), ..alone.clone() };
        spawn::user_namespace(&map).map(|_| map).map_err(|error| error.to_string())
    });
    let mut lacking = vec![format!(
        "tasks run as the agent's own user, uid {uid}, which is root within their containers only: one that names another \
         user is refused"
    )];
    match with_others {
        Ok(map) => {
            if map.has_all() {
                lacking.push(
                    "tasks that ask for users of their own share those of the agent's user, and its range: only an agent \
                     that is root gives each others"
                        .into(),
                );
            }
            Ok(Found { map, lacking })
        }
        Err(why) => {
            spawn::user_namespace(&alone).map_err(|error| {
                vec![format!(
                    "user namespaces cannot be made by uid {uid} ({error}); see whether a security module or a container \
                     around the agent forbids it, or run the agent as root"
                )]
            })?;
            lacking.push(format!("a container has no other users than that one: {why}"));
            let mut groups = getgroups().unwrap_or_default();
            groups.retain(|group| *group != gid);
            if !groups.is_empty() {
                let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
                lacking.push(format!(
                    "tasks keep the groups of the agent's user, {}, as these can be given up only with such a range; take \
                     the user out of groups that tasks must not have",
                    groups.join(", ")
                ));
            }
            Ok(Found { map: alone, lacking })
        }
    }
}

/// Why the kernel would make no user namespace, as far as its files tell.
fn forbidden(proc: &Path) -> Vec<String> {
    if !proc.join("self/ns/user").exists() {
        return vec![
            "the kernel has no user namespaces, which an agent without root needs (run it as root)".into(),
        ];
    }
    let is_off = |file: &str| fs::read_to_string(proc.join(file)).is_ok_and(|text| text.trim() == "0");
    let off = SWITCHES.iter().filter(|(file, _)| is_off(file));
    off.map(|(_, name)| {
        format!("this machine forbids the user namespaces that an agent without root needs ({name} is 0; have it set)")
    })
    .collect()
}

/// The range of a user and the programs that map it, or why there are none, in words.
fn others(uid: Uid) -> Result<Others, String> {
    let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
    let range = |file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        range(&text, name.as_deref(), uid.as_raw()).ok_or_else(|| {
            let who = name.clone().unwrap_or_else(|| uid.to_string());
            format!("{file} gives uid {uid} no range of numbers; have a line such as {who}:100000:65536 added there")
        })
    };
    let mapper = |name: &str| {
        program(name).ok_or_else(|| format!("there is no {name} here; have it installed (Debian: uidmap)"))
    };
    Ok(Others {
        uids: range("/etc/subuid")?,
        gids: range("/etc/subgid")?,
        newuidmap: mapper("newuidmap")?,
        newgidmap: mapper("newgidmap")?,
    })
}

/// The first range of a user in a text as subuid(5) has it: name or number, first number, count.
fn range(text: &str, name: Option<&str>, uid: u32) -> Option<Range> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let who = fields.next()?;
        let first = fields.next()?.parse::<u32>().ok()?;
        let count = fields.next()?.parse::<u32>().ok()?;
        let is_own = name == Some(who) || who.parse::<u32>() == Ok(uid);
        (is_own && first > 0 && count > 0).then_some(Range { first, count })
    })
}

fn program(name: &str) -> Option<PathBuf> {
    PROGRAMS.iter().map(|folder| Path::new(folder).join(name)).find(|program| program.exists())
}

impl UserMap {
    /// One user and one group of this number, by the same number.
    pub fn only(number: u32) -> UserMap {
        UserMap { inside: number, uid: number, gid: number, following: 0, others: None }
    }

    /// A block of the machine's users and groups as 0 and so on, which only root of the machine may map.
    pub fn block(block: UserRange) -> UserMap {
        let first = block.first;
        UserMap { inside: 0, uid: first, gid: first, following: UserRange::COUNT - 1, others: None }
    }

    /// Whether it has all users and groups that a task with users of its own is promised.
    pub fn has_all(&self) -> bool {
        let are_enough = |range: Range| range.count >= UserRange::COUNT - 1;
        self.others.as_ref().is_some_and(|others| are_enough(others.uids) && are_enough(others.gids))
    }

    /// Gives its users to a user namespace that has none yet, that of this process, which is a child of ours. Without others
    /// that takes no right but to be who made the namespace; its groups are fixed then.
    pub fn apply(&self, child: u32) -> io::Result<()> {
        let UserMap { inside, uid, gid, following, others } = self;
        match others {
            None => {
                let of_child = Path::new("/proc").join(child.to_string());
                // Who could give up groups could get at what is closed to a group only; so who is not root has to let go of
                // that before it maps one. Of several, which only root maps, a task may have some as its groups.
                if *following == 0 {
                    fs::write(of_child.join("setgroups"), "deny")?;
                }
                let count = u64::from(*following) + 1;
                fs::write(of_child.join("uid_map"), format!("{inside} {uid} {count}"))?;
                fs::write(of_child.join("gid_map"), format!("{inside} {gid} {count}"))
            }
            Some(Others { uids, gids, newuidmap, newgidmap }) => {
                map(newuidmap, child, *uid, *uids)?;
                map(newgidmap, child, *gid, *gids)
            }
        }
    }

    /// Makes what such others own in a directory belong to the agent's own user, who could neither look into it nor remove
    /// it else. Links are not followed. Without others there is nothing to do; a repeat does nothing more.
    pub fn take_back(&self, directory: &Path) -> io::Result<()> {
        if self.others.is_none() {
            return Ok(());
        }
        let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no program chown");
        let chown = program("chown").ok_or_else(missing)?;
        let arguments = ["-hR", "0:0"].map(OsStr::new).into_iter().chain([directory.as_os_str()]);
        match spawn::run(&chown, arguments, self)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            other => Err(io::Error::other(format!("{} ended with {other:?}", chown.display()))),
        }
    }
}

/// Has one of the programs that may map a range do so, with the agent's own user as number 0.
fn map(mapper: &Path, child: u32, own: u32, others: Range) -> io::Result<()> {
    let numbers = [child, 0, own, 1, 1, others.first, others.count].map(|number| number.to_string());
    let ended = Command::new(mapper).args(numbers).stdin(Stdio::null()).output()?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    Err(io::Error::other(format!("{} ended with {}: {}", mapper.display(), ended.status, said.trim())))
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    use bourse_types::Network;
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    use tempfile::TempDir;

    use super::*;
    use crate::spawn::Around;

    #[test]
    fn the_first_range_of_a_user_is_found_by_name_or_number_and_what_is_no_range_is_passed_over() {
        let text = "ann:100000:65536\n\n# bob\nbob:x:1\nbob:0:5\nbob:7:0\n1000:200000:10\nbob:300000:20\n";
        let found = |name, uid| range(text, name, uid).map(|Range { first, count }| (first, count));
        assert_eq!(found(Some("ann"), 1), Some((100_000, 65_536)));
        assert_eq!(found(Some("bob"), 2), Some((300_000, 20)));
        assert_eq!(found(Some("bob"), 1000), Some((200_000, 10)));
        assert_eq!(found(None, 1000), Some((200_000, 10)));
        assert_eq!(found(None, 2), None);
        assert_eq!(range("", Some(""), 0), None);
    }

    #[test]
    fn a_kernel_that_makes_no_user_namespaces_is_told_with_its_setting() {
        let proc = TempDir::new().expect("a temporary directory");
        let put = |file: &str, text: &str| {
            let path = proc.path().join(file);
            fs::create_dir_all(path.parent().expect("it has one")).expect("it is writable");
            fs::write(path, text).expect("it is writable");
        };
        assert!(forbidden(proc.path())[0].contains("has no user namespaces"));
        put("self/ns/user", "");
        put("sys/user/max_user_namespaces", "1000\n");
        assert_eq!(forbidden(proc.path()), Vec::<String>::new());
        put("sys/kernel/unprivileged_userns_clone", "0\n");
        let told = forbidden(proc.path());
        assert!(told.len() == 1 && told[0].contains("kernel.unprivileged_userns_clone is 0"), "{told:?}");
    }

    /// Runs a shell's script in a folder, by a shell of its own: a program that we wrote ourselves could still be open for
    /// writing in a process that another test is just making.
    fn shell(folder: &TempDir, script: &str) {
        let ended = Command::new("/bin/sh").args(["-c", script]).current_dir(folder.path()).status();
        assert!(ended.expect("it is there").success(), "{script}");
    }

    /// Does as newuidmap and newgidmap do, for root, who needs no right for that.
    fn mapper(folder: &TempDir, file: &str) -> PathBuf {
        let script = format!(
            r#"printf '%s\n' '#!/bin/sh' 'child=$1; shift' 'printf "%s %s %s\n%s %s %s\n" "$@" > /proc/$child/{file}' > {file}
               chmod 755 {file}"#
        );
        shell(folder, &script);
        folder.path().join(file)
    }

    fn with_others(folder: &TempDir) -> UserMap {
        let range = Range { first: 100_000, count: 100 };
        let (newuidmap, newgidmap) = (mapper(folder, "uid_map"), mapper(folder, "gid_map"));
        let others = Others { uids: range, gids: range, newuidmap, newgidmap };
        UserMap { inside: 0, uid: 0, gid: 0, following: 0, others: Some(others) }
    }

    #[test]
    fn a_container_begins_when_its_users_are_known_and_not_before() {
        let folder = TempDir::new().expect("a temporary directory");
        let script = r#"/bin/cat /proc/self/uid_map /proc/self/setgroups > "${0%/*}/told""#;
        shell(&folder, &format!("echo '{script}' > script"));
        let seen = |users: &UserMap| {
            let sh = fs::File::open("/bin/sh").expect("it is there");
            let script = folder.path().join("script").display().to_string();
            // A shell takes the name of a container for that of a script.
            let around = Around::Users(users, Network::Host);
            let child = spawn::spawn(sh.as_fd(), &script, &[], around, None).expect("it can be made");
            waitid(Id::PIDFd(child.fd.as_fd()), WaitPidFlag::WEXITED).expect("it is our child");
            let told = fs::read_to_string(folder.path().join("told")).expect("it was written");
            told.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let alone = UserMap::only(0);
        assert_eq!(seen(&alone), ["0", "0", "1", "deny"]);
        assert_eq!(seen(&with_others(&folder)), ["0", "0", "1", "1", "100000", "100", "allow"]);
    }

    #[test]
    fn a_range_has_all_users_of_a_task_from_65535_on_besides_the_agents_own() {
        let folder = TempDir::new().expect("a temporary directory");
        let mut map = with_others(&folder);
        for (uids, gids, has_all) in
            [(65_535, 65_535, true), (65_535, 65_534, false), (65_534, 65_536, false)]
        {
            let range = |count| Range { first: 100_000, count };
            let others = map.others.as_mut().expect("it has some");
            (others.uids, others.gids) = (range(uids), range(gids));
            assert_eq!(map.has_all(), has_all, "{uids} {gids}");
        }
        assert!(!UserMap::only(0).has_all());
    }

    #[test]
    fn a_block_is_mapped_whole_and_its_groups_may_be_changed() {
        let users =
            spawn::user_namespace(&UserMap::block(UserRange { first: 524_288 })).expect("we are root");
        let entered = Command::new("nsenter")
            .arg(format!("--user=/proc/{}/fd/{}", std::process::id(), users.as_raw_fd()))
            .args(["cat", "/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups"])
            .output()
            .expect("util-linux is there");
        let told = String::from_utf8_lossy(&entered.stdout);
        let told: Vec<&str> = told.split_whitespace().collect();
        assert_eq!(told, ["0", "524288", "65536", "0", "524288", "65536", "allow"]);
    }

    #[test]
    fn what_cannot_be_mapped_leaves_no_process_and_says_which_program_refused() {
        let folder = TempDir::new().expect("a temporary directory");
        let mut map = with_others(&folder);
        shell(&folder, "printf '#!/bin/sh\\necho not you >&2\\nexit 1\\n' > refuses; chmod 755 refuses");
        map.others.as_mut().expect("it has some").newgidmap = folder.path().join("refuses");
        let error = spawn::user_namespace(&map).expect_err("it is refused").to_string();
        assert!(error.contains("refuses") && error.contains("not you"), "{error}");
    }

    #[test]
    fn what_other_users_of_a_container_left_is_given_back_to_its_root() {
        let folder = TempDir::new().expect("a temporary directory");
        let map = with_others(&folder);
        let sandbox = folder.path().join("sandbox");
        let [inner, file] = ["inner", "inner/file"].map(|path| sandbox.join(path));
        fs::create_dir_all(&inner).expect("it is writable");
        fs::write(&file, "text").expect("it is writable");
        for path in [&file, &inner] {
            chown(path, Some(100_032), Some(100_032)).expect("we are root");
            fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("we are root");
        }
        let owner = |path: &Path| {
            let about = fs::metadata(path).expect("it is there");
            (about.uid(), about.gid())
        };
        UserMap::only(0).take_back(&sandbox).expect("there is nothing to do");
        assert_eq!(owner(&inner), (100_032, 100_032));
        map.take_back(&sandbox).expect("all of it belongs to users of the container");
        assert_eq!([owner(&inner), owner(&file)], [(0, 0); 2]);
    }
}
