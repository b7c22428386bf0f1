//! Calls of schedulers, and the events that they hear.

use std::net::IpAddr;

use bourse_master_core::frameworks::check_roles;
use bourse_master_core::{Accept, Call, Launch, OfferMade, Resize, TaskInfo};
use bourse_proto::Required;
use bourse_proto::v1::scheduler as wire;
use bourse_proto::v1::{self, carrier};
use bourse_types::{AgentInfo, Command, FrameworkId, FrameworkInfo, MasterId, OfferId, Role, TaskId};
use bourse_wire::ids::{BadWireId, WireId};
use bourse_wire::task::Owner;
use bourse_wire::{
    Form, attributes, filters, framework, health, ids, resources, role, size, status, task, time,
};
use bytes::Bytes;
use prost::Message;

use crate::sessions::{Offered, StreamMessage};

/// The most bytes of one TaskInfo, and of one FrameworkInfo. An agent is sent both in one message and tells them again
/// in its registrations, so a larger one could be launched and never be told of; and the master keeps every one in memory.
/// Environment and command line of a process are bounded by much the same: Linux takes 128 KiB in one string.
const INFO_BYTES_MAX: usize = 256 << 10;

/// The most tasks that one RECONCILE asks about. Each is answered by an update, and all of them before the next event.
/// The SDK asks for 1,000 at a time.
const RECONCILE_MAX: usize = 10_000;

/// The most roles of a framework, and in one call: far more than anybody uses, and few enough to compare each with each.
const ROLES_MAX: usize = 1_000;

/// Why a call is not understood.
#[derive(Debug, thiserror::Error)]
pub enum BadCall {
    /// A field is missing or wrong; nothing of the call was done.
    #[error("{path}: {why}")]
    Malformed {
        /// Of the field.
        path: String,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// It is a call of Mesos that this master does not answer.
    #[error("{call} is not supported by this release of Bourse; {advice}")]
    Unsupported {
        /// The call, or the operation.
        call: &'static str,
        /// What to do instead.
        advice: &'static str,
    },
}

impl BadCall {
    fn malformed(path: impl Into<String>, why: impl ToString) -> BadCall {
        BadCall::Malformed { path: path.into(), why: why.to_string() }
    }

    fn missing(path: impl Into<String>) -> BadCall {
        BadCall::malformed(path, "the field is required and was not sent; set it")
    }
}

/// A call, as it was understood.
#[derive(Debug)]
pub enum Heard {
    /// SUBSCRIBE.
    Subscribe {
        /// What the framework says about itself, with its id where it has one.
        info: Box<FrameworkInfo>,
        /// Roles that want no offers.
        suppressed: Vec<Role>,
    },
    /// Any other call.
    Call {
        /// Who it says to be.
        framework: FrameworkId,
        /// What it wants; `None` where Mesos takes the call and does nothing.
        call: Option<Call>,
    },
}

/// Reads a call. `role_of` tells the role of an outstanding offer, which the tasks that are launched with it must agree
/// with.
pub fn read(call: carrier::Call, role_of: &dyn Fn(&OfferId) -> Option<Role>) -> Result<Heard, BadCall> {
    use wire::call::Type;
    if let Some(path) = call.missing() {
        return Err(BadCall::missing(path));
    }
    let kind = call.r#type.ok_or_else(|| BadCall::missing("type"))?;
    let kind = Type::try_from(kind).map_err(|_| {
        BadCall::malformed("type", format!("{kind} is not the number of a call; see Call.Type"))
    })?;
    if kind == Type::Subscribe {
        let subscribe = call.subscribe.ok_or_else(|| BadCall::missing("subscribe"))?;
        return read_subscribe(call.framework_id.as_ref(), subscribe);
    }
    let framework = ids::needed("framework_id", &call.framework_id).map_err(place)?;
    let call = match kind {
        Type::Subscribe | Type::Unknown => {
            return Err(BadCall::malformed("type", "UNKNOWN is no call; see Call.Type for those there are"));
        }
        Type::Teardown => Some(Call::Teardown),
        Type::Accept => {
            let accept = call.accept.ok_or_else(|| BadCall::missing("accept"))?;
            Some(Call::Accept(read_accept(&framework, accept, role_of)?))
        }
        Type::Decline => {
            let decline = call.decline.ok_or_else(|| BadCall::missing("decline"))?;
            let offers = ids::list("decline.offer_ids", &decline.offer_ids).map_err(place)?;
            Some(Call::Decline { offers, refuse: filters::read(decline.filters.as_ref()) })
        }
        // The one field of both calls may be left out with the part that holds it.
        Type::Revive => {
            let roles = call.revive.map(|revive| revive.roles).unwrap_or_default();
            Some(Call::Revive { roles: read_roles("revive.roles", &roles)? })
        }
        Type::Suppress => {
            let roles = call.suppress.map(|suppress| suppress.roles).unwrap_or_default();
            Some(Call::Suppress { roles: read_roles("suppress.roles", &roles)? })
        }
        Type::Kill => {
            let kill = call.kill.ok_or_else(|| BadCall::missing("kill"))?;
            let policy = kill.kill_policy.as_ref().map(|policy| health::read_kill_policy(Some(policy)));
            let policy = policy.transpose().map_err(|why| BadCall::malformed("kill.kill_policy", why))?;
            Some(Call::Kill {
                task: ids::needed("kill.task_id", &kill.task_id).map_err(place)?,
                agent: ids::given("kill.agent_id", &kill.agent_id).map_err(place)?,
                policy,
            })
        }
        Type::Acknowledge => {
            let acknowledge = call.acknowledge.ok_or_else(|| BadCall::missing("acknowledge"))?;
            let uuid = status::read_uuid(acknowledge.uuid.as_deref().unwrap_or_default())
                .map_err(|why| BadCall::malformed("acknowledge.uuid", why))?;
            Some(Call::Acknowledge {
                agent: ids::needed("acknowledge.agent_id", &acknowledge.agent_id).map_err(place)?,
                task: ids::needed("acknowledge.task_id", &acknowledge.task_id).map_err(place)?,
                uuid,
            })
        }
        Type::Reconcile => {
            let tasks = call.reconcile.map(|reconcile| reconcile.tasks).unwrap_or_default();
            if tasks.len() > RECONCILE_MAX {
                let why = format!(
                    "there are {} and {RECONCILE_MAX} is the most; ask by several calls, or name none to hear of all",
                    tasks.len()
                );
                return Err(BadCall::malformed("reconcile.tasks", why));
            }
            let tasks = tasks.iter().enumerate().map(|(at, task)| {
                let path = |name| format!("reconcile.tasks[{at}].{name}");
                let id = ids::needed(&path("task_id"), &task.task_id).map_err(place)?;
                let agent = ids::given(&path("agent_id"), &task.agent_id).map_err(place)?;
                Ok((id, agent))
            });
            Some(Call::Reconcile { tasks: tasks.collect::<Result<_, BadCall>>()? })
        }
        Type::UpdateFramework => {
            let update = call.update_framework.ok_or_else(|| BadCall::missing("update_framework"))?;
            let form = update
                .framework_info
                .as_ref()
                .ok_or_else(|| BadCall::missing("update_framework.framework_info"))?;
            no_constraints("update_framework", update.offer_constraints.as_ref())?;
            let mut info = read_info("update_framework.framework_info", form)?;
            same_id("update_framework.framework_info.id", info.id.as_ref(), Some(&framework))?;
            info.id = Some(framework.clone());
            let suppressed = read_roles("update_framework.suppressed_roles", &update.suppressed_roles)?;
            check_roles(&info.roles, &suppressed)
                .map_err(|why| BadCall::malformed("update_framework", why))?;
            Some(Call::UpdateFramework { info: Box::new(info), suppressed })
        }
        // Mesos' allocator ignores requests as well, and answers to inverse offers are hints: what still runs at the
        // deadline of a drain is killed whatever was said.
        Type::Request | Type::AcceptInverseOffers | Type::DeclineInverseOffers => None,
        Type::Message => return unsupported("MESSAGE", "tasks have no executor that could read it"),
        Type::Shutdown => return unsupported("SHUTDOWN", "tasks have no executor of their own; use KILL"),
        Type::AcknowledgeOperationStatus | Type::ReconcileOperations => {
            return unsupported(
                "operation feedback",
                "launches and resizes tell by their tasks, and there are no others",
            );
        }
    };
    Ok(Heard::Call { framework, call })
}

fn unsupported(call: &'static str, advice: &'static str) -> Result<Heard, BadCall> {
    Err(BadCall::Unsupported { call, advice })
}

fn read_subscribe(id: Option<&v1::FrameworkId>, subscribe: carrier::Subscribe) -> Result<Heard, BadCall> {
    let form =
        subscribe.framework_info.as_ref().ok_or_else(|| BadCall::missing("subscribe.framework_info"))?;
    no_constraints("subscribe", subscribe.offer_constraints.as_ref())?;
    let info = read_info("subscribe.framework_info", form)?;
    // Old clients send an id without text for none.
    let id = id.filter(|id| id.value.as_deref() != Some(""));
    let id: Option<FrameworkId> =
        id.map(WireId::read).transpose().map_err(|why| BadCall::malformed("framework_id", why))?;
    same_id("subscribe.framework_info.id", info.id.as_ref(), id.as_ref())?;
    let suppressed = read_roles("subscribe.suppressed_roles", &subscribe.suppressed_roles)?;
    Ok(Heard::Subscribe { info: Box::new(info), suppressed })
}

fn read_info(path: &str, form: &v1::FrameworkInfo) -> Result<FrameworkInfo, BadCall> {
    too_large(form.encoded_len()).map_or(Ok(()), |why| Err(BadCall::malformed(path, why)))?;
    bounded(&format!("{path}.roles"), &form.roles)?;
    framework::read(form).map_err(|why| BadCall::malformed(path, why))
}

fn same_id(path: &str, inner: Option<&FrameworkId>, outer: Option<&FrameworkId>) -> Result<(), BadCall> {
    if inner == outer {
        return Ok(());
    }
    let said = |id: Option<&FrameworkId>| id.map_or("absent".to_owned(), ToString::to_string);
    let why =
        format!("it is {} while framework_id is {}; send the same id in both", said(inner), said(outer));
    Err(BadCall::malformed(path, why))
}

/// Constraints that are silently not held would be worse than a refusal.
fn no_constraints(path: &str, constraints: Option<&Bytes>) -> Result<(), BadCall> {
    match constraints {
        Some(constraints) if !constraints.is_empty() => Err(BadCall::malformed(
            format!("{path}.offer_constraints"),
            "offer constraints are not supported by this release of Bourse; leave them out and decline what does not fit",
        )),
        Some(_) | None => Ok(()),
    }
}

/// Refuses more roles than a framework may have.
fn bounded(path: &str, roles: &[String]) -> Result<(), BadCall> {
    if roles.len() <= ROLES_MAX {
        return Ok(());
    }
    let why = format!(
        "there are {} and {ROLES_MAX} is the most that a framework has; leave out what is there twice, or subscribe \
         another framework for the rest",
        roles.len()
    );
    Err(BadCall::malformed(path, why))
}

fn read_roles(path: &str, roles: &[String]) -> Result<Vec<Role>, BadCall> {
    bounded(path, roles)?;
    role::read_list::<bourse_types::BadRole>(path, roles)
        .map_err(|why| BadCall::malformed(why.path(), why.wrong()))
}

fn read_accept(
    framework: &FrameworkId,
    accept: carrier::Accept,
    role_of: &dyn Fn(&OfferId) -> Option<Role>,
) -> Result<Accept, BadCall> {
    use v1::offer::operation::Type;
    let offers: Vec<OfferId> = ids::list("accept.offer_ids", &accept.offer_ids).map_err(place)?;
    let role = offers.iter().find_map(role_of);
    let (mut launches, mut resizes) = (Vec::new(), Vec::new());
    for (at, bytes) in accept.operations.into_iter().enumerate() {
        let path = format!("accept.operations[{at}]");
        let operation: carrier::Operation = decode(&path, bytes, "an Operation")?;
        let number = operation.r#type.ok_or_else(|| BadCall::missing(format!("{path}.type")))?;
        let kind = Type::try_from(number).map_err(|_| {
            BadCall::malformed(format!("{path}.type"), format!("{number} is not the number of an operation"))
        })?;
        match kind {
            Type::Launch => {
                let launch = operation.launch.ok_or_else(|| BadCall::missing(format!("{path}.launch")))?;
                for (at, bytes) in launch.task_infos.into_iter().enumerate() {
                    let path = format!("{path}.launch.task_infos[{at}]");
                    let named = operation.id.is_some();
                    launches.push(read_launch(&path, framework, role.as_ref(), named, bytes)?);
                }
            }
            Type::LaunchGroup => {
                let group =
                    operation.launch_group.ok_or_else(|| BadCall::missing(format!("{path}.launch_group")))?;
                let path = format!("{path}.launch_group.task_group");
                let group = GroupIds::decode(group.task_group.unwrap_or_default())
                    .map_err(|why| BadCall::malformed(&path, format!("not a TaskGroupInfo: {why}")))?;
                for (at, ids) in group.tasks.iter().enumerate() {
                    let why = "this release runs plain command tasks and no groups; launch each by LAUNCH";
                    launches.push(invalid(&format!("{path}.tasks[{at}]"), ids, why)?);
                }
            }
            Type::Resize => {
                let path = format!("{path}.resize");
                let bytes = operation.resize.ok_or_else(|| BadCall::missing(&path))?;
                too_large(bytes.len()).map_or(Ok(()), |why| Err(BadCall::malformed(&path, why)))?;
                let resize: v1::offer::operation::Resize = decode(&path, bytes, "a Resize")?;
                resizes.push(read_resize(&path, operation.id.is_some(), &resize)?);
            }
            Type::Unknown => {
                return Err(BadCall::malformed(format!("{path}.type"), "UNKNOWN is no operation"));
            }
            Type::Reserve
            | Type::Unreserve
            | Type::Create
            | Type::Destroy
            | Type::GrowVolume
            | Type::ShrinkVolume
            | Type::CreateDisk
            | Type::DestroyDisk => {
                // The offers stay as they are: the whole call was not done.
                return Err(BadCall::Unsupported {
                    call: kind.as_str_name(),
                    advice: "launch without reservations and volumes; the offers still stand",
                });
            }
        }
    }
    Ok(Accept { offers, launches, resizes, refuse: filters::read(accept.filters.as_ref()) })
}

/// A resize that can be understood, or one that is refused by itself while the rest of the call goes on.
fn read_resize(path: &str, named: bool, form: &v1::offer::operation::Resize) -> Result<Resize, BadCall> {
    let task = ids::needed(&format!("{path}.task_id"), &form.task_id).map_err(place)?;
    let wanted = match &form.size {
        // Like launches, resizes tell what became of them by the updates of their tasks.
        _ if named => Err("a RESIZE has no operation id; leave id out".to_owned()),
        None => Err("size: the field is required and was not sent; set it".to_owned()),
        Some(form) => size::read(form).map_err(|why| format!("size.{why}")),
    };
    Ok(Resize { task, wanted })
}

/// Whose a TaskInfo is. A message that is too large to be looked into is read as this.
#[derive(Clone, PartialEq, Message)]
struct Ids {
    #[prost(message, optional, tag = "2")]
    task_id: Option<v1::TaskId>,
    #[prost(message, optional, tag = "3")]
    agent_id: Option<v1::AgentId>,
}

/// Whose the tasks of a TaskGroupInfo are.
#[derive(Clone, PartialEq, Message)]
struct GroupIds {
    #[prost(message, repeated, tag = "1")]
    tasks: Vec<Ids>,
}

/// A part that came as bytes, with all that it must have.
fn decode<M: Message + Required + Default>(path: &str, bytes: Bytes, kind: &str) -> Result<M, BadCall> {
    let form = M::decode(bytes).map_err(|why| BadCall::malformed(path, format!("not {kind}: {why}")))?;
    match form.missing() {
        Some(field) => Err(BadCall::missing(format!("{path}.{field}"))),
        None => Ok(form),
    }
}

/// A task that can be understood, or one that is refused by itself while the rest of the call goes on. `named`: its
/// operation has an id.
fn read_launch(
    path: &str,
    framework: &FrameworkId,
    role: Option<&Role>,
    named: bool,
    message: Bytes,
) -> Result<Launch, BadCall> {
    if let Some(why) = too_large(message.len()) {
        let ids =
            Ids::decode(message).map_err(|bad| BadCall::malformed(path, format!("not a TaskInfo: {bad}")))?;
        return invalid(path, &ids, &why);
    }
    let form: v1::TaskInfo = decode(path, message.clone(), "a TaskInfo")?;
    let ids = Ids { task_id: form.task_id.clone(), agent_id: form.agent_id.clone() };
    if named {
        // As Mesos has it: launches tell what became of them by the updates of their tasks.
        return invalid(path, &ids, "a LAUNCH has no operation id; leave id out");
    }
    // Of an offer that is gone the role does not matter any more: the core answers that the offer is gone.
    let role = role.cloned().or_else(|| allocated_to(&form)).unwrap_or_else(Role::any);
    match task::read(&form, Owner { framework: framework.clone(), role }) {
        Ok(spec) => Ok(Launch::Task(Box::new(TaskInfo {
            limits: super::agent::limits(&spec.limits),
            needs: spec.needs(),
            command: in_words(&spec.command),
            id: spec.id,
            name: spec.name,
            agent: spec.agent,
            resources: spec.resources,
            kill_policy: spec.kill_policy,
            labels: spec.labels,
            message,
        }))),
        Err(why) => invalid(path, &ids, &why.to_string()),
    }
}

fn too_large(bytes: usize) -> Option<String> {
    (bytes > INFO_BYTES_MAX).then(|| {
        let most = INFO_BYTES_MAX >> 10;
        format!("it has {bytes} bytes and {most} KiB is the most; keep what is large elsewhere, and name its place here")
    })
}

fn allocated_to(form: &v1::TaskInfo) -> Option<Role> {
    let role = form.resources.iter().find_map(|resource| resource.allocation_info.as_ref()?.role.as_ref());
    Role::new(role?).ok()
}

/// A task that is refused needs an id to say so; without a good one the call is not understood.
fn invalid(path: &str, named: &Ids, why: &str) -> Result<Launch, BadCall> {
    let task: TaskId = ids::needed(&format!("{path}.task_id"), &named.task_id).map_err(place)?;
    let agent = named.agent_id.as_ref().and_then(|id| WireId::read(id).ok());
    Ok(Launch::Invalid { task, agent, why: why.to_owned() })
}

fn place(why: bourse_wire::At<BadWireId>) -> BadCall {
    BadCall::malformed(why.path(), why.wrong())
}

/// The command as a shell would take it, for people.
pub(super) fn in_words(command: &Command) -> String {
    let value = command.value.as_deref().unwrap_or_default();
    if command.shell {
        return value.to_owned();
    }
    // The arguments begin with argv[0]; without any, the path is it.
    let words = if command.arguments.is_empty() {
        vec![value]
    } else {
        command.arguments.iter().map(String::as_str).collect()
    };
    shlex::try_join(words.iter().copied()).unwrap_or_else(|_| words.join(" "))
}

/// Who this master is, as its clients are told.
#[derive(Clone, Debug)]
pub struct MasterIdentity {
    /// Of this incarnation.
    pub id: MasterId,
    /// The one that was configured.
    pub hostname: String,
    /// Where it really listens.
    pub address: std::net::SocketAddr,
    /// Of this build.
    pub version: &'static str,
}

impl MasterIdentity {
    fn write(&self) -> v1::MasterInfo {
        let ip = match self.address.ip() {
            // In network byte order, read as a little-endian number.
            IpAddr::V4(ip) => u32::from_le_bytes(ip.octets()),
            IpAddr::V6(_) => 0,
        };
        let port = self.address.port();
        v1::MasterInfo {
            id: Some(self.id.to_string()),
            ip: Some(ip),
            port: Some(u32::from(port)),
            pid: Some(format!("master@{}", self.address)),
            hostname: Some(self.hostname.clone()),
            version: Some(self.version.to_owned()),
            address: Some(v1::Address {
                hostname: Some(self.hostname.clone()),
                ip: Some(self.address.ip().to_string()),
                port: Some(i32::from(port)),
            }),
            ..Default::default()
        }
    }
}

/// The form of resources that a framework understands.
pub fn form_for(info: &FrameworkInfo) -> Form {
    if info.capabilities.reservation_refinement { Form::Refined } else { Form::PreRefinement }
}

/// What is said to a scheduler.
pub fn write(message: StreamMessage, to: &FrameworkId, form: Form, master: &MasterIdentity) -> wire::Event {
    use wire::event::{Failure, InverseOffers, Offers, Rescind, Subscribed, Type, Update};
    let mut event = wire::Event::default();
    let kind = match message {
        StreamMessage::Subscribed { framework, heartbeat } => {
            event.subscribed = Some(Subscribed {
                framework_id: Some(framework.write()),
                heartbeat_interval_seconds: Some(heartbeat.as_secs_f64()),
                master_info: Some(master.write()),
            });
            Type::Subscribed
        }
        StreamMessage::Offers(offers) => {
            let offers =
                offers.iter().map(|Offered { offer, agent }| write_offer(to, offer, agent, form)).collect();
            event.offers = Some(Offers { offers });
            Type::Offers
        }
        StreamMessage::Rescind(offer) => {
            event.rescind = Some(Rescind { offer_id: Some(offer.write()) });
            Type::Rescind
        }
        StreamMessage::Update(update) => {
            event.update = Some(Update { status: Some(status::write(&update, form)) });
            Type::Update
        }
        StreamMessage::AgentFailed(agent) => {
            event.failure = Some(Failure { agent_id: Some(agent.write()), executor_id: None, status: None });
            Type::Failure
        }
        StreamMessage::AgentDraining { agent, deadline } => {
            let unavailability =
                v1::Unavailability { start: Some(time::write_time(deadline)), duration: None };
            let offer = v1::InverseOffer {
                // There is one drain of an agent at a time.
                id: Some(v1::OfferId { value: Some(format!("{agent}-drain")) }),
                framework_id: Some(to.write()),
                agent_id: Some(agent.write()),
                unavailability: Some(unavailability),
                ..Default::default()
            };
            event.inverse_offers = Some(InverseOffers { inverse_offers: vec![offer] });
            Type::InverseOffers
        }
        StreamMessage::Fail(message) => return error(message),
    };
    event.r#type = Some(kind as i32);
    event
}

fn write_offer(framework: &FrameworkId, offer: &OfferMade, agent: &AgentInfo, form: Form) -> v1::Offer {
    let mut amounts = resources::write(&offer.resources, form);
    resources::allocate(&mut amounts, &offer.role);
    let unavailability = offer
        .unavailable_from
        .map(|from| v1::Unavailability { start: Some(time::write_time(from)), duration: None });
    v1::Offer {
        id: Some(offer.id.write()),
        framework_id: Some(framework.write()),
        agent_id: Some(offer.agent.write()),
        hostname: Some(agent.hostname.clone()),
        url: Some(v1::Url {
            scheme: Some("http".to_owned()),
            address: Some(v1::Address {
                hostname: Some(agent.address.host.clone()),
                ip: agent.address.host.parse::<IpAddr>().ok().map(|ip| ip.to_string()),
                port: Some(i32::from(agent.address.port)),
            }),
            // Where Mesos' agents answer; tools put it together with the address.
            path: Some("/slave(1)".to_owned()),
            ..Default::default()
        }),
        resources: amounts,
        attributes: attributes::write(&agent.attributes),
        unavailability,
        allocation_info: Some(v1::resource::AllocationInfo { role: Some(offer.role.as_str().to_owned()) }),
        ..Default::default()
    }
}

/// The master is still there.
pub fn heartbeat() -> wire::Event {
    wire::Event { r#type: Some(wire::event::Type::Heartbeat as i32), ..Default::default() }
}

/// The subscription is over, or was refused.
pub fn error(message: String) -> wire::Event {
    use wire::event::{Error, Type};
    let error = Some(Error { message: Some(message) });
    wire::Event { r#type: Some(Type::Error as i32), error, ..Default::default() }
}
