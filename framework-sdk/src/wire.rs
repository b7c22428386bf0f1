//! Calls and events as the messages of the scheduler API.

use bourse_proto::v1;
use bourse_proto::v1::scheduler::call::{self, Type};
use bourse_proto::v1::scheduler::{Event, event};
use bourse_proto::v1::{carrier, offer};
use bourse_sdk_core::{Call, FromMaster, OfferMade, Resize};
use bourse_types::{Address, AgentId, BadRole, FrameworkId, FrameworkInfo, OfferId, Role};
use bourse_wire::attributes::BadAttribute;
use bourse_wire::ids::{BadWireId, WireId, needed};
use bourse_wire::resources::{BadResource, Form};
use bourse_wire::status::BadStatus;
use bourse_wire::time::BadTime;
use bourse_wire::{
    At, Missing, Place, Under, attributes, filters, framework, health, resources, role, size, status, task,
    time,
};
use bytes::Bytes;
use prost::Message;

/// An event of the master that cannot be read. It is passed over: the master and the SDK are of different releases, or
/// one of them has a fault.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum BadEvent {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error(transparent)]
    Id(#[from] BadWireId),
    #[error(transparent)]
    Role(#[from] BadRole),
    #[error(transparent)]
    Resource(#[from] BadResource),
    #[error(transparent)]
    Attribute(#[from] BadAttribute),
    #[error(transparent)]
    Status(#[from] BadStatus),
    #[error(transparent)]
    Time(#[from] BadTime),
}

/// The call that opens a subscription.
pub(crate) fn subscribe(info: &FrameworkInfo, suppressed: &[Role]) -> carrier::Call {
    carrier::Call {
        framework_id: info.id.as_ref().map(WireId::write),
        r#type: Some(Type::Subscribe as i32),
        subscribe: Some(carrier::Subscribe {
            framework_info: Some(framework::write(info)),
            suppressed_roles: role::write_list(suppressed),
            offer_constraints: None,
        }),
        ..Default::default()
    }
}

/// Any other call. The operations of an ACCEPT and their tasks travel as bytes, in the message's variant that the
/// master reads.
pub(crate) fn write(framework: &FrameworkId, call: &Call, form: Form) -> carrier::Call {
    let mut message = carrier::Call { framework_id: Some(framework.write()), ..Default::default() };
    let ids = |offers: &[OfferId]| offers.iter().map(WireId::write).collect();
    let kind = match call {
        Call::Accept { offers, tasks, resizes, refuse } => {
            let mut operations: Vec<_> = resizes.iter().map(|resize| write_resize(resize, form)).collect();
            if !tasks.is_empty() {
                let bytes = |spec| Bytes::from(task::write(spec, form).encode_to_vec());
                operations.push(carrier::Operation {
                    r#type: Some(offer::operation::Type::Launch as i32),
                    launch: Some(carrier::Launch { task_infos: tasks.iter().map(bytes).collect() }),
                    ..Default::default()
                });
            }
            let bytes = |operation: &carrier::Operation| Bytes::from(operation.encode_to_vec());
            message.accept = Some(carrier::Accept {
                offer_ids: ids(offers),
                operations: operations.iter().map(bytes).collect(),
                filters: Some(filters::write(*refuse)),
            });
            Type::Accept
        }
        Call::Decline { offers, refuse } => {
            message.decline =
                Some(call::Decline { offer_ids: ids(offers), filters: Some(filters::write(*refuse)) });
            Type::Decline
        }
        Call::Revive { roles } => {
            message.revive = Some(call::Revive { roles: role::write_list(roles) });
            Type::Revive
        }
        Call::Suppress { roles } => {
            message.suppress = Some(call::Suppress { roles: role::write_list(roles) });
            Type::Suppress
        }
        Call::Kill { task, agent, policy } => {
            message.kill = Some(call::Kill {
                task_id: Some(task.write()),
                agent_id: agent.as_ref().map(WireId::write),
                kill_policy: policy.and_then(health::write_kill_policy),
            });
            Type::Kill
        }
        Call::Acknowledge { agent, task, uuid } => {
            message.acknowledge = Some(call::Acknowledge {
                agent_id: Some(agent.write()),
                task_id: Some(task.write()),
                uuid: Some(Bytes::copy_from_slice(uuid)),
            });
            Type::Acknowledge
        }
        Call::Reconcile { tasks } => {
            let tasks = tasks.iter().map(|(task, agent)| call::reconcile::Task {
                task_id: Some(task.write()),
                agent_id: agent.as_ref().map(WireId::write),
            });
            message.reconcile = Some(call::Reconcile { tasks: tasks.collect() });
            Type::Reconcile
        }
        Call::Teardown => Type::Teardown,
    };
    message.r#type = Some(kind as i32);
    message
}

fn write_resize(resize: &Resize, form: Form) -> carrier::Operation {
    let wanted = offer::operation::Resize {
        task_id: Some(resize.task.write()),
        size: Some(size::write(&resize.size, form)),
    };
    carrier::Operation {
        r#type: Some(offer::operation::Type::Resize as i32),
        resize: Some(wanted.encode_to_vec().into()),
        ..Default::default()
    }
}

/// What an event says to a session. None: nothing that it deals with.
pub(crate) fn read(event: &Event) -> Result<Vec<FromMaster>, At<BadEvent>> {
    use event::Type;
    let said = match event.r#type() {
        Type::Subscribed => {
            let part = part("subscribed", &event.subscribed)?;
            let heartbeat =
                part.heartbeat_interval_seconds.and_then(|seconds| time::read_seconds(seconds).ok());
            let framework = needed("subscribed.framework_id", &part.framework_id)?;
            FromMaster::Subscribed { framework, heartbeat }
        }
        Type::Offers => {
            let read = |(at, form)| read_offer(form).under(format_args!("offers.offers[{at}]"));
            let offers = &part("offers", &event.offers)?.offers;
            FromMaster::Offers(offers.iter().enumerate().map(read).collect::<Result<_, At<BadEvent>>>()?)
        }
        Type::Rescind => {
            FromMaster::Rescind(needed("rescind.offer_id", &part("rescind", &event.rescind)?.offer_id)?)
        }
        Type::Update => {
            let form = part("update.status", &part("update", &event.update)?.status)?;
            FromMaster::Update(Box::new(status::read(form).under("update.status")?))
        }
        // With an executor it tells the executor's end, which the updates of its tasks tell as well.
        Type::Failure => match part("failure", &event.failure)? {
            event::Failure { agent_id, executor_id: None, .. } => {
                FromMaster::AgentFailed(needed("failure.agent_id", agent_id)?)
            }
            event::Failure { executor_id: Some(_), .. } => return Ok(Vec::new()),
        },
        Type::InverseOffers => {
            return part("inverse_offers", &event.inverse_offers)?
                .inverse_offers
                .iter()
                .map(read_inverse)
                .collect();
        }
        Type::Error => FromMaster::Error(part("error", &event.error)?.message().to_owned()),
        Type::Heartbeat => FromMaster::Heartbeat,
        // Executors of one's own, operations and withdrawn drains are not the SDK's business yet. They say at least
        // that the master is there.
        Type::Unknown | Type::RescindInverseOffer | Type::UpdateOperationStatus | Type::Message => {
            FromMaster::Heartbeat
        }
    };
    Ok(vec![said])
}

fn read_offer(form: &v1::Offer) -> Result<OfferMade, At<BadEvent>> {
    let allocation: &v1::resource::AllocationInfo = part("allocation_info", &form.allocation_info)?;
    Ok(OfferMade {
        id: needed("id", &form.id)?,
        agent: needed("agent_id", &form.agent_id)?,
        hostname: form.hostname().to_owned(),
        address: form.url.as_ref().and_then(|url| read_address(url.address.as_ref()?)),
        attributes: attributes::read(&form.attributes).under("attributes")?,
        role: Role::new(allocation.role()).at("allocation_info.role")?,
        resources: resources::read(&form.resources).under("resources")?,
        unavailable_from: form.unavailability.as_ref().map(read_start).transpose()?,
    })
}

/// The agent's API. Something else in its place is no reason to refuse an offer.
fn read_address(form: &v1::Address) -> Option<Address> {
    let host = form.ip.as_ref().or(form.hostname.as_ref())?.clone();
    Some(Address { host, port: u16::try_from(form.port?).ok()? })
}

fn read_inverse(form: &v1::InverseOffer) -> Result<FromMaster, At<BadEvent>> {
    let agent: AgentId = needed("inverse_offers.agent_id", &form.agent_id)?;
    let unavailability = part("inverse_offers.unavailability", &form.unavailability)?;
    Ok(FromMaster::AgentDraining { agent, deadline: read_start(unavailability)? })
}

fn read_start(form: &v1::Unavailability) -> Result<bourse_types::Wall, At<BadEvent>> {
    time::read_time(part("unavailability.start", &form.start)?).under("unavailability.start")
}

fn part<'a, T>(name: &str, field: &'a Option<T>) -> Result<&'a T, At<BadEvent>> {
    field.as_ref().ok_or(Missing).at(name)
}

#[cfg(test)]
mod damaged;

#[cfg(test)]
mod tests {
    use super::*;
    use bourse_proto::v1::scheduler;
    use std::time::Duration;

    #[test]
    fn an_accept_is_read_by_mesos_form_of_the_message_as_well() {
        let offers = vec!["o1".parse().expect("valid")];
        let refuse = Duration::from_secs(9);
        let resize = Resize {
            task: "t2".parse().expect("valid"),
            size: bourse_types::Size::of("cpus:2; mem:64".parse().expect("valid")),
        };
        let call = Call::Accept { offers, tasks: vec![tests_task()], resizes: vec![resize.clone()], refuse };
        let bytes = write(&"f".parse().expect("valid"), &call, Form::Refined).encode_to_vec();
        let read = scheduler::Call::decode(&bytes[..]).expect("the same bytes");
        let accept = read.accept.expect("an accept");
        assert_eq!(accept.filters.expect("filters").refuse_seconds(), 9.0);
        let resized = accept.operations[0].resize.as_ref().expect("a resize");
        assert_eq!(resized.task_id.as_ref().expect("an id").value(), "t2");
        assert_eq!(size::read(resized.size.as_ref().expect("a size")), Ok(resize.size));
        let launched = &accept.operations[1].launch.as_ref().expect("a launch").task_infos[0];
        assert_eq!(launched.task_id.as_ref().expect("an id").value(), "t1");
        assert_eq!(read.r#type, Some(Type::Accept as i32));
    }

    #[test]
    fn an_event_that_the_sdk_has_no_use_for_still_says_that_the_master_is_there() {
        let event = Event { r#type: Some(event::Type::Message as i32), ..Default::default() };
        assert_eq!(read(&event).expect("read"), [FromMaster::Heartbeat]);
    }

    #[test]
    fn what_is_missing_is_named_by_its_path() {
        let mut event = Event { r#type: Some(event::Type::Offers as i32), ..Default::default() };
        assert!(read(&event).expect_err("no offers").to_string().starts_with("offers: "));
        event.offers = Some(event::Offers { offers: vec![v1::Offer::default()] });
        let error = read(&event).expect_err("an empty offer").to_string();
        assert!(error.starts_with("offers.offers[0].allocation_info: "), "{error}");
    }

    fn tests_task() -> bourse_types::TaskSpec {
        bourse_types::TaskSpec::plain(
            "t1".parse().expect("valid"),
            "f".parse().expect("valid"),
            "a".parse().expect("valid"),
            "cpus:1; mem:32".parse().expect("valid"),
            bourse_types::Command::shell("true"),
        )
    }
}
