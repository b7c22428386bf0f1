//! What frameworks and operators say: they subscribe, answer offers, acknowledge, and weigh roles.

use std::time::Duration;

use bourse_master_core::{Accept, Call, Command, Event, Launch, RequestId, StreamId, Subscription, TaskInfo};
use bourse_types::{FrameworkId, FrameworkInfo, Milli, OfferId, Role, TaskId};

use super::{Peer, World, YEAR, fresh};

impl World {
    /// A new framework in this role. Frameworks are numbered from 0.
    pub fn framework(&mut self, role: &Role, suppressed: bool) -> usize {
        let (number, stream) = (self.frameworks.len(), StreamId(self.number()));
        // As the master will name it.
        let id = FrameworkId::new(format!("bench-{number:04}")).expect("a word with a number is an id");
        self.frameworks.push(Peer { id, role: role.clone(), stream });
        let info = FrameworkInfo { id: None, ..self.known(number) };
        self.subscribe(number, info, suppressed);
        number
    }

    /// The framework subscribes again.
    pub fn framework_returns(&mut self, framework: usize) -> Duration {
        self.frameworks[framework].stream = StreamId(self.number());
        let info = self.known(framework);
        self.subscribe(framework, info, false)
    }

    fn subscribe(&mut self, framework: usize, info: FrameworkInfo, suppressed: bool) -> Duration {
        let Peer { role, stream, .. } = &self.frameworks[framework];
        let suppressed = if suppressed { vec![role.clone()] } else { Vec::new() };
        let subscription = Subscription { info, suppressed, principal: None };
        let event = Event::Subscribes { stream: *stream, subscription: Box::new(subscription) };
        self.apply(event)
    }

    /// What a framework says about itself when it has its id.
    pub(super) fn known(&self, framework: usize) -> FrameworkInfo {
        let Peer { id, role, .. } = &self.frameworks[framework];
        let mut info = FrameworkInfo::new(format!("framework-{framework}"));
        info.id = Some(fresh(id));
        info.roles = vec![role.clone()];
        info.failover_timeout = YEAR;
        info.checkpoint = true;
        info.capabilities.partition_aware = true;
        info.capabilities.multi_role = true;
        info
    }

    fn call(&mut self, framework: usize, call: Call) -> Duration {
        let Peer { id, stream, .. } = &self.frameworks[framework];
        let event = Event::Call { framework: fresh(id), stream: *stream, call };
        self.apply(event)
    }

    /// The framework gives an offer back.
    pub fn decline(&mut self, framework: usize, offer: OfferId, refuse: Duration) -> Duration {
        self.did.declined += 1;
        self.call(framework, Call::Decline { offers: vec![offer], refuse })
    }

    /// The framework launches these on an offer, and declines the rest of it.
    pub fn accept(
        &mut self,
        framework: usize,
        offer: OfferId,
        tasks: Vec<TaskInfo>,
        refuse: Duration,
    ) -> Duration {
        self.did.tasks += tasks.len();
        let launches = tasks.into_iter().map(|task| Launch::Task(Box::new(task))).collect();
        let accept = Accept { offers: vec![offer], launches, resizes: Vec::new(), refuse };
        self.call(framework, Call::Accept(accept))
    }

    /// The framework has an update.
    pub fn acknowledge(&mut self, agent: usize, framework: usize, task: &TaskId, number: u64) -> Duration {
        let (agent, uuid) = (fresh(self.agent_id(agent)), u128::from(number).to_be_bytes());
        self.call(framework, Call::Acknowledge { agent, task: fresh(task), uuid })
    }

    /// The framework wants no offers.
    pub fn suppress(&mut self, framework: usize) -> Duration {
        self.call(framework, Call::Suppress { roles: Vec::new() })
    }

    /// The framework wants any offer.
    pub fn revive(&mut self, framework: usize) -> Duration {
        self.call(framework, Call::Revive { roles: Vec::new() })
    }

    /// An operator weighs a role.
    pub fn weigh(&mut self, role: &Role, weight: Milli) -> Duration {
        let command = Command::SetWeight { role: role.clone(), weight };
        self.apply(Event::Operate { request: RequestId(1), principal: None, command })
    }
}
