//! Users of the machine that are a container's own: whose are free, and as which of them a container runs. Those of an
//! agent that is not root are in `user_map`.
//!
//! A container with users of its own has a block of the machine's numbers in which nobody else acts. Who has which is in
//! the plan of each container, so that an agent that was restarted gives none twice.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bourse_init::plan::{Identity, UserRange};
use bourse_types::ContainerId;

/// So many containers of one agent can have users of their own at a time: a few more than an agent has tasks.
pub const BLOCKS: u32 = 2048;

/// The numbers of the machine's users, and groups, that are given to containers: [`BLOCKS`] blocks of
/// [`UserRange::COUNT`], one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserBlocks {
    first: u32,
}

/// A number at which no blocks begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is no start for the users of tasks; take a multiple of 65536 from 65536 to {most}, such as 524288",
    most = UserBlocks::LAST
)]
pub struct BadStart(u32);

impl UserBlocks {
    /// The last start with room for all blocks.
    const LAST: u32 = u32::MAX - UserRange::COUNT * (BLOCKS + 1) + 1;

    /// Blocks from this number on. Refuses one within the first block, whose users are the machine's, one that is not a
    /// multiple of the size of a block, as others who give such blocks take those (systemd-nspawn(1)), and one without room
    /// for all of them before the last block, whose last number is no user.
    pub fn new(first: u32) -> Result<UserBlocks, BadStart> {
        let has_room = (UserRange::COUNT..=UserBlocks::LAST).contains(&first);
        match has_room && first.is_multiple_of(UserRange::COUNT) {
            true => Ok(UserBlocks { first }),
            false => Err(BadStart(first)),
        }
    }

    /// The block of the lowest number that has nothing in common with those that are taken.
    fn lowest_free(self, taken: &BTreeMap<ContainerId, UserRange>) -> Option<UserRange> {
        let mut all = (0..BLOCKS).map(|block| UserRange { first: self.first + block * UserRange::COUNT });
        // Those of an agent with another start may begin anywhere.
        let apart = |one: UserRange, other: UserRange| one.first.abs_diff(other.first) >= UserRange::COUNT;
        all.find(|free| taken.values().all(|other| apart(*free, *other)))
    }
}

/// Where systemd-nspawn begins, too: above the users of people and services, and of most of what subuid(5) gives them.
impl Default for UserBlocks {
    fn default() -> UserBlocks {
        UserBlocks { first: 524_288 }
    }
}

/// Why a container cannot have users of its own.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// All blocks are taken.
    #[error("all {BLOCKS} blocks of users that this agent gives are taken; end a task with users of its own")]
    NoneLeft,
    /// The agent is not root, and was given too few.
    #[error(
        "the agent is not root and has no right to map as many users; run it as root, or have a range of 65536 given to its \
         user in /etc/subuid and /etc/subgid (docs/operating.md, Without root)"
    )]
    NotRoot,
    /// The kernel makes none.
    #[error(
        "its user namespace could not be made ({0}); run the agent as root and not in a chroot, and see \
         /proc/sys/user/max_user_namespaces"
    )]
    Namespace(#[source] io::Error),
    /// A user that is none of the container's.
    #[error(
        "user {uid} with group {gid} is none of its users, which go from 0 to {most}; name another user",
        most = UserRange::COUNT - 1
    )]
    Beyond {
        /// The user that was asked for.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// Which containers have which users.
#[derive(Debug)]
pub struct Taken {
    all: UserBlocks,
    of: Mutex<BTreeMap<ContainerId, UserRange>>,
}

impl Taken {
    /// None.
    pub fn none_of(all: UserBlocks) -> Taken {
        Taken { all, of: Mutex::default() }
    }

    /// Gives a container users. A repeat gives it others.
    pub fn take(&self, id: &ContainerId) -> Result<UserRange, UsersError> {
        let mut of = self.lock();
        let free = self.all.lowest_free(&of).ok_or(UsersError::NoneLeft)?;
        of.insert(id.clone(), free);
        Ok(free)
    }

    /// A container has had users since an earlier agent. A repeat does nothing.
    pub fn found(&self, id: &ContainerId, users: UserRange) {
        self.lock().insert(id.clone(), users);
    }

    /// Nothing of a container acts any more. A repeat, or one that had none, does nothing.
    pub fn give_back(&self, id: &ContainerId) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ContainerId, UserRange>> {
        // Each change is one insertion or removal: a panic elsewhere leaves it whole.
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who a container with users of its own runs as, in its own numbers. Groups that are none of its own are left out.
pub fn among_own(identity: Identity) -> Result<Identity, UsersError> {
    let Identity { uid, gid, groups, capabilities } = identity;
    let is_own = |id: &u32| *id < UserRange::COUNT;
    match is_own(&uid) && is_own(&gid) {
        true => Ok(Identity { uid, gid, groups: groups.into_iter().filter(is_own).collect(), capabilities }),
        false => Err(UsersError::Beyond { uid, gid }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> ContainerId {
        ContainerId::new(format!("c{number}")).expect("a good id")
    }

    #[test]
    fn a_container_gets_the_lowest_users_that_no_other_has() {
        let first = UserBlocks::default().first;
        let taken = Taken::none_of(UserBlocks::default());
        let block = |number: u32| first + number * UserRange::COUNT;
        for number in 0..3 {
            assert_eq!(taken.take(&id(number)).expect("it is free").first, block(number));
        }
        taken.give_back(&id(1));
        taken.give_back(&id(1));
        assert_eq!(taken.take(&id(3)).expect("it is free").first, block(1));
    }

    #[test]
    fn users_that_an_earlier_agent_gave_are_given_to_nobody_else_wherever_they_begin() {
        let taken = Taken::none_of(UserBlocks::default());
        let first = UserBlocks::default().first;
        taken.found(&id(1), UserRange { first: first + 1 });
        let next = taken.take(&id(2)).expect("it is free").first;
        assert_eq!(next, first + 2 * UserRange::COUNT, "two blocks have something in common with it");
    }

    #[test]
    fn when_all_users_are_taken_that_is_said() {
        let taken = Taken::none_of(UserBlocks::default());
        for number in 0..BLOCKS {
            taken.take(&id(number)).expect("it is free");
        }
        let error = taken.take(&id(BLOCKS)).expect_err("none is left").to_string();
        assert!(error.contains("all 2048 blocks"), "{error}");
    }

    #[test]
    fn a_user_beyond_those_of_the_container_is_refused_and_such_a_group_is_left_out() {
        let who = |uid, gid| Identity { uid, gid, groups: vec![5, 65_536, 65_535], capabilities: 1 };
        assert_eq!(among_own(who(0, 65_535)).expect("both are there").groups, [5, 65_535]);
        for (uid, gid) in [(65_536, 0), (0, 70_000)] {
            let error = among_own(who(uid, gid)).expect_err("it is none of them").to_string();
            assert!(error.contains("from 0 to 65535"), "{error}");
        }
    }

    #[test]
    fn blocks_begin_where_others_begin_theirs_and_end_before_the_number_that_is_no_user() {
        assert_eq!(UserBlocks::new(524_288), Ok(UserBlocks::default()));
        for bad in [0, 1, 65_535, 100_000, u32::MAX, UserBlocks::LAST + UserRange::COUNT] {
            let error = UserBlocks::new(bad).expect_err("it is no start").to_string();
            assert!(error.contains("multiple of 65536"), "{error}");
        }
        let last = UserBlocks::new(UserBlocks::LAST).expect("there is room");
        let end = u64::from(last.first) + u64::from(BLOCKS) * u64::from(UserRange::COUNT);
        assert_eq!(end + u64::from(UserRange::COUNT), 1 << 32);
    }
}
