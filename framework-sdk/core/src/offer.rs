//! Offers: what is on one agent for one role, and cutting tasks out of it.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use bourse_types::{
    Address, AgentId, Attributes, BadCommand, FrameworkId, Milli, Name, OfferId, Ranges, Resource,
    ResourceKey, Resources, Role, Size, TaskId, TaskSpec, Wall,
};

use crate::calls::Resize;
use crate::task::Task;

/// An offer as it comes from the master.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferMade {
    /// Its id.
    pub id: OfferId,
    /// Whose resources.
    pub agent: AgentId,
    /// The agent's host name.
    pub hostname: String,
    /// Where the agent's API is.
    pub address: Option<Address>,
    /// What the agent says about itself.
    pub attributes: Attributes,
    /// For which of the framework's roles.
    pub role: Role,
    /// What is offered.
    pub resources: Resources,
    /// The agent will be away from then on.
    pub unavailable_from: Option<Wall>,
}

/// Resources of one agent, to be used at most once.
///
/// Tasks are put into it by [`Offer::launch`]; what is left shrinks. It is answered when it is handed back by
/// [`Calls::accept`](crate::Calls::accept) or [`Calls::decline`](crate::Calls::decline), or goes out of scope: with its
/// tasks if there are any, and as declined if not. It may be kept for later, but what is kept is given to nobody else.
pub struct Offer {
    made: OfferMade,
    framework: FrameworkId,
    /// Its own id, and those that were joined. Empty once it is answered.
    ids: Vec<OfferId>,
    left: Resources,
    tasks: Vec<TaskSpec>,
    resizes: Vec<Resize>,
    bin: Bin,
}

/// A task was put into an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The task that was put into the offer.
    pub task: TaskId,
    /// On which agent.
    pub agent: AgentId,
    /// What it was given, piece by piece.
    pub resources: Resources,
    /// The ports among them, lowest first: those of `PORT0`, `PORT1` and so on.
    pub ports: Ranges,
}

/// A task was not put into an offer; the offer is as it was.
#[derive(Debug, thiserror::Error)]
#[error("task {} is not launched: {why}", task.id)]
pub struct NotLaunched {
    /// The task, for the next offer.
    pub task: Task,
    /// What is in the way.
    #[source]
    pub why: WhyNot,
}

/// The offer has too little for a resize, and is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "task {task} is not resized: it is to have {wanted} in place of {has}, and {hostname} has {left} left in this offer; \
     wait for a larger offer, or want less"
)]
pub struct NotResized {
    /// The task.
    pub task: TaskId,
    /// What it has.
    pub has: Resources,
    /// The amounts that it is to have.
    pub wanted: Resources,
    /// What the offer has left.
    pub left: Resources,
    /// Whose offer.
    pub hostname: String,
}

/// What is in the way of a launch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyNot {
    /// The offer has too little.
    #[error(
        "it wants {wanted}, and {hostname} has {left} left in this offer; wait for a larger offer, or want less"
    )]
    NoRoom {
        /// What the task wants.
        wanted: Resources,
        /// What the offer has left.
        left: Resources,
        /// Whose offer.
        hostname: String,
    },
    /// The master refuses a task without resources.
    #[error("it wants no resources; give it at least some cpus and memory")]
    NothingWanted,
    /// Nothing can run the command.
    #[error(transparent)]
    Command(#[from] BadCommand),
    /// There is such a task in this offer already.
    #[error("its id is used by another task of this offer; take a new one from Calls::task_id")]
    IdTwice,
}

/// What came back of an offer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub ids: Vec<OfferId>,
    pub tasks: Vec<TaskSpec>,
    pub resizes: Vec<Resize>,
}

/// Where offers go that were let go. A lock, as an offer may be dropped on any thread; it is held for one push.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bin(Arc<Mutex<Vec<Answer>>>);

impl Bin {
    fn put(&self, answer: Answer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
    }

    /// All that was let go since, in that order.
    pub(crate) fn empty(&self) -> Vec<Answer> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Offer {
    pub(crate) fn new(made: OfferMade, framework: FrameworkId, bin: Bin) -> Offer {
        let (ids, left) = (vec![made.id.clone()], made.resources.clone());
        Offer { made, framework, ids, left, tasks: Vec::new(), resizes: Vec::new(), bin }
    }

    /// Its id, as [`Event::Rescinded`](crate::Event::Rescinded) names it.
    pub fn id(&self) -> &OfferId {
        &self.made.id
    }

    /// Whose resources.
    pub fn agent(&self) -> &AgentId {
        &self.made.agent
    }

    /// The agent's host name, for people and for spreading.
    pub fn hostname(&self) -> &str {
        &self.made.hostname
    }

    /// Where the agent's API is, if it said so.
    pub fn address(&self) -> Option<&Address> {
        self.made.address.as_ref()
    }

    /// What the agent says about itself: rack, zone, kind of disk.
    pub fn attributes(&self) -> &Attributes {
        &self.made.attributes
    }

    /// For which of the framework's roles.
    pub fn role(&self) -> &Role {
        &self.made.role
    }

    /// The agent will be away from then on: a task that cannot end by then should run elsewhere.
    pub fn unavailable_from(&self) -> Option<Wall> {
        self.made.unavailable_from
    }

    /// What no task was given yet.
    pub fn left(&self) -> &Resources {
        &self.left
    }

    /// The tasks put into it so far.
    pub fn tasks(&self) -> &[TaskSpec] {
        &self.tasks
    }

    /// The pieces of what is left that make up `wanted`, reserved ones first; `None` when something is missing. Takes
    /// nothing.
    pub fn share(&self, wanted: &Resources) -> Option<Resources> {
        self.left.find(wanted, &self.made.role)
    }

    /// Whether the task would find its resources here.
    pub fn fits(&self, task: &Task) -> bool {
        self.pieces(task).is_some()
    }

    /// Puts a task into the offer, with exactly the resources that it wants. It starts when the offer is accepted.
    ///
    /// An `Err` gives the task back and leaves the offer as it was.
    pub fn launch(&mut self, task: Task) -> Result<Placed, Box<NotLaunched>> {
        if let Err(why) = self.check(&task) {
            return Err(Box::new(NotLaunched { task, why }));
        }
        match self.pieces(&task).and_then(|pieces| Some((self.left.checked_sub(&pieces)?, pieces))) {
            Some((left, pieces)) => {
                self.left = left;
                Ok(self.place(task, pieces))
            }
            None => {
                let (mut wanted, left) = (task.wanted.clone(), self.left.clone());
                if task.ports > 0 {
                    // Which ones does not matter: it reads as a count.
                    wanted.insert(Resource::ranges(Name::ports(), Ranges::from_iter([1..=task.ports])));
                }
                let hostname = self.made.hostname.clone();
                Err(Box::new(NotLaunched { task, why: WhyNot::NoRoom { wanted, left, hostname } }))
            }
        }
    }

    /// Gives a running task of this agent and role other amounts when the offer is accepted: what it gains is taken out of
    /// the offer, what it gives up is offered again once its agent has said that it is done.
    ///
    /// `has` is what the task has now: as it was placed, or as the last update with a `size` said. `wanted` are the amounts
    /// that change, such as `cpus:2; mem:256`; the others stay, and so do ports and volumes. `limits` are all its limits from
    /// then on, as at the launch. It is answered as [`Calls::shrink`](crate::Calls::shrink) is.
    ///
    /// An `Err` leaves the offer as it was.
    pub fn resize(
        &mut self,
        task: &TaskId,
        has: &Resources,
        wanted: &Resources,
        limits: BTreeMap<Name, Option<Milli>>,
    ) -> Result<Size, Box<NotResized>> {
        let Some((resources, left)) = resized(has, &self.left, wanted, &self.made.role) else {
            return Err(Box::new(NotResized {
                task: task.clone(),
                has: has.clone(),
                wanted: wanted.clone(),
                left: self.left.clone(),
                hostname: self.made.hostname.clone(),
            }));
        };
        self.left = left;
        let size = Size { resources, limits };
        self.resizes.push(Resize { task: task.clone(), size: size.clone() });
        Ok(size)
    }

    /// Makes one offer of two, for a task that neither has room for. Both must be of one agent and one role; `Err` gives
    /// the other one back otherwise.
    pub fn join(&mut self, mut other: Offer) -> Result<(), Box<Offer>> {
        if self.made.agent != other.made.agent || self.made.role != other.made.role {
            return Err(Box::new(other));
        }
        self.left.add(&other.left);
        self.ids.append(&mut other.ids);
        self.tasks.append(&mut other.tasks);
        self.resizes.append(&mut other.resizes);
        Ok(())
    }

    pub(crate) fn answer(mut self) -> Answer {
        self.take()
    }

    fn take(&mut self) -> Answer {
        Answer {
            ids: mem::take(&mut self.ids),
            tasks: mem::take(&mut self.tasks),
            resizes: mem::take(&mut self.resizes),
        }
    }

    fn check(&self, task: &Task) -> Result<(), WhyNot> {
        task.command.check()?;
        if task.wanted.is_empty() && task.ports == 0 {
            return Err(WhyNot::NothingWanted);
        }
        if self.tasks.iter().any(|other| other.id == task.id) {
            return Err(WhyNot::IdTwice);
        }
        Ok(())
    }

    fn pieces(&self, task: &Task) -> Option<Resources> {
        let mut wanted = task.wanted.clone();
        if task.ports > 0 {
            let ports = self.left.ports().difference(&wanted.ports()).take(task.ports);
            if ports.len() < task.ports {
                return None;
            }
            wanted.insert(Resource::ranges(Name::ports(), ports));
        }
        self.share(&wanted)
    }

    fn place(&mut self, task: Task, resources: Resources) -> Placed {
        let placed = Placed {
            task: task.id.clone(),
            agent: self.made.agent.clone(),
            ports: resources.ports(),
            resources: resources.clone(),
        };
        self.tasks.push(TaskSpec {
            id: task.id,
            name: task.name,
            framework: self.framework.clone(),
            agent: self.made.agent.clone(),
            role: self.made.role.clone(),
            resources,
            limits: task.limits,
            controls: task.controls,
            exclusive_cpus: task.exclusive_cpus,
            command: task.command,
            rootfs: task.rootfs,
            volumes: task.volumes,
            namespaces: task.namespaces,
            health: task.health,
            kill_policy: task.kill_policy,
            max_completion_time: task.max_completion_time,
            labels: task.labels,
        });
        placed
    }
}

/// What a task that holds `has` would hold with the amounts that `wanted` names, and what would be left of `left`, which is
/// offered to its role; `None`: there is too little. Ports, volumes and the amounts that are not named stay.
pub fn resized(
    has: &Resources,
    left: &Resources,
    wanted: &Resources,
    role: &Role,
) -> Option<(Resources, Resources)> {
    let changes = |key: &ResourceKey| !key.is_whole() && wanted.iter().any(|want| want.key.name == key.name);
    let mut pool = has.filter(changes);
    pool.add(left);
    let pieces = pool.find(wanted, role)?;
    let mut resources = has.filter(|key| !changes(key));
    resources.add(&pieces);
    let left = left.checked_sub(&resources.saturating_sub(has))?;
    Some((resources, left))
}

/// Letting an offer go is an answer too.
impl Drop for Offer {
    fn drop(&mut self) {
        if !self.ids.is_empty() {
            let answer = self.take();
            self.bin.put(answer);
        }
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Offer({} of {}: {} left, {} tasks)",
            self.made.id,
            self.made.hostname,
            self.left,
            self.tasks.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offer_of(id: &str, agent: &str, resources: &str) -> Offer {
        let made = OfferMade {
            id: OfferId::new(id).expect("valid"),
            agent: AgentId::new(agent).expect("valid"),
            hostname: format!("{agent}.example"),
            address: None,
            attributes: Attributes::default(),
            role: Role::new("web").expect("valid"),
            resources: resources.parse().expect("valid"),
            unavailable_from: None,
        };
        Offer::new(made, FrameworkId::new("f").expect("valid"), Bin::default())
    }

    fn task(id: &str) -> Task {
        Task::new(TaskId::new(id).expect("valid")).command("true").cpus(Milli::new(500)).mem_mib(64)
    }

    #[test]
    fn a_task_takes_exactly_what_it_wants_and_reserved_pieces_first() {
        let mut offer = offer_of("o", "a", "cpus:1; cpus(web):0.2; mem:128; ports:[31000-31009]");
        let placed = offer.launch(task("t").ports(2)).expect("there is room");
        assert_eq!(placed.resources.to_string(), "cpus:0.3; cpus(web):0.2; mem:64; ports:[31000-31001]");
        assert_eq!(placed.ports.to_string(), "[31000-31001]");
        assert_eq!(offer.left().to_string(), "cpus:0.7; mem:64; ports:[31002-31009]");
    }

    #[test]
    fn a_task_that_does_not_fit_comes_back_and_the_offer_is_as_it_was() {
        let mut offer = offer_of("o", "a", "cpus:1; mem:32");
        let refused = offer.launch(task("t")).expect_err("too little memory");
        assert_eq!(
            refused.to_string(),
            "task t is not launched: it wants cpus:0.5; mem:64, and a.example has cpus:1; mem:32 left in this offer; \
             wait for a larger offer, or want less"
        );
        assert_eq!(refused.task, task("t"));
        assert_eq!(offer.left().to_string(), "cpus:1; mem:32");
        let none = Task::new(TaskId::new("u").expect("valid")).command("true");
        assert_eq!(offer.launch(none).expect_err("nothing wanted").why, WhyNot::NothingWanted);
        assert!(matches!(
            offer.launch(task("u").command("")).expect_err("no command").why,
            WhyNot::Command(_)
        ));
    }

    #[test]
    fn a_resize_takes_what_the_task_gains_and_keeps_what_is_not_named() {
        let mut offer = offer_of("o", "a", "cpus:1; cpus(web):0.5; mem:64; ports:[31000-31009]");
        let id = TaskId::new("t").expect("valid");
        let of = |text: &str| -> Resources { text.parse().expect("valid") };
        let has = of("cpus:0.5; mem:64; ports:[31500-31500]");
        let limits = BTreeMap::from([(Name::mem(), Some(Milli::whole(256)))]);
        let size = offer.resize(&id, &has, &of("cpus:1.2"), limits.clone()).expect("there is room");
        assert_eq!(size.resources.to_string(), "cpus:0.7; cpus(web):0.5; mem:64; ports:[31500-31500]");
        assert_eq!(size.limits, limits);
        assert_eq!(offer.left().to_string(), "cpus:0.8; mem:64; ports:[31000-31009]");
        // Less needs nothing of the offer.
        let less = offer.resize(&id, &has, &of("cpus:0.2; mem:32"), BTreeMap::new()).expect("there is room");
        assert_eq!(less.resources.to_string(), "cpus:0.2; mem:32; ports:[31500-31500]");
        assert_eq!(offer.left().to_string(), "cpus:0.8; mem:64; ports:[31000-31009]");
        let refused = offer.resize(&id, &has, &of("mem:200"), BTreeMap::new()).expect_err("too much");
        assert_eq!(
            refused.to_string(),
            "task t is not resized: it is to have mem:200 in place of cpus:0.5; mem:64; ports:[31500-31500], and \
             a.example has cpus:0.8; mem:64; ports:[31000-31009] left in this offer; wait for a larger offer, or want less"
        );
        assert_eq!(offer.answer().resizes.len(), 2);
    }

    #[test]
    fn ports_run_out_like_anything_else() {
        let mut offer = offer_of("o", "a", "cpus:4; mem:1024; ports:[1-3]");
        assert!(offer.launch(task("t").ports(2)).is_ok());
        assert!(matches!(
            offer.launch(task("u").ports(2)).expect_err("one is left").why,
            WhyNot::NoRoom { .. }
        ));
        assert!(offer.launch(task("u").ports(1)).is_ok());
    }

    #[test]
    fn an_offer_that_is_let_go_is_answered_once() {
        let mut offer = offer_of("o", "a", "cpus:1; mem:128");
        let bin = offer.bin.clone();
        offer.launch(task("t")).expect("there is room");
        assert_eq!(offer.launch(task("t")).expect_err("the same id").why, WhyNot::IdTwice);
        drop(offer);
        let answers = bin.empty();
        assert_eq!((answers.len(), answers[0].ids.len(), answers[0].tasks.len()), (1, 1, 1));

        let offer = offer_of("p", "a", "cpus:1");
        let bin = offer.bin.clone();
        assert_eq!(offer.answer().ids.len(), 1);
        assert_eq!(bin.empty().len(), 0);
    }

    #[test]
    fn two_offers_of_one_agent_join_and_of_two_agents_do_not() {
        let mut offer = offer_of("o", "a", "cpus:0.3; mem:64");
        offer.join(offer_of("p", "a", "cpus:0.3; mem:64")).expect("of one agent");
        offer.launch(task("t")).expect("together there is room");
        let other = offer.join(offer_of("q", "b", "cpus:9")).expect_err("of another agent");
        assert_eq!(other.id().as_str(), "q");
        assert_eq!(offer.answer().ids.len(), 2);
    }

    proptest! {
        #[test]
        fn what_tasks_were_given_and_what_is_left_is_what_was_offered(
            cpus in 1..4000u64, reserved in 0..4000u64, wanted in prop::collection::vec((1..1500u64, 0..3u64), 0..12),
        ) {
            let text = format!("cpus:{}; cpus(web):{}; ports:[1-9]", Milli::new(cpus), Milli::new(reserved));
            let mut offer = offer_of("o", "a", &text);
            let whole = offer.left().clone();
            for (i, (cpus, ports)) in wanted.into_iter().enumerate() {
                let id = TaskId::new(format!("t{i}")).expect("valid");
                let task = Task::new(id).command("true").cpus(Milli::new(cpus)).ports(ports);
                let fits = offer.fits(&task);
                prop_assert_eq!(offer.launch(task).is_ok(), fits);
            }
            let mut sum = offer.left().clone();
            for task in offer.tasks() {
                prop_assert!(!sum.ports().intersects(&task.resources.ports()));
                sum.add(&task.resources);
            }
            prop_assert_eq!(sum, whole);
        }
    }
}
