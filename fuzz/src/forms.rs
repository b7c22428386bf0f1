//! What tasks, frameworks and agents are on the wire.

use bourse_proto::v1;
use bourse_types::{Address, FrameworkId, Role};
use bourse_wire::task::Owner;
use bourse_wire::{Form, agent, framework, resources, size, status, task};
use prost::Message as _;

use crate::{Target, comes_back, samples};

pub const TARGETS: &[Target] = &[
    Target {
        name: "resources",
        samples: || vec![of_resources(&samples::amounts()).encode_to_vec()],
        try_it: |bytes| {
            comes_back(
                bytes,
                |form: &v1::TaskResourceLimitation| resources::read(&form.resources),
                of_resources,
            )
        },
    },
    Target {
        name: "framework",
        samples: || vec![samples::framework_info().encode_to_vec()],
        try_it: |bytes| comes_back(bytes, framework::read, framework::write),
    },
    Target {
        name: "agent",
        samples: || vec![agent::write(None, &samples::agent_info()).encode_to_vec()],
        try_it: |bytes| {
            comes_back(bytes, |form| agent::read(form, address(), "v"), |info| agent::write(None, info))
        },
    },
    Target {
        name: "task",
        samples: || vec![samples::task().encode_to_vec()],
        try_it: |bytes| {
            comes_back(bytes, |form| task::read(form, owner()), |wanted| task::write(wanted, Form::Refined))
        },
    },
    Target {
        name: "status",
        samples: || vec![samples::update().encode_to_vec()],
        try_it: |bytes| comes_back(bytes, status::read, |update| status::write(update, Form::Refined)),
    },
    Target {
        name: "size",
        samples: || vec![samples::task_size().encode_to_vec()],
        try_it: |bytes| comes_back(bytes, size::read, |wanted| size::write(wanted, Form::Refined)),
    },
];

/// A message with nothing in it but resources.
fn of_resources(all: &bourse_types::Resources) -> v1::TaskResourceLimitation {
    v1::TaskResourceLimitation { resources: resources::write(all, Form::Refined) }
}

fn address() -> Address {
    Address { host: "a".into(), port: 5051 }
}

fn owner() -> Owner {
    Owner { framework: FrameworkId::new("f").expect("an id"), role: Role::any() }
}
