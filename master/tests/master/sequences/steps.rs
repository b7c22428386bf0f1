//! What is done in what order, drawn by chance.

use bourse_hostile::{Damages, damages};
use bourse_types::TaskState;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::harness::{FRAMEWORK, OPERATOR, OTHER_FRAMEWORK};

/// Of one case.
const STEPS_MAX: usize = 60;

/// One scheduler of each: an operator may run one, too.
pub const TOKENS: [&str; 3] = [FRAMEWORK, OTHER_FRAMEWORK, OPERATOR];

pub const HOSTS: [&str; 2] = ["host-a", "host-b"];

/// Ids that nobody was given.
const FORGED: &[&str] = &["", "m-O999", "../..", "S0", "a b", "\u{1b}[2J"];

const AMOUNTS: &[&str] = &["cpus:1; mem:64", "cpus:0.1; mem:1", "cpus:4; mem:1024", "cpus:100; mem:64"];

const STATES: &[TaskState] = &[
    TaskState::Starting,
    TaskState::Running,
    TaskState::Running,
    TaskState::Finished,
    TaskState::Failed,
    TaskState::Killed,
];

const ORDERS: &[Order] =
    &[Order::Weight, Order::Drain, Order::Reactivate, Order::Gone, Order::Kill, Order::Teardown];

/// One thing that somebody does.
#[derive(Clone, Debug)]
pub enum Step {
    Subscribe {
        who: usize,
        again: bool,
        harm: Option<Damages>,
    },
    HangUp {
        who: usize,
    },
    Call {
        who: usize,
        call: Sent,
        harm: Option<Damages>,
    },
    Register {
        host: usize,
        as_before: bool,
        more: bool,
        harm: Option<Damages>,
    },
    Unlink {
        host: usize,
    },
    Update {
        host: usize,
        about: Pick,
        state: TaskState,
        times: usize,
        harm: Option<Damages>,
    },
    Operate {
        about: Pick,
        order: Order,
    },
    /// The master is killed, and another one goes on.
    Restart,
}

/// A call of a scheduler.
#[derive(Clone, Debug)]
pub struct Sent {
    pub kind: Kind,
    pub about: Pick,
    /// Of which task: few, so that ids come again.
    pub task: u8,
    /// Whose framework it says to be of, and whose offers and tasks it is about. `None`: its own.
    pub of: Option<usize>,
    /// By whose subscription.
    pub by: Option<usize>,
}

/// What it is for.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Accept { amounts: &'static str, twice: bool },
    Decline,
    Revive,
    Suppress,
    Kill,
    Acknowledge,
    Reconcile,
    UpdateFramework,
    Teardown,
}

/// Which of the things that there are.
#[derive(Clone, Debug)]
pub enum Pick {
    /// The first that was not used.
    Next,
    /// Any, used or not, there or not any more.
    Any(Index),
    /// One that never was.
    Forged(&'static str),
}

/// What an operator wants.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    Weight,
    Drain,
    Reactivate,
    Gone,
    Kill,
    Teardown,
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        6 => Just(Pick::Next),
        3 => any::<Index>().prop_map(Pick::Any),
        1 => select(FORGED).prop_map(Pick::Forged),
    ]
}

fn harm() -> impl Strategy<Value = Option<Damages>> {
    option::weighted(0.15, damages())
}

fn sent() -> impl Strategy<Value = Sent> {
    let kind = prop_oneof![
        12 => (select(AMOUNTS), any::<bool>()).prop_map(|(amounts, twice)| Kind::Accept { amounts, twice }),
        3 => Just(Kind::Decline),
        2 => Just(Kind::Revive),
        1 => Just(Kind::Suppress),
        3 => Just(Kind::Kill),
        6 => Just(Kind::Acknowledge),
        2 => Just(Kind::Reconcile),
        1 => Just(Kind::UpdateFramework),
        1 => Just(Kind::Teardown),
    ];
    let others = || option::weighted(0.1, 0..TOKENS.len());
    (kind, pick(), 0..6u8, others(), others()).prop_map(|(kind, about, task, of, by)| Sent {
        kind,
        about,
        task,
        of,
        by,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..TOKENS.len();
    let host = || 0..HOSTS.len();
    let order = || select(ORDERS);
    prop_oneof![
        4 => (who(), any::<bool>(), harm())
            .prop_map(|(who, again, harm)| Step::Subscribe { who, again, harm }),
        1 => who().prop_map(|who| Step::HangUp { who }),
        20 => (who(), sent(), harm()).prop_map(|(who, call, harm)| Step::Call { who, call, harm }),
        4 => (host(), any::<bool>(), prop::bool::weighted(0.2), harm())
            .prop_map(|(host, as_before, more, harm)| Step::Register { host, as_before, more, harm }),
        1 => host().prop_map(|host| Step::Unlink { host }),
        12 => (host(), pick(), select(STATES), 1..3usize, harm())
            .prop_map(|(host, about, state, times, harm)| Step::Update { host, about, state, times, harm }),
        2 => (pick(), order()).prop_map(|(about, order)| Step::Operate { about, order }),
        1 => Just(Step::Restart),
    ]
}

/// What is done in one case.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..=STEPS_MAX)
}
