//! Users of the machine that are a container's own: whose are free, and as which of them a container runs. Those of an
//! agent that is not root are in `user_map`.
//!
//! A container with users of its own has a block of the machine's numbers in which nobody else acts. Who has which is in
//! the plan of each container, so that an agent that was restarted gives none twice.
//!
//! Files outlive their container, in its sandbox and in volumes, and belong to whoever has its block next. So blocks are
//! given in turn, over restarts too, and one whose sandbox is kept only when there is no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
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

    /// The blocks of so many agents further on: agents of one machine that count from 0 have nothing in common. Refuses one
    /// without room for them.
    pub fn of_agent(self, number: u32) -> Result<UserBlocks, BadStart> {
        let blocks = number.saturating_mul(BLOCKS);
        UserBlocks::new(self.first.saturating_add(blocks.saturating_mul(UserRange::COUNT)))
    }

    /// The machine's number of the first user.
    pub fn first(self) -> u32 {
        self.first
    }

    /// All blocks, each once, from the one after this user's on; from the first without one.
    fn after(self, last: Option<u32>) -> impl Iterator<Item = UserRange> {
        let above = last.and_then(|last| last.checked_sub(self.first));
        let begin = above.map_or(0, |above| above / UserRange::COUNT + 1);
        (0..BLOCKS).map(move |step| {
            let number = (begin + step) % BLOCKS;
            UserRange { first: self.first + number * UserRange::COUNT }
        })
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

/// Whose users are whose.
#[derive(Debug, Default)]
struct Given {
    /// Of containers in which something may act.
    acting: BTreeMap<ContainerId, UserRange>,
    /// Sandboxes that are there, by the first user of the block that files in them belong to. All blocks begin at a multiple
    /// of their size.
    left: BTreeMap<u32, BTreeSet<PathBuf>>,
    /// The first user of the block that was given last.
    last: Option<u32>,
}

impl Given {
    /// The next block in turn in which nobody acts: one that no sandbox has files of, if there is such a one.
    fn next(&self, all: UserBlocks) -> Option<UserRange> {
        // Those of an agent with another start may begin anywhere.
        let apart = |one: &UserRange, other: &UserRange| one.first.abs_diff(other.first) >= UserRange::COUNT;
        let is_free = |block: &UserRange| self.acting.values().all(|other| apart(block, other));
        let is_unused = |block: &UserRange| !self.left.contains_key(&block.first) && is_free(block);
        all.after(self.last).find(is_unused).or_else(|| all.after(self.last).find(is_free))
    }

    fn leave(&mut self, sandbox: &Path, user: u32) {
        let first = user / UserRange::COUNT * UserRange::COUNT;
        // The first block is the machine's, and never given.
        if first > 0 {
            self.left.entry(first).or_default().insert(sandbox.to_owned());
        }
    }
}

/// Which containers have which users.
#[derive(Debug)]
pub struct Taken {
    all: UserBlocks,
    /// Tells the next agent which block was given last.
    file: PathBuf,
    given: Mutex<Given>,
}

impl Taken {
    /// None, going on after the block that this file tells of. It is made when users are given first; without, the first
    /// block comes first.
    pub fn none_of(all: UserBlocks, file: PathBuf) -> Taken {
        let last = match fs::read_to_string(&file) {
            // One that was torn by a crash of the machine tells nothing.
            Ok(text) => text.trim().parse().ok(),
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!(
                        file = %file.display(), %error,
                        "cannot see which users were given to a task last: others begin with the first again"
                    );
                }
                None
            }
        };
        Taken { all, file, given: Mutex::new(Given { last, ..Given::default() }) }
    }

    /// Gives a container users, who leave files in its sandbox. A repeat gives it others.
    pub fn take(&self, id: &ContainerId, sandbox: &Path) -> Result<UserRange, UsersError> {
        let mut given = self.lock();
        let block = given.next(self.all).ok_or(UsersError::NoneLeft)?;
        if given.left.contains_key(&block.first) {
            tracing::warn!(
                container_id = %id, first = block.first,
                "a task gets users to whom files in the sandbox of an earlier one belong, as there are no others; collect \
                 sandboxes sooner (--gc-delay)"
            );
        }
        given.acting.insert(id.clone(), block);
        given.leave(sandbox, block.first);
        given.last = Some(block.first);
        if let Err(error) = self.remember(block) {
            tracing::warn!(
                file = %self.file.display(), %error,
                "cannot write down which users were given: after a restart of the agent they may be given again soon"
            );
        }
        Ok(block)
    }

    /// Whole or not at all.
    fn remember(&self, block: UserRange) -> io::Result<()> {
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, format!("{}\n", block.first))?;
        fs::rename(fresh, &self.file)
    }

    /// A container has had users since an earlier agent. A repeat does nothing.
    pub fn found(&self, id: &ContainerId, users: UserRange) {
        self.lock().acting.insert(id.clone(), users);
    }

    /// Nothing of a container acts any more. A repeat, or one that had none, does nothing.
    pub fn give_back(&self, id: &ContainerId) {
        self.lock().acting.remove(id);
    }

    /// There is a sandbox that belongs to this user of the machine. A repeat does nothing.
    pub fn left(&self, sandbox: &Path, user: u32) {
        self.lock().leave(sandbox, user);
    }

    /// A sandbox was removed. A repeat does nothing.
    pub fn removed(&self, sandbox: &Path) {
        self.lock().left.retain(|_, sandboxes| {
            sandboxes.remove(sandbox);
            !sandboxes.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, Given> {
        // A panic elsewhere leaves it whole: each step of a change is.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
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
    use tempfile::TempDir;

    use super::*;

    fn id(number: u32) -> ContainerId {
        ContainerId::new(format!("c{number}")).expect("a good id")
    }

    fn sandbox(number: u32) -> PathBuf {
        PathBuf::from(format!("/sandboxes/{number}"))
    }

    /// Nobody has any of the usual blocks.
    fn none(folder: &TempDir) -> Taken {
        Taken::none_of(UserBlocks::default(), folder.path().join("last-users"))
    }

    /// The number of the block that a container gets.
    fn take(taken: &Taken, number: u32) -> u32 {
        let users = taken.take(&id(number), &sandbox(number)).expect("it is free");
        (users.first - UserBlocks::default().first) / UserRange::COUNT
    }

    #[test]
    fn blocks_are_given_in_turn_and_again_when_all_others_were() {
        let folder = TempDir::new().expect("a temporary directory");
        let taken = none(&folder);
        for number in 0..BLOCKS {
            assert_eq!(take(&taken, number), number, "not the one that has just become free");
            taken.removed(&sandbox(number));
            // One runs on.
            if number != 1 {
                taken.give_back(&id(number));
                taken.give_back(&id(number));
            }
        }
        let again: Vec<u32> = (0..3).map(|number| take(&taken, BLOCKS + number)).collect();
        assert_eq!(again, [0, 2, 3]);
    }

    #[test]
    fn the_next_agent_goes_on_with_the_turn_and_without_the_file_it_begins_with_the_first_block() {
        let folder = TempDir::new().expect("a temporary directory");
        let taken = none(&folder);
        assert_eq!([take(&taken, 0), take(&taken, 1)], [0, 1]);
        assert_eq!(take(&none(&folder), 2), 2);
        for torn in ["", "x\n"] {
            fs::write(folder.path().join("last-users"), torn).expect("it is writable");
            assert_eq!(take(&none(&folder), 3), 0, "{torn:?}");
        }
        // Those of an agent whose operator had another start.
        for other in [UserRange::COUNT, UserBlocks::LAST] {
            fs::write(folder.path().join("last-users"), other.to_string()).expect("it is writable");
            assert!(take(&none(&folder), 4) < BLOCKS, "{other}");
        }
        // What cannot be written down keeps no task from running.
        fs::remove_file(folder.path().join("last-users")).expect("it is there");
        fs::create_dir_all(folder.path().join("last-users/in-the-way")).expect("it is writable");
        let taken = none(&folder);
        assert_eq!([take(&taken, 5), take(&taken, 6)], [0, 1]);
    }

    #[test]
    fn a_block_that_a_kept_sandbox_has_files_of_is_given_only_when_there_is_no_other() {
        let folder = TempDir::new().expect("a temporary directory");
        let first = UserBlocks::default().first;
        let taken = none(&folder);
        // As an earlier agent has left it: any user of the block may own it.
        taken.left(Path::new("/sandboxes/old"), first + 7);
        taken.left(Path::new("/sandboxes/old"), first + 7);
        // Of a user of the machine; those who have no blocks at all keep none.
        taken.left(Path::new("/sandboxes/other"), first + 2 * UserRange::COUNT + 1);
        taken.left(Path::new("/sandboxes/root"), 0);
        assert_eq!(take(&taken, 0), 1);
        taken.give_back(&id(0));
        for number in 1..BLOCKS - 2 {
            assert_eq!(take(&taken, number), number + 2);
            taken.give_back(&id(number));
        }
        // Now each has a sandbox that is kept.
        assert_eq!(take(&taken, BLOCKS), 0, "the one whose turn it is");
        taken.removed(&sandbox(5));
        taken.removed(&sandbox(5));
        assert_eq!(take(&taken, BLOCKS + 1), 7, "nothing is left there");
    }

    #[test]
    fn a_block_with_more_than_one_sandbox_is_free_of_files_when_all_are_removed() {
        let mut given = Given::default();
        let first = UserBlocks::default().first;
        for name in ["/one", "/other"] {
            given.leave(Path::new(name), first);
        }
        let folder = TempDir::new().expect("a temporary directory");
        let taken = Taken { given: Mutex::new(given), ..none(&folder) };
        taken.removed(Path::new("/one"));
        assert_eq!(take(&taken, 0), 1);
        taken.removed(Path::new("/other"));
        assert!(taken.lock().left.keys().all(|kept| *kept != first));
    }

    #[test]
    fn users_that_an_earlier_agent_gave_are_given_to_nobody_else_wherever_they_begin() {
        let folder = TempDir::new().expect("a temporary directory");
        let taken = none(&folder);
        taken.found(&id(1), UserRange { first: UserBlocks::default().first + 1 });
        assert_eq!(take(&taken, 2), 2, "two blocks have something in common with it");
    }

    #[test]
    fn when_all_users_are_taken_that_is_said() {
        let folder = TempDir::new().expect("a temporary directory");
        let taken = none(&folder);
        for number in 0..BLOCKS {
            take(&taken, number);
        }
        let error = taken.take(&id(BLOCKS), &sandbox(BLOCKS)).expect_err("none is left").to_string();
        assert!(error.contains("all 2048 blocks"), "{error}");
    }

    #[test]
    fn agents_of_one_machine_have_blocks_that_have_nothing_in_common() {
        let first = |number| UserBlocks::default().of_agent(number).map(UserBlocks::first);
        assert_eq!(first(0), Ok(524_288));
        for number in 1..31 {
            let (before, after) = (first(number - 1), first(number));
            assert_eq!(after, before.map(|before| before + BLOCKS * UserRange::COUNT), "{number}");
        }
        for number in [31, u32::MAX] {
            let error = first(number).expect_err("there is no room").to_string();
            assert!(error.contains("multiple of 65536"), "{error}");
        }
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
