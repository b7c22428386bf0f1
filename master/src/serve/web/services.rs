//! The services: wanted against seen, each slot with its attempts. Asked of the service framework, which may be away.

use bourse_proto::services::{Attempt, Instance, Service};
use bourse_words::Tone;
use maud::{Markup, html};

use super::names::{self, prose};
use super::page::{Column, Page, Part, Row, Table};
use super::parts::{class, command, dash, facts, mark, quoted, state, time, toned};
use super::{explain, view};

/// What is known of the services, and how well.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// As the service framework told last.
    pub services: Vec<Service>,
    /// Its id; empty when it never told.
    pub framework_id: String,
    /// When it told them; 0 for never.
    pub told_ms: u64,
    /// Why it does not tell any more; `None` when this is fresh.
    pub trouble: Option<String>,
}

/// The page of all services.
pub fn page(known: &Services) -> Page {
    let (rows, left_out) = Table::rows(&known.services, |service| [row(service)]);
    Page {
        title: "Services".into(),
        command: "bourse service list".into(),
        parts: vec![
            Part::block("source", source(known)),
            Part::Table(Table {
                id: "services",
                heading: "",
                columns: const {
                    &[
                        Column::text("service"),
                        Column::text("state"),
                        Column::text("instances"),
                        Column::number("running"),
                        Column::number("wanted"),
                        Column::number("restarts in 1 h"),
                        Column::text("why"),
                    ]
                },
                rows,
                left_out,
                all: "bourse service list".into(),
                empty: match known.told_ms {
                    0 => html! { "Nothing is known of any service." },
                    _ => html! {
                        "No services yet. Write a file of two lines, name and command, and "
                        code { "bourse service deploy web.toml" } "."
                    },
                },
            }),
        ],
    }
}

/// Whether what is shown is fresh, in a sentence when it is not.
fn source(known: &Services) -> Markup {
    html! {
        div #source {
            @if let Some(trouble) = &known.trouble {
                p.notice.busy role="status" {
                    (mark(Tone::Busy))
                    @if known.told_ms == 0 {
                        "The service framework cannot be asked: " (prose(trouble)) "."
                    } @else {
                        "What is shown is from " (time(known.told_ms))
                        ", as the service framework cannot be asked now: " (prose(trouble))
                        ". The services themselves go on running."
                    }
                }
            }
        }
    }
}

/// One service as a row.
fn row(service: &Service) -> Row {
    let cells = vec![
        html! { a href=(view::service(&service.name)) { (service.name) } },
        state(&service.state),
        strip(service),
        html! { (service.running) },
        html! { (service.wanted) },
        html! { (service.restarts) },
        if service.reason.is_empty() {
            dash()
        } else {
            html! { span.sentence { (prose(&service.reason)) } }
        },
    ];
    Row::new(format!("service-{}", view::encode(&service.name)), cells)
}

/// How many instances are drawn one by one.
const STRIP_MAX: usize = 40;

/// A mark for each instance.
fn strip(service: &Service) -> Markup {
    let said = format!("{} of {} running, {} healthy", service.running, service.wanted, service.healthy);
    html! {
        span.strip role="img" aria-label=(said) title=(said) {
            @for instance in service.instances.iter().take(STRIP_MAX) { span.(class(tone(instance))) { (mark(tone(instance))) } }
            @if service.instances.len() > STRIP_MAX { "+" (service.instances.len() - STRIP_MAX) }
        }
    }
}

/// A running instance that is not healthy is not as it should be.
fn tone(instance: &Instance) -> Tone {
    match instance.healthy {
        Some(false) => Tone::Bad,
        _ => Tone::of(&instance.state),
    }
}

/// The page of one service.
pub fn one(known: &Services, service: &Service) -> Page {
    let name = quoted(&service.name);
    let (rows, left_out) = Table::rows(&service.instances, |instance| slot(&known.framework_id, instance));
    Page {
        title: format!("Service {}", service.name),
        command: format!("bourse service show {name}"),
        parts: vec![
            Part::block("source", source(known)),
            Part::block("about", about(service)),
            Part::Table(Table {
                id: "slots",
                heading: "Instances",
                columns: const {
                    &[
                        Column::text("instance"),
                        Column::text("state"),
                        Column::text("agent"),
                        Column::text("ports"),
                        Column::text("task"),
                        Column::text("since"),
                        Column::text("why"),
                    ]
                },
                rows,
                left_out,
                all: format!("bourse service show {name}"),
                empty: html! { "No instances are wanted." },
            }),
            Part::block(
                "file",
                html! {
                    section #file.part {
                        h2 { "As it was written" small { " version " (service.version) } }
                        pre.toml { (service.toml.trim_end()) }
                    }
                },
            ),
            Part::Still(html! {
                section.part.steer {
                    h2 { "Steer it" }
                    ul {
                        li { (command(&format!("bourse service scale {name} COUNT"))) " wants another number of instances" }
                        li { (command(&format!("bourse service deploy {name}.toml"))) " wants what the file says now" }
                        li { (command(&format!("bourse service remove {name}"))) " kills its instances and forgets it" }
                    }
                }
            }),
        ],
    }
}

fn about(service: &Service) -> Markup {
    html! {
        section #about.part {
            (facts([
                ("state", state(&service.state)),
                ("instances", html! {
                    (service.running) " running of " (service.wanted) " wanted, " (service.healthy) " healthy"
                }),
                ("why", if service.reason.is_empty() { dash() } else { prose(&service.reason) }),
                ("restarts in the last hour", html! { (service.restarts) }),
            ]))
        }
    }
}

/// A slot and, below it, its attempts that ended.
fn slot(framework: &str, instance: &Instance) -> Vec<Row> {
    let why = html! {
        @if instance.reason.is_empty() && instance.retry_ms.is_none() { (dash()) }
        span.sentence { (prose(&instance.reason)) }
        @if let Some(at) = instance.retry_ms { small { " again " (time(at)) } }
    };
    let now = Row::new(
        format!("slot-{}", view::encode(&instance.name)),
        vec![
            html! { (instance.name) },
            html! {
                (state(&instance.state))
                @match instance.healthy {
                    Some(true) => { " " (toned(Tone::Good, "healthy")) }
                    Some(false) => { " " (toned(Tone::Bad, "unhealthy")) }
                    None => {}
                }
            },
            match instance.agent_id.is_empty() {
                true => dash(),
                false => names::agent(&instance.agent_id, &instance.hostname),
            },
            html! {
                @if instance.ports.is_empty() { (dash()) }
                @for port in &instance.ports { span.port { (port) } " " }
            },
            task(framework, &instance.task_id),
            time(instance.since_ms),
            why,
        ],
    );
    let before = instance.attempts.iter().map(|attempt| attempted(framework, instance, attempt));
    std::iter::once(now).chain(before).collect()
}

fn attempted(framework: &str, instance: &Instance, attempt: &Attempt) -> Row {
    let why = html! {
        @if !attempt.reason.is_empty() { (explain::word(&attempt.reason)) " " }
        span.sentence { (prose(&attempt.message)) }
    };
    Row {
        id: format!("attempt-{}-{}", view::encode(&instance.name), view::encode(&attempt.task_id)),
        class: Some("before"),
        cells: vec![
            html! { "before" span.hidden { " " (instance.name) } },
            state(&attempt.state),
            html! { (attempt.hostname) },
            dash(),
            task(framework, &attempt.task_id),
            html! { (time(attempt.ended_ms)) },
            why,
        ],
    }
}

fn task(framework: &str, id: &str) -> Markup {
    match (framework.is_empty(), id.is_empty()) {
        (_, true) => dash(),
        (true, false) => html! { (id) },
        (false, false) => html! { a href=(view::task(framework, id)) { (id) } },
    }
}
