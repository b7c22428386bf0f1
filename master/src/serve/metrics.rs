//! `/metrics`: what was counted, and what the cluster looks like right now, as Prometheus reads it.

use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bourse_types::Resources;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::amounts::mib;
use super::{Doors, forms};
use crate::driver::Picture;
use crate::usage::Total;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers a scrape.
pub(super) async fn scrape(State(doors): State<Doors>) -> Response {
    let mut text = String::new();
    let picture = doors.driver.picture();
    let now = now(&picture, forms::used(&picture.view, &doors.usages));
    let written = encode_registry(&mut text, doors.metrics.registry())
        .and_then(|()| encode_registry(&mut text, &now))
        .and_then(|()| encode_eof(&mut text));
    written.expect("writing to a String does not fail");
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

type Float = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Amount {
    resource: &'static str,
    part: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFramework {
    framework_id: String,
    name: String,
}

/// The gauges of one moment.
fn now(picture: &Picture, used: Total) -> Registry {
    let mut registry = Registry::default();
    let ours = registry.sub_registry_with_prefix("bourse_cluster");
    let view = &picture.view;

    let amounts = Family::<Amount, Float>::default();
    let totals = view.totals();
    let parts = [
        ("total", &totals.total),
        ("reserved", &totals.reserved),
        ("offered", &totals.offered),
        ("allocated", &totals.allocated),
        ("available", &totals.available),
    ];
    for (part, resources) in parts {
        note(&amounts, part, resources);
    }
    amounts.get_or_create(&Amount { resource: "cpus", part: "used" }).set(used.cpus);
    for (resource, bytes) in [("mem_mib", used.memory_bytes), ("disk_mib", used.disk_bytes)] {
        amounts.get_or_create(&Amount { resource, part: "used" }).set(mib(bytes));
    }
    let help = "Resources by part: total, reserved, offered, allocated, available, used (measured)";
    ours.register("resources", help, amounts);

    let tasks = Family::<OfState, Gauge>::default();
    for (state, count) in totals.tasks.iter().filter(|(state, _)| !state.is_terminal()) {
        tasks.get_or_create(&OfState { state: state.as_str() }).set(*count as i64);
    }
    ours.register("tasks", "Live tasks by state", tasks);

    let agents = Family::<OfState, Gauge>::default();
    for agent in view.agents() {
        agents.get_or_create(&OfState { state: agent.word() }).inc();
    }
    ours.register("agents", "Agents by state", agents);

    let offers = Gauge::<i64>::default();
    offers.set(totals.offers as i64);
    ours.register("offers_outstanding", "Offers that were not answered yet", offers);

    let (framework_tasks, framework_offers) =
        (Family::<OfFramework, Gauge>::default(), Family::<OfFramework, Gauge>::default());
    let shares = Family::<OfFramework, Float>::default();
    for picture in view.framework_pictures() {
        let framework = picture.framework;
        let labels =
            OfFramework { framework_id: framework.id.to_string(), name: framework.info.name.clone() };
        framework_tasks.get_or_create(&labels).set(framework.tasks.len() as i64);
        framework_offers.get_or_create(&labels).set(framework.offers.len() as i64);
        shares.get_or_create(&labels).set(picture.share);
    }
    ours.register("framework_tasks", "Live tasks of each framework", framework_tasks);
    ours.register("framework_offers", "Outstanding offers of each framework", framework_offers);
    let help = "Dominant share of each framework, 0 to 1 of the cluster";
    ours.register("framework_dominant_share", help, shares);
    registry
}

fn note(amounts: &Family<Amount, Float>, part: &'static str, resources: &Resources) {
    let set = |resource, value: f64| {
        amounts.get_or_create(&Amount { resource, part }).set(value);
    };
    set("cpus", resources.cpus().as_f64());
    set("mem_mib", resources.mem().as_f64());
    set("disk_mib", resources.disk().as_f64());
    set("gpus", resources.gpus().as_f64());
    set("ports", resources.ports().len() as f64);
}
