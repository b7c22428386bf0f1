//! Turns: which links are read before their agents have registered, and what these may hold meanwhile.
//!
//! Whoever has registered is in the core's account. Until then somebody with any agent's token may send what he likes, as
//! slowly as he likes, by as many links as he likes; so what is read of links at a time has a bound in links and in bytes,
//! and one principal has at most half of both. Whoever waits for his turn is not read, and holds nothing here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bourse_proto::agent_link as wire;
use bourse_proto::v1;
use bourse_types::Principal;
use prost::Message as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tonic::Status;

/// Who waits longer for his turn is told so before he gives up by himself: an agent does after 30 s.
const TURN_TIMEOUT: Duration = Duration::from_secs(20);

/// The same for room for a large registration.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);

/// How much at a time. Bytes are those that something takes in memory here, and come in units of [`UNIT`].
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Links of one principal, registered or not.
    links: usize,
    /// Links that are read before their agents have registered.
    turns: usize,
    /// Bytes that each of them may hold in any case.
    included: usize,
    /// Bytes that they may hold beyond that, all together. Half of it is what one registration may have.
    room: usize,
}

/// All agents of the largest cluster may come back within a second with one token, and an ordinary registration is read
/// within a millisecond of its turn. The largest that an agent of ours sends has 2,000 tasks of 256 KiB.
const BOUNDS: Bounds = Bounds { links: 65_536, turns: 128, included: 1 << 20, room: 1 << 30 };

/// One permit of room.
const UNIT: usize = 1 << 10;

/// The turns of all agents. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::serve) struct Turns {
    bounds: Bounds,
    all: Arc<Share>,
    /// A leaf lock, held for a look.
    principals: Arc<Mutex<BTreeMap<Principal, OfOne>>>,
}

/// What is left.
#[derive(Debug)]
struct Share {
    turns: Semaphore,
    room: Semaphore,
}

/// What one principal has.
#[derive(Debug)]
struct OfOne {
    links: usize,
    share: Arc<Share>,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns::of(BOUNDS)
    }
}

impl Share {
    fn of(turns: usize, room: usize) -> Arc<Share> {
        Arc::new(Share { turns: Semaphore::new(turns), room: Semaphore::new(room / UNIT) })
    }
}

impl Turns {
    fn of(bounds: Bounds) -> Turns {
        Turns { bounds, all: Share::of(bounds.turns, bounds.room), principals: Arc::default() }
    }

    /// One more link of this principal, until the answer is dropped.
    ///
    /// # Errors
    ///
    /// RESOURCE_EXHAUSTED, when it has too many.
    pub(super) fn admit(&self, principal: &Principal) -> Result<Admission, Status> {
        let mut principals = self.principals.lock().unwrap_or_else(PoisonError::into_inner);
        let Bounds { links, turns, room, .. } = self.bounds;
        let new = || OfOne { links: 0, share: Share::of(turns / 2, room / 2) };
        let of_one = principals.entry(principal.clone()).or_insert_with(new);
        if of_one.links >= links {
            return Err(Status::resource_exhausted(format!(
                "principal {principal} has {links} links, and may not have more; give agents principals of their own"
            )));
        }
        of_one.links += 1;
        Ok(Admission { turns: self.clone(), principal: principal.clone(), share: of_one.share.clone() })
    }
}

/// A link that is open.
#[derive(Debug)]
pub(super) struct Admission {
    turns: Turns,
    principal: Principal,
    /// Its principal's.
    share: Arc<Share>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut principals = self.turns.principals.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = principals.get_mut(&self.principal).expect("it has this link");
        of_one.links -= 1;
        if of_one.links == 0 {
            principals.remove(&self.principal);
        }
    }
}

impl Admission {
    /// Waits until the link may be read.
    ///
    /// # Errors
    ///
    /// RESOURCE_EXHAUSTED, when that does not come soon.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, Status> {
        // Its principal's own first: whoever waits for that takes no turn of others meanwhile.
        let both = async { [permits(&self.share.turns, 1).await, permits(&self.turns.all.turns, 1).await] };
        let permits = timeout(TURN_TIMEOUT, both).await.map_err(|_| {
            Status::resource_exhausted(format!(
                "too many agents register: there are turns for {}, for {} of one principal, and none was free within {} s; \
                 come back",
                self.turns.bounds.turns,
                self.turns.bounds.turns / 2,
                TURN_TIMEOUT.as_secs()
            ))
        })?;
        Ok(Turn { admission: self, bytes: 0, units: 0, permits: permits.into() })
    }
}

/// A link's turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    admission: &'a Admission,
    /// What the registration holds so far, and the units of room that were taken for it.
    bytes: usize,
    units: usize,
    permits: Vec<SemaphorePermit<'a>>,
}

impl Turn<'_> {
    /// The registration has so many bytes more.
    ///
    /// # Errors
    ///
    /// RESOURCE_EXHAUSTED, when it is too large, or there is no room for it soon.
    pub(super) async fn holds(&mut self, more: usize) -> Result<(), Status> {
        let Admission { turns: Turns { bounds, all, .. }, share, .. } = self.admission;
        let most = bounds.room / 2;
        self.bytes = self.bytes.saturating_add(more);
        if self.bytes > most {
            return Err(Status::resource_exhausted(format!(
                "the registration takes more than {} MiB; no agent runs so many tasks",
                most >> 20
            )));
        }
        let units = self.bytes.saturating_sub(bounds.included).div_ceil(UNIT);
        let missing = u32::try_from(units - self.units).expect("the bound of all is less");
        if missing == 0 {
            return Ok(());
        }
        let both = async { [permits(&share.room, missing).await, permits(&all.room, missing).await] };
        let taken = timeout(ROOM_TIMEOUT, both).await.map_err(|_| {
            Status::resource_exhausted(format!(
                "too many large registrations: there is room for {} MiB, for {} MiB of one principal, and none was free \
                 within {} s; come back",
                bounds.room >> 20,
                most >> 20,
                ROOM_TIMEOUT.as_secs()
            ))
        })?;
        self.units = units;
        self.permits.extend(taken);
        Ok(())
    }
}

async fn permits(semaphore: &Semaphore, count: u32) -> SemaphorePermit<'_> {
    semaphore.acquire_many(count).await.expect("nobody closes it")
}

/// About what the first part of a registration takes in memory.
pub(super) fn weight_of_register(register: &wire::Register) -> usize {
    let info = register.info.as_ref();
    register.encoded_len()
        + info.map_or(0, |info| size_of_val(&*info.resources) + size_of_val(&*info.attributes))
        + weight_of_reports(&register.tasks, &register.frameworks)
}

/// About what a page of it takes.
pub(super) fn weight_of_page(page: &wire::RegisterPage) -> usize {
    page.encoded_len() + weight_of_reports(&page.tasks, &page.frameworks)
}

/// A record of which nothing is said has two bytes on the wire, and hundreds here.
fn weight_of_reports(tasks: &[wire::TaskReport], frameworks: &[v1::FrameworkInfo]) -> usize {
    let resources = |task: &wire::TaskReport| size_of_val(&*task.resources);
    size_of_val(tasks) + size_of_val(frameworks) + tasks.iter().map(resources).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use tonic::Code;

    use super::*;

    fn principal(name: &str) -> Principal {
        Principal::new(name).expect("a name")
    }

    /// Four turns and 8 KiB, of which 1 KiB comes with each turn.
    fn small() -> Turns {
        Turns::of(Bounds { links: 8, turns: 4, included: UNIT, room: 8 * UNIT })
    }

    /// What comes of it without waiting; `None`: it waits.
    fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn one_principal_has_half_of_the_turns_and_each_comes_back_when_it_is_over() {
        let turns = small();
        let (greedy, honest) = (principal("greedy"), principal("honest"));
        let links: Vec<Admission> = (0..3).map(|_| turns.admit(&greedy).expect("few")).collect();
        let first = links[0].turn().await.expect("there are four");
        let _second = links[1].turn().await.expect("there are four");
        assert!(at_once(links[2].turn()).is_none(), "it has two of four");
        let other = turns.admit(&honest).expect("few");
        assert!(at_once(other.turn()).is_some_and(|turn| turn.is_ok()), "somebody else does not wait");
        drop(first);
        assert!(at_once(links[2].turn()).is_some_and(|turn| turn.is_ok()), "one is free again");
    }

    #[tokio::test]
    async fn a_registration_has_room_by_what_it_takes_in_memory_and_leaves_it_when_its_turn_is_over() {
        let turns = small();
        let (greedy, honest) = (principal("greedy"), principal("honest"));
        let (one, two) = (turns.admit(&greedy).expect("few"), turns.admit(&greedy).expect("few"));
        let (mut first, mut second) = (one.turn().await.expect("free"), two.turn().await.expect("free"));
        first
            .holds(3 * UNIT)
            .await
            .expect("1 KiB comes with the turn, and there are 4 KiB for the principal");
        second.holds(UNIT).await.expect("that comes with the turn");
        assert!(at_once(second.holds(3 * UNIT)).is_none(), "2 KiB are left to the principal");
        let other = turns.admit(&honest).expect("few");
        let mut other = other.turn().await.expect("free");
        assert!(at_once(other.holds(4 * UNIT)).is_some_and(|held| held.is_ok()), "half is somebody else's");
        let refused = other.holds(1).await.expect_err("half of all is the most");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        drop(first);
        drop(second);
        let mut again = two.turn().await.expect("free");
        assert!(at_once(again.holds(4 * UNIT)).is_some_and(|held| held.is_ok()), "all of it is back");
    }

    #[tokio::test]
    async fn a_principal_has_so_many_links_and_no_more_and_is_forgotten_with_the_last() {
        let turns = small();
        let links: Vec<Admission> = (0..8).map(|_| turns.admit(&principal("a")).expect("eight")).collect();
        let refused = turns.admit(&principal("a")).expect_err("the ninth");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("principal a has 8 links"), "{}", refused.message());
        turns.admit(&principal("b")).expect("somebody else's first");
        drop(links);
        turns.admit(&principal("a")).expect("all are gone");
        assert!(turns.principals.lock().expect("no panic").is_empty());
    }

    #[test]
    fn a_page_of_empty_records_counts_for_what_it_takes_in_memory() {
        let page = wire::RegisterPage {
            tasks: vec![wire::TaskReport::default(); 1_000],
            frameworks: vec![v1::FrameworkInfo::default(); 1_000],
            more: false,
        };
        assert_eq!(page.encoded_len(), 4_000);
        let least = 1_000 * (size_of::<wire::TaskReport>() + size_of::<v1::FrameworkInfo>());
        assert!(weight_of_page(&page) > least, "{}", weight_of_page(&page));
        let info = v1::AgentInfo { resources: vec![v1::Resource::default(); 1_000], ..Default::default() };
        let register = wire::Register { info: Some(info), ..Default::default() };
        assert!(weight_of_register(&register) > 1_000 * size_of::<v1::Resource>());
    }
}
