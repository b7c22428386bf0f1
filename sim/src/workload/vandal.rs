//! A client that was written without the SDK and keeps no rules: accepts twice, takes more than was offered, names what
//! is not its own. Each time something of it must fail cleanly, and nobody else may notice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bourse_master_core::{Accept, Call, Launch, Resize};
use bourse_sdk_core::{FromMaster, OfferMade};
use bourse_types::{
    AgentId, Command, FrameworkId, FrameworkInfo, Milli, OfferId, Resources, Role, Size, TaskId, TaskSpec,
    TaskState,
};

use crate::letter::Letter;
use crate::machine::Program;
use crate::net::{ConnId, Side};
use crate::random::Random;
use crate::world::{Happening, Node, Outside, Process};

/// The client's process; it never dies, but often reconnects.
#[derive(Debug)]
pub struct Vandal {
    random: Random,
    id: Option<FrameworkId>,
    roles: Vec<Role>,
    conn: Option<ConnId>,
    subscribed: bool,
    /// Offers of its own that it saw, also those that ended long ago.
    offers: Vec<OfferMade>,
    /// Names that it used, alive or not.
    names: BTreeSet<TaskId>,
    /// What of it was told to run last, and on which agent.
    running: BTreeMap<TaskId, AgentId>,
    owed: BTreeMap<TaskId, (AgentId, [u8; 16])>,
    made: u64,
    /// It has had its fun, and shall go.
    leaves: bool,
    over: bool,
}

const PROCESS: Process = Process { node: Node::Vandal, life: 1 };

impl Vandal {
    /// Not connected.
    pub fn new(random: Random) -> Vandal {
        Vandal {
            random,
            id: None,
            roles: vec![Role::any()],
            conn: None,
            subscribed: false,
            offers: Vec::new(),
            names: BTreeSet::new(),
            running: BTreeMap::new(),
            owed: BTreeMap::new(),
            made: 0,
            leaves: false,
            over: false,
        }
    }

    /// Whether its framework is torn down.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The run goes without it.
    pub fn stays_away(&mut self) {
        self.over = true;
    }

    /// It shall tear its framework down.
    pub fn leaves(&mut self) {
        self.leaves = true;
    }

    /// A connection is open.
    pub fn opens(&mut self, conn: ConnId, outside: &mut Outside) {
        if self.conn == Some(conn) {
            let mut info = FrameworkInfo::new("vandal");
            info.id = self.id.clone();
            info.roles = self.roles.clone();
            info.failover_timeout = Duration::from_secs(300);
            let suppressed = if self.random.chance(0.1) { self.roles.clone() } else { Vec::new() };
            outside.send(conn, Side::Client, Letter::Subscribe { info: Box::new(info), suppressed });
        }
    }

    /// A connection is gone.
    pub fn breaks(&mut self, conn: ConnId) {
        if self.conn == Some(conn) {
            self.hangs_up();
        }
    }

    fn hangs_up(&mut self) {
        (self.conn, self.subscribed) = (None, false);
    }

    /// It wakes every few seconds, to do harm.
    pub fn wakes(&mut self, outside: &mut Outside) {
        if self.over {
            return;
        }
        let wait = self.random.millis(500, 8_000);
        outside.agenda.enter(outside.now + wait, Happening::Wakes { process: PROCESS });
        let Some(conn) = self.conn else {
            self.conn = Some(outside.dial(PROCESS));
            return;
        };
        if !self.subscribed {
            if self.random.chance(0.2) {
                outside.net.close(outside.now, conn, Side::Client, &mut outside.agenda);
                self.hangs_up();
            }
            return;
        }
        if self.leaves {
            return self.calls(conn, Call::Teardown, outside);
        }
        let owed = std::mem::take(&mut self.owed);
        for (task, (agent, uuid)) in owed {
            self.calls(conn, Call::Acknowledge { agent, task, uuid }, outside);
        }
        for _ in 0..self.random.between(0, 3) {
            let call = self.mischief(outside);
            self.calls(conn, call, outside);
        }
        if self.random.chance(0.05) {
            outside.net.close(outside.now, conn, Side::Client, &mut outside.agenda);
            self.hangs_up();
        }
    }

    /// A letter arrives.
    pub fn receives(&mut self, conn: ConnId, letter: Letter, outside: &mut Outside) {
        if self.conn != Some(conn) {
            return;
        }
        let Letter::ToScheduler(message) = letter else { return };
        match message {
            FromMaster::Subscribed { framework, .. } => {
                outside.checks.is_rude(&framework);
                self.id = Some(framework);
                self.subscribed = true;
            }
            FromMaster::Offers(offers) => self.offers.extend(offers),
            FromMaster::Update(status) => {
                match (status.state, status.agent_id.clone()) {
                    (TaskState::Running, Some(agent)) => self.running.insert(status.task_id.clone(), agent),
                    _ => self.running.remove(&status.task_id),
                };
                if let (Some(agent), Some(uuid)) = (status.agent_id, status.uuid) {
                    self.owed.insert(status.task_id, (agent, uuid));
                }
            }
            FromMaster::Error(why) => {
                self.over = why.starts_with("Framework has been removed");
                if !self.over {
                    self.hangs_up();
                }
            }
            FromMaster::Rescind(_) | FromMaster::AgentFailed(_) => {}
            FromMaster::AgentDraining { .. } | FromMaster::Heartbeat => {}
        }
    }

    fn calls(&mut self, conn: ConnId, call: Call, outside: &mut Outside) {
        outside.send(conn, Side::Client, Letter::RawCall(call));
    }

    fn mischief(&mut self, outside: &mut Outside) -> Call {
        let refuse = self.random.millis(0, 10_000);
        match self.random.below(14) {
            12..=13 => self.resize(refuse),
            0..=5 => self.accept(refuse, outside),
            6 => {
                let offers = self.some_offers();
                Call::Decline { offers, refuse }
            }
            7 => {
                let (agent, task) = (self.some_agent(), self.some_name());
                Call::Acknowledge { agent, task, uuid: [7; 16] }
            }
            8 => Call::Kill { task: self.some_name(), agent: Some(self.some_agent()), policy: None },
            9 => {
                let tasks = vec![(self.some_name(), None), (self.some_name(), Some(self.some_agent()))];
                Call::Reconcile { tasks }
            }
            10 => Call::Revive { roles: vec![Role::new("nobody").expect("valid")] },
            _ => self.update_framework(),
        }
    }

    fn update_framework(&mut self) -> Call {
        let other = Role::new("vandal/x").expect("valid");
        self.roles = if self.roles.contains(&other) { vec![Role::any()] } else { vec![Role::any(), other] };
        let mut info = FrameworkInfo::new("vandal");
        info.id = self.id.clone();
        info.roles = self.roles.clone();
        info.failover_timeout = Duration::from_secs(300);
        let unknown = self.random.chance(0.2);
        let suppressed = if unknown { vec![Role::new("nobody").expect("valid")] } else { Vec::new() };
        Call::UpdateFramework { info: Box::new(info), suppressed }
    }

    /// Offers of its own, of any age and agent, one perhaps twice, or one that nobody made.
    fn some_offers(&mut self) -> Vec<OfferId> {
        let mut offers: Vec<OfferId> = Vec::new();
        for _ in 0..self.random.between(1, 3) {
            let newest = self.random.chance(0.7);
            let offer = if newest { self.offers.last() } else { self.random.pick(&self.offers) };
            offers.extend(offer.map(|offer| offer.id.clone()));
        }
        if self.random.chance(0.5) {
            offers.truncate(1);
        }
        if self.random.chance(0.1) {
            // The master numbers its offers: this one is likely somebody else's.
            let number = self.random.between(0, 50);
            offers.push(OfferId::new(format!("m1-O{number}")).expect("valid"));
        }
        offers
    }

    fn accept(&mut self, refuse: Duration, outside: &mut Outside) -> Call {
        let offers = self.some_offers();
        let newest = self.offers.last().cloned();
        let mut launches = Vec::new();
        for _ in 0..self.random.between(0, 2) {
            let task = self.some_name();
            if self.random.chance(0.1) {
                launches.push(Launch::Invalid { task, agent: None, why: "it makes no sense".to_owned() });
                continue;
            }
            let offered = newest.as_ref().map(|offer| offer.resources.clone()).unwrap_or_default();
            let exclusive_cpus = self.random.chance(0.2);
            let resources: Resources = match self.random.below(4) {
                _ if exclusive_cpus => "cpus:1; mem:32".parse().expect("valid"),
                0 => offered,
                1 => "cpus:100; mem:1".parse().expect("valid"),
                2 => Resources::new(),
                _ => "cpus:0.2; mem:32".parse().expect("valid"),
            };
            let agent = match &newest {
                Some(offer) if self.random.chance(0.9) => offer.agent.clone(),
                _ => self.some_agent(),
            };
            let Some(framework) = self.id.clone() else { continue };
            let runs = Some(self.random.millis(100, 20_000));
            let program = Program { runs, code: 0, stubborn: false, sick: false, greedy: false };
            let command = Command::shell(program.to_string());
            let spec = TaskSpec {
                name: "harm".to_owned(),
                role: newest.as_ref().map_or_else(Role::any, |offer| offer.role.clone()),
                limits: match self.random.chance(0.1) {
                    true => BTreeMap::from([(bourse_types::Name::cpus(), Some(Milli::new(1)))]),
                    false => BTreeMap::new(),
                },
                exclusive_cpus,
                ..TaskSpec::plain(task, framework, agent, resources, command)
            };
            launches.push(outside.messages.launch(spec));
        }
        Call::Accept(Accept { offers, launches, resizes: Vec::new(), refuse })
    }

    /// Of what runs, as far as it knows: mostly with an offer of its agent, now and then of another or with none.
    fn resize(&mut self, refuse: Duration) -> Call {
        let known: Vec<(TaskId, AgentId)> =
            self.running.iter().map(|(task, agent)| (task.clone(), agent.clone())).collect();
        let (task, agent) = match self.random.pick(&known) {
            Some(known) => known.clone(),
            None => (self.some_name(), self.some_agent()),
        };
        let of_agent = self.offers.iter().rev().find(|offer| offer.agent == agent);
        let offers = match self.random.below(4) {
            0 => Vec::new(),
            1 => self.some_offers(),
            _ => of_agent.map(|offer| offer.id.clone()).into_iter().collect(),
        };
        let size = match self.random.below(5) {
            0 => "cpus:0.1; mem:32",
            1 => "cpus:0.4; mem:16; disk:4",
            2 => "cpus:1; mem:64; disk:8",
            3 => "cpus:2; mem:32",
            _ => "cpus:100; mem:1",
        };
        let wanted = match self.random.chance(0.05) {
            true => Err("it makes no sense".to_owned()),
            false => Ok(Size::of(size.parse().expect("valid"))),
        };
        Call::Accept(Accept { offers, launches: Vec::new(), resizes: vec![Resize { task, wanted }], refuse })
    }

    /// Mostly a new name, now and then one that was used before.
    fn some_name(&mut self) -> TaskId {
        let used: Vec<&TaskId> = self.names.iter().collect();
        if self.random.chance(0.3)
            && let Some(name) = self.random.pick(&used)
        {
            return (*name).clone();
        }
        self.made += 1;
        let name = TaskId::new(format!("harm-{}", self.made)).expect("valid");
        self.names.insert(name.clone());
        name
    }

    fn some_agent(&mut self) -> AgentId {
        match self.random.pick(&self.offers).filter(|_| !self.made.is_multiple_of(3)) {
            Some(offer) => offer.agent.clone(),
            None => AgentId::new("nobody-S0").expect("valid"),
        }
    }
}
