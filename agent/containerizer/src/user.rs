//! From the name of a user to numbers.

use std::ffi::CString;
use std::io;

use bourse_init::plan::Identity;
use nix::unistd::{Uid, User, getgrouplist};

use crate::kernel_file;
use crate::spec::Isolation;
use crate::user_map::UserMap;

/// Capabilities that a task of root keeps, by the kernel's numbers: what Docker and containerd leave, less raw sockets
/// and device files. With the others a task could get out of its view of the machine.
const KEPT: [(u32, &str); 11] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (3, "CAP_FOWNER"),
    (4, "CAP_FSETID"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (8, "CAP_SETPCAP"),
    (10, "CAP_NET_BIND_SERVICE"),
    (18, "CAP_SYS_CHROOT"),
    (29, "CAP_AUDIT_WRITE"),
];

/// Whether a task of root keeps the capability of this name.
pub fn keeps(capability: &str) -> bool {
    KEPT.iter().any(|(_, name)| *name == capability)
}

/// A user that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// This machine does not know the user.
    #[error("this machine has no user {0:?}; create it on every agent, or name another user")]
    NoSuchUser(String),
    /// The number with which a process that switches its user says that it stays who it is.
    #[error(
        "user {0:?} has the number {number}, which no user can have: to the kernel it means no change; name \
         another user",
        number = u32::MAX
    )]
    NoChange(String),
    /// The agent does not run as root.
    #[error(
        "the agent runs as uid {agent} and cannot switch to {wanted:?}; run it as root, or name no user: the task then runs \
         as the agent's own"
    )]
    NotRoot {
        /// The agent's own user.
        agent: u32,
        /// The user that was asked for.
        wanted: String,
    },
    /// The user database could not be read.
    #[error("could not look up user {user:?}: {source}; see whether the agent's user database answers")]
    LookUp {
        /// The user that was asked for.
        user: String,
        /// What went wrong.
        source: io::Error,
    },
}

/// The user and the group that own nothing (`user_namespaces(7)`, the overflow ids).
pub const NOBODY: u32 = 65_534;

/// Who a task runs as, as its container counts. `None` is the agent's own user with all it may do, which only process
/// isolation gives. Where containers have users of their own, the agent's own user is root in them, and nobody else is to be
/// had.
pub fn identity(
    user: Option<&str>,
    isolation: Isolation,
    users: Option<&UserMap>,
) -> Result<Option<Identity>, UserError> {
    let agent = nix::unistd::geteuid();
    let (uid, gid, groups) = match user {
        Some(name) => look_up(name)?,
        None => (agent.as_raw(), nix::unistd::getegid().as_raw(), Vec::new()),
    };
    if uid != agent.as_raw() && !agent.is_root() {
        return Err(UserError::NotRoot {
            agent: agent.as_raw(),
            wanted: user.unwrap_or_default().to_owned(),
        });
    }
    let kept = KEPT.iter().fold(0, |set, (number, _)| set | 1 << number);
    match isolation {
        Isolation::Process if uid == agent.as_raw() => Ok(None),
        // They are good for what belongs to the container's users, and a program that is root's may ask for them.
        Isolation::Linux if users.is_some() => {
            Ok(Some(Identity { uid: 0, gid: 0, groups: Vec::new(), capabilities: kept }))
        }
        // The agent cannot hand on what it does not have.
        Isolation::Process | Isolation::Linux => {
            let capabilities = kept & capability_set("CapPrm").unwrap_or(0);
            Ok(Some(Identity { uid, gid, groups, capabilities }))
        }
    }
}

fn look_up(name: &str) -> Result<(u32, u32, Vec<u32>), UserError> {
    let failed = |source: nix::Error| UserError::LookUp { user: name.to_owned(), source: source.into() };
    let by_number = name.parse().ok();
    let found = match by_number {
        Some(uid) => User::from_uid(Uid::from_raw(uid)),
        None => User::from_name(name),
    };
    let (uid, gid, groups) = match (found.map_err(failed)?, by_number) {
        (Some(user), _) => {
            let c_name = CString::new(user.name).map_err(|_| UserError::NoSuchUser(name.to_owned()))?;
            let groups = getgrouplist(&c_name, user.gid).map_err(failed)?;
            (user.uid.as_raw(), user.gid.as_raw(), groups.into_iter().map(|gid| gid.as_raw()).collect())
        }
        // A number needs no entry: images and shared file systems have users that the machine does not know. The group of
        // the same number may be somebody's, with rights of its own.
        (None, Some(uid)) => (uid, NOBODY, Vec::new()),
        (None, None) => return Err(UserError::NoSuchUser(name.to_owned())),
    };
    match uid == u32::MAX || gid == u32::MAX {
        true => Err(UserError::NoChange(name.to_owned())),
        false => Ok((uid, gid, groups)),
    }
}

/// A set of capabilities of this thread, as threads have their own, by its name in `/proc/thread-self/status`.
pub fn capability_set(name: &str) -> Option<u64> {
    let status = kernel_file::read("/proc/thread-self/status").ok()?;
    let text = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":"))?;
    u64::from_str_radix(text.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_its_number_are_the_same_user() {
        let by_name = look_up("root").expect("every machine has root");
        assert_eq!(by_name.0, 0);
        assert_eq!(look_up("0").expect("every machine has root"), by_name);
    }

    #[test]
    fn an_unknown_name_is_refused_with_advice_and_an_unknown_number_is_taken() {
        let error = look_up("no-such-user-here").expect_err("nobody is called that");
        assert!(error.to_string().contains("create it on every agent"), "{error}");
        assert_eq!(look_up("3999999999").expect("a number needs no entry"), (3_999_999_999, NOBODY, vec![]));
    }

    #[test]
    fn the_number_that_means_no_change_to_the_kernel_is_no_user() {
        let error = look_up("4294967295").expect_err("it would stay root");
        assert!(error.to_string().contains("no user can have"), "{error}");
    }

    #[test]
    fn process_isolation_without_a_user_changes_nothing() {
        assert_eq!(identity(None, Isolation::Process, None).expect("nothing is asked for"), None);
    }

    #[test]
    fn where_containers_have_users_of_their_own_a_task_is_root_in_its_container_and_in_no_group() {
        let users = UserMap::only(0);
        let is = identity(None, Isolation::Linux, Some(&users)).expect("nobody is asked for");
        let is = is.expect("it is somebody");
        assert_eq!((is.uid, is.gid, is.groups), (0, 0, vec![]));
        assert_eq!(is.capabilities.count_ones() as usize, KEPT.len());
        assert_eq!(identity(None, Isolation::Process, Some(&users)).expect("nobody is asked for"), None);
    }
}
