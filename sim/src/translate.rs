//! From one core's words to another's, as the doors do it, without the wire in between.
//!
//! What the master only carries travels as bytes: here they hold the number of the task's description in a list that
//! stands for what the bytes would say.

use bourse_agent_core as agent;
use bourse_master_core as master;
use bourse_sdk_core as sdk;
use bourse_types::{AgentCapability, AgentInfo, Principal, TaskSpec};
use bytes::Bytes;

/// What the bytes of task messages say.
#[derive(Debug, Default)]
pub struct Messages(Vec<TaskSpec>);

impl Messages {
    /// The bytes that say this.
    pub fn write(&mut self, spec: TaskSpec) -> Bytes {
        self.0.push(spec);
        Bytes::copy_from_slice(&(self.0.len() as u64 - 1).to_be_bytes())
    }

    /// What these bytes say.
    pub fn read(&self, bytes: &Bytes) -> &TaskSpec {
        let number: [u8; 8] = bytes.as_ref().try_into().expect("only `write` makes such bytes");
        &self.0[u64::from_be_bytes(number) as usize]
    }

    fn task_info(&self, spec: &TaskSpec, message: Bytes) -> master::TaskInfo {
        master::TaskInfo {
            id: spec.id.clone(),
            name: spec.name.clone(),
            agent: spec.agent.clone(),
            resources: spec.resources.clone(),
            limits: spec.limits.iter().map(|(name, limit)| (name.as_str().to_owned(), *limit)).collect(),
            kill_policy: spec.kill_policy,
            labels: spec.labels.clone(),
            needs: spec.needs(),
            command: spec.command.value.clone().unwrap_or_default(),
            message,
        }
    }

    /// A task as it is launched.
    pub fn launch(&mut self, spec: TaskSpec) -> master::Launch {
        let message = self.write(spec.clone());
        master::Launch::Task(Box::new(self.task_info(&spec, message)))
    }

    /// An agent's registration, at the master's door. Each machine's agent has a token of its own.
    pub fn registration(&self, from: agent::Registration) -> master::Registration {
        let report = |report: agent::TaskReport| {
            let spec = self.read(&report.message);
            let resized = report.size.is_some();
            let size = report.size.unwrap_or_else(|| spec.size());
            let limits = size.limits.iter().map(|(name, limit)| (name.as_str().to_owned(), *limit)).collect();
            master::TaskReport {
                framework: report.framework,
                task: master::TaskInfo {
                    resources: report.resources,
                    limits,
                    ..self.task_info(spec, report.message)
                },
                role: report.role,
                latest: report.latest,
                resized,
                resizing: report.resizing,
            }
        };
        let principal = Principal::new(&from.info.hostname).expect("machines have short names");
        master::Registration {
            id: from.id,
            info: from.info,
            tasks: from.tasks.into_iter().map(report).collect(),
            frameworks: from.frameworks,
            epoch: from.epoch,
            // As `agent` says it for every agent of this release.
            capabilities: AgentCapability::all(),
            principal: Some(principal),
        }
    }

    /// A command of the master, at the agent's door.
    pub fn to_agent(&self, message: master::ToAgent) -> agent::FromMaster {
        use agent::FromMaster;
        let key = |framework, task| agent::TaskKey { framework, task };
        match message {
            master::ToAgent::Registered { agent, master, heartbeat, known, reconnect } => {
                FromMaster::Registered {
                    agent,
                    master,
                    heartbeat,
                    known: known.into_iter().map(|(framework, task)| key(framework, task)).collect(),
                    reconnect: Some(reconnect),
                }
            }
            master::ToAgent::Run { framework, role, task } => {
                let id = framework.id.clone().expect("the master knows every framework by its id");
                let spec = TaskSpec { resources: task.resources.clone(), ..self.read(&task.message).clone() };
                let assignment = agent::Assignment {
                    key: key(id, task.id),
                    role,
                    resources: task.resources,
                    message: task.message,
                    work: agent::Work::Run(Box::new(spec)),
                };
                FromMaster::Run { framework: Box::new(framework), assignment: Box::new(assignment) }
            }
            master::ToAgent::Kill { framework, task, policy, reason } => {
                FromMaster::Kill { task: key(framework, task), policy, reason }
            }
            master::ToAgent::Resize { framework, task, size } => {
                FromMaster::Resize { task: key(framework, task), size: Box::new(size) }
            }
            master::ToAgent::Acknowledge { framework, task, uuid } => {
                FromMaster::Acknowledge { task: key(framework, task), uuid }
            }
            master::ToAgent::ShutdownFramework { framework } => FromMaster::ShutdownFramework { framework },
        }
    }

    /// A scheduler's call, at the master's door.
    pub fn call(&mut self, call: sdk::Call) -> master::Call {
        match call {
            sdk::Call::Accept { offers, tasks, resizes, refuse } => {
                let launches = tasks.into_iter().map(|task| self.launch(task)).collect();
                let resize =
                    |resize: sdk::Resize| master::Resize { task: resize.task, wanted: Ok(resize.size) };
                let resizes = resizes.into_iter().map(resize).collect();
                master::Call::Accept(master::Accept { offers, launches, resizes, refuse })
            }
            sdk::Call::Decline { offers, refuse } => master::Call::Decline { offers, refuse },
            sdk::Call::Revive { roles } => master::Call::Revive { roles },
            sdk::Call::Suppress { roles } => master::Call::Suppress { roles },
            sdk::Call::Kill { task, agent, policy } => master::Call::Kill { task, agent, policy },
            sdk::Call::Acknowledge { agent, task, uuid } => master::Call::Acknowledge { agent, task, uuid },
            sdk::Call::Reconcile { tasks } => master::Call::Reconcile { tasks },
            sdk::Call::Teardown => master::Call::Teardown,
        }
    }
}

/// An agent's update, at the master's door.
pub fn update(from: agent::StatusUpdate) -> master::StatusUpdate {
    master::StatusUpdate { framework: from.framework, status: from.status, latest: from.latest }
}

/// An agent's answer to a resize, at the master's door.
pub fn resized(from: agent::TaskResized) -> master::TaskResized {
    let agent::TaskResized { framework, task, wanted, size } = from;
    master::TaskResized { framework, task, wanted, size }
}

/// A refusal, at the agent's door.
pub fn refused(refused: master::AgentRefused) -> agent::FromMaster {
    let master::AgentRefused { reason, message, shut_down } = refused;
    agent::FromMaster::Refused { reason: reason.to_owned(), message, shut_down }
}

/// What the master says, at the scheduler's door. `describe` knows what agents say about themselves.
pub fn to_scheduler<'a>(
    message: master::ToScheduler,
    describe: impl Fn(&bourse_types::AgentId) -> Option<&'a AgentInfo>,
) -> sdk::FromMaster {
    let offer = |offer: master::OfferMade| {
        let agent = describe(&offer.agent);
        sdk::OfferMade {
            hostname: agent.map(|agent| agent.hostname.clone()).unwrap_or_default(),
            address: agent.map(|agent| agent.address.clone()),
            attributes: agent.map(|agent| agent.attributes.clone()).unwrap_or_default(),
            id: offer.id,
            agent: offer.agent,
            role: offer.role,
            resources: offer.resources,
            unavailable_from: offer.unavailable_from,
        }
    };
    match message {
        master::ToScheduler::Subscribed { framework, master: _, heartbeat } => {
            sdk::FromMaster::Subscribed { framework, heartbeat: Some(heartbeat) }
        }
        master::ToScheduler::Offers(offers) => {
            sdk::FromMaster::Offers(offers.into_iter().map(offer).collect())
        }
        master::ToScheduler::Rescind { offer } => sdk::FromMaster::Rescind(offer),
        master::ToScheduler::Update(status) => sdk::FromMaster::Update(status),
        master::ToScheduler::AgentFailed { agent } => sdk::FromMaster::AgentFailed(agent),
        master::ToScheduler::AgentDraining { agent, deadline } => {
            sdk::FromMaster::AgentDraining { agent, deadline }
        }
    }
}
