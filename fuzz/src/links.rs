//! What schedulers, agents and masters say to each other.

use bourse_agent::readers as agent;
use bourse_hostile::{judged, told};
use bourse_master::disk::event;
use bourse_master::wire::agent::{read_register, read_resized, read_update};
use bourse_master::wire::scheduler::{Heard, read};
use bourse_master_core::{Call, Event, Launch, LinkId, StreamId, Subscription};
use bourse_proto::agent_link as link;
use bourse_proto::agent_link::from_agent::Message as Said;
use bourse_proto::agent_link::to_agent::Message as Told;
use bourse_proto::v1;
use bourse_proto::v1::carrier;
use bourse_proto::v1::scheduler as wire;
use bourse_types::{AgentId, Now, OfferId, Role};
use bourse_wire::{Form, resources};
use prost::Message as _;

use crate::{Target, samples};

pub const TARGETS: &[Target] = &[
    Target { name: "call", samples: calls, try_it: hear_call },
    Target { name: "from-agent", samples: said_by_agents, try_it: hear_agent },
    Target { name: "to-agent", samples: said_to_agents, try_it: hear_master },
    Target { name: "to-scheduler", samples: said_to_schedulers, try_it: hear_event },
];

/// Written down and read again it is the same, as a master's recording must be.
fn survives(event: Event) {
    let now = Now::default();
    let again = event::decode(&event::encode(now, &event)).expect("it was taken at the door");
    assert_eq!(again, (now, event));
}

fn calls() -> Vec<Vec<u8>> {
    samples::calls().iter().map(carrier::Call::encode_to_vec).collect()
}

fn hear_call(bytes: &[u8]) -> bool {
    let Some(call) = judged(|| carrier::Call::decode(bytes)) else { return false };
    match judged(|| read(call, &|_: &OfferId| Some(Role::any()))) {
        Some(Heard::Subscribe { info, suppressed }) => {
            let subscription = Subscription { info: *info, suppressed, principal: None };
            survives(Event::Subscribes { stream: StreamId(1), subscription: Box::new(subscription) });
            true
        }
        Some(Heard::Call { framework, call: Some(call) }) => {
            if let Call::Accept(accept) = &call {
                for launch in &accept.launches {
                    if let Launch::Invalid { why, .. } = launch {
                        told(why);
                    }
                }
                accept.resizes.iter().filter_map(|resize| resize.wanted.as_ref().err()).for_each(told);
            }
            survives(Event::Call { framework, stream: StreamId(1), call });
            true
        }
        Some(Heard::Call { call: None, .. }) => true,
        None => false,
    }
}

fn said_by_agents() -> Vec<Vec<u8>> {
    let update =
        link::StatusUpdate { framework_id: "F".into(), status: Some(samples::update()), latest: None };
    let resized = link::TaskResized {
        framework_id: "F".into(),
        task_id: "t1".into(),
        size: Some(samples::task_size()),
        wanted: Some(samples::task_size()),
    };
    let said = [Said::Register(samples::register()), Said::Update(update), Said::TaskResized(resized)];
    said.map(|message| link::FromAgent { message: Some(message) }.encode_to_vec()).into()
}

fn hear_agent(bytes: &[u8]) -> bool {
    let agent = || AgentId::new("S1").expect("an id");
    let said = judged(|| link::FromAgent::decode(bytes)).and_then(|message| message.message);
    let event =
        match said {
            Some(Said::Register(form)) => judged(|| read_register(form)).map(|registration| {
                Event::AgentRegisters { link: LinkId(1), registration: Box::new(registration) }
            }),
            Some(Said::Update(form)) => judged(|| read_update(&form)).map(|update| Event::StatusUpdate {
                agent: agent(),
                link: LinkId(1),
                update: Box::new(update),
            }),
            Some(Said::TaskResized(form)) => judged(|| read_resized(&form)).map(|resized| {
                Event::TaskResized { agent: agent(), link: LinkId(1), resized: Box::new(resized) }
            }),
            Some(Said::Heartbeat(_) | Said::Usage(_) | Said::RegisterPage(_)) | None => None,
        };
    let taken = event.is_some();
    event.into_iter().for_each(survives);
    taken
}

fn said_to_agents() -> Vec<Vec<u8>> {
    let run = link::RunTask {
        framework: Some(samples::framework_info()),
        task_info: samples::task().encode_to_vec().into(),
        role: "*".into(),
        resources: resources::write(&samples::amounts(), Form::Refined),
    };
    let registered = link::Registered {
        agent_id: "S1".into(),
        master_id: "M".into(),
        heartbeat_interval: 15.0,
        reconnect_seconds: Some(2.0),
        known_tasks: vec![link::KnownTask { framework_id: "F".into(), task_id: "t1".into() }],
    };
    let resize =
        link::ResizeTask { framework_id: "F".into(), task_id: "t1".into(), size: Some(samples::task_size()) };
    let said = [Told::RunTask(run), Told::Registered(registered), Told::ResizeTask(resize)];
    said.map(|message| link::ToAgent { epoch: 3, message: Some(message) }.encode_to_vec()).into()
}

fn hear_master(bytes: &[u8]) -> bool {
    let Some(message) = judged(|| link::ToAgent::decode(bytes)) else { return false };
    judged(|| agent::message(message)).is_some()
}

fn said_to_schedulers() -> Vec<Vec<u8>> {
    use wire::event::{self, Type};
    let of = |kind: Type| wire::Event { r#type: Some(kind as i32), ..wire::Event::default() };
    let address = v1::Address { hostname: Some("host-a".into()), ip: None, port: Some(5051) };
    let offer = v1::Offer {
        id: Some(v1::OfferId { value: Some("O1".into()) }),
        framework_id: samples::framework_info().id,
        agent_id: Some(samples::agent_id()),
        hostname: Some("host-a".into()),
        url: Some(v1::Url { address: Some(address), ..Default::default() }),
        resources: resources::write(&samples::amounts(), Form::Refined),
        allocation_info: Some(v1::resource::AllocationInfo { role: Some("eng/web".into()) }),
        ..Default::default()
    };
    let subscribed = event::Subscribed {
        framework_id: samples::framework_info().id,
        heartbeat_interval_seconds: Some(15.0),
        master_info: None,
    };
    let update = event::Update { status: Some(samples::update()) };
    let events = [
        wire::Event { subscribed: Some(subscribed), ..of(Type::Subscribed) },
        wire::Event { offers: Some(event::Offers { offers: vec![offer] }), ..of(Type::Offers) },
        wire::Event { update: Some(update), ..of(Type::Update) },
    ];
    events.iter().map(wire::Event::encode_to_vec).collect()
}

fn hear_event(bytes: &[u8]) -> bool {
    let Some(event) = judged(|| wire::Event::decode(bytes)) else { return false };
    judged(|| bourse_sdk::read_event(&event)).is_some()
}
