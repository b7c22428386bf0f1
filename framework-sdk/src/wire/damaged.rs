//! Events of a master that are damaged on their way: each is read or refused in words.

use std::time::Duration;

use bourse_hostile::{damaged, judged};
use bourse_types::{Source, TaskId, TaskState, TaskStatus, Wall};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn offer() -> v1::Offer {
    let address = v1::Address { hostname: Some("host-a".into()), ip: None, port: Some(5051) };
    v1::Offer {
        id: Some(v1::OfferId { value: Some("O1".into()) }),
        framework_id: Some(v1::FrameworkId { value: Some("F".into()) }),
        agent_id: Some(v1::AgentId { value: Some("S1".into()) }),
        hostname: Some("host-a".into()),
        url: Some(v1::Url { address: Some(address), ..Default::default() }),
        resources: resources::write(&"cpus:1; ports:[31000-31001]".parse().expect("valid"), Form::Refined),
        attributes: attributes::write(&"rack:a".parse().expect("valid")),
        unavailability: Some(unavailability()),
        allocation_info: Some(v1::resource::AllocationInfo { role: Some("eng/web".into()) }),
        ..Default::default()
    }
}

fn unavailability() -> v1::Unavailability {
    v1::Unavailability { start: Some(time::write_time(Wall(7))), duration: None }
}

fn update() -> event::Update {
    let task = TaskId::new("t1").expect("valid");
    let mut update = TaskStatus::new(task, TaskState::Failed, Source::Agent, Wall(9_000));
    update.uuid = Some([7; 16]);
    update.message = Some("it ended".into());
    event::Update { status: Some(status::write(&update, Form::Refined)) }
}

/// One of each kind that the SDK reads.
fn events() -> Vec<Vec<u8>> {
    let subscribed = event::Subscribed {
        framework_id: Some(v1::FrameworkId { value: Some("F".into()) }),
        heartbeat_interval_seconds: Some(15.0),
        master_info: None,
    };
    let inverse = v1::InverseOffer {
        agent_id: Some(v1::AgentId { value: Some("S1".into()) }),
        unavailability: Some(unavailability()),
        ..Default::default()
    };
    let of = |kind: event::Type| Event { r#type: Some(kind as i32), ..Default::default() };
    let all = [
        Event { subscribed: Some(subscribed), ..of(event::Type::Subscribed) },
        Event { offers: Some(event::Offers { offers: vec![offer()] }), ..of(event::Type::Offers) },
        Event { rescind: Some(event::Rescind { offer_id: offer().id }), ..of(event::Type::Rescind) },
        Event { update: Some(update()), ..of(event::Type::Update) },
        Event {
            inverse_offers: Some(event::InverseOffers { inverse_offers: vec![inverse] }),
            ..of(event::Type::InverseOffers)
        },
        Event { error: Some(event::Error { message: Some("no".into()) }), ..of(event::Type::Error) },
    ];
    all.iter().map(Event::encode_to_vec).collect()
}

proptest! {
    #[test]
    fn a_damaged_event_is_refused_in_words_or_read(bytes in damaged(select(events()))) {
        if let Some(event) = judged(|| Event::decode(&bytes[..])) {
            judged(|| read(&event));
        }
    }

    #[test]
    fn what_a_framework_says_of_a_span_is_what_the_master_hears(nanos in any::<u64>()) {
        let refuse = Duration::from_nanos(nanos);
        let call = Call::Decline { offers: Vec::new(), refuse };
        let message = write(&FrameworkId::new("F").expect("valid"), &call, Form::Refined);
        let heard = filters::read(message.decline.expect("a DECLINE").filters.as_ref());
        let wanted = refuse.min(filters::MAX_REFUSE);
        prop_assert!(heard.abs_diff(wanted) < Duration::from_micros(1), "{:?} and {:?}", heard, wanted);
    }
}
