//! The frameworks: who holds which offers, what each has got, and why one waits.

use std::time::Duration;

use bourse_proto::operator::{Explanation, Framework, HistoryEvent, Offer, Task};
use bourse_types::units;
use bourse_words::number;
use maud::{Markup, html};

use super::bars::share_bar;
use super::names::id;
use super::page::{Column, Listed, Page, Part, Row, Table};
use super::parts::{amounts, command, dash, facts, or_dash, quoted, state, time};
use super::view::{self, View};
use super::{events, explain, offers, tasks};

/// The page of all frameworks. `offers`: the outstanding ones, to show who holds what.
pub fn page(completed: bool, frameworks: &Listed<Framework>, offers: &Listed<Offer>) -> Page {
    let command = if completed { "bourse frameworks -a" } else { "bourse frameworks" };
    let mut known = table(&frameworks.things).out_of(frameworks.total);
    known.all = command.into();
    let mut held = offers::table(&offers.things).out_of(offers.total);
    held.heading = "Who holds which offers";
    Page {
        title: "Frameworks".into(),
        command: command.into(),
        parts: vec![
            Part::Still(html! {
                p.choice {
                    @for (word, all) in [("subscribed", false), ("also completed", true)] {
                        a href=(View::Frameworks { completed: all }.address())
                            aria-current=[(all == completed).then_some("true")] { (word) }
                    }
                }
            }),
            Part::Table(known),
            Part::Table(held),
        ],
    }
}

/// Frameworks as a table.
pub fn table(frameworks: &[Framework]) -> Table {
    let (rows, left_out) = Table::rows(frameworks, |it| [row(it)]);
    Table {
        id: "frameworks",
        heading: "",
        columns: const {
            &[
                Column::text("framework"),
                Column::text("state"),
                Column::text("roles"),
                Column::number("tasks"),
                Column::number("offers"),
                Column::text("offered"),
                Column::text("allocated"),
                Column::text("dominant share"),
                Column::text("left out because of"),
            ]
        },
        rows,
        left_out,
        all: "bourse frameworks".into(),
        empty: html! {
            "No framework is subscribed. " code { "bourse run -- echo hello" } " brings a small one of its own, "
            code { "bourse services" } " runs the one that keeps services running."
        },
    }
}

/// One framework as a row.
fn row(framework: &Framework) -> Row {
    let cells = vec![
        html! { a href=(view::framework(&framework.id)) { (framework.name) } " " (id(&framework.id)) },
        framework_state(framework),
        roles(framework),
        html! { (framework.tasks) },
        html! { (framework.offers) },
        amounts(framework.offered.as_ref()),
        amounts(framework.allocated.as_ref()),
        dominant(framework),
        unserved(framework),
    ];
    Row::new(format!("framework-{}", view::encode(&framework.id)), cells)
}

fn framework_state(framework: &Framework) -> Markup {
    html! {
        (state(&framework.state))
        @if let Some(deadline) = framework.failover_deadline_ms { small { " torn down " (time(deadline)) } }
    }
}

fn roles(framework: &Framework) -> Markup {
    html! {
        @for role in &framework.roles {
            span.tag { (role) @if framework.suppressed_roles.contains(role) { " (suppressed)" } } " "
        }
    }
}

fn dominant(framework: &Framework) -> Markup {
    match framework.dominant_resource.is_empty() {
        true => dash(),
        false => share_bar(framework.dominant_share, &framework.dominant_resource),
    }
}

/// The reasons, most frequent first.
fn unserved(framework: &Framework) -> Markup {
    let mut reasons = framework.unserved.iter().collect::<Vec<_>>();
    reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), *reason));
    html! {
        @if reasons.is_empty() { (dash()) }
        @for (reason, count) in reasons { span.tag { (explain::word(reason)) " " b { (count) "×" } } " " }
    }
}

/// What the page of one framework shows.
pub struct OneFramework {
    /// It.
    pub framework: Framework,
    /// Those that it holds.
    pub offers: Listed<Offer>,
    /// Its own.
    pub tasks: Vec<Task>,
    /// Those that name it, newest first.
    pub events: Vec<HistoryEvent>,
    /// Why it gets what it gets.
    pub explanation: Option<Explanation>,
}

/// The page of one framework.
pub fn one(model: &OneFramework) -> Page {
    let OneFramework { framework, offers: held, tasks: own, events: newest, explanation } = model;
    let name = quoted(&framework.id);
    let mut held = offers::table(&held.things).out_of(held.total);
    (held.heading, held.empty) = ("Offers that it holds", html! { "It holds no offer right now." });
    held.all = format!("bourse offers --framework {name}");
    let mut own = tasks::table("tasks", own);
    (own.heading, own.empty) = ("Tasks", html! { "It has launched nothing that still runs." });
    own.left_out = (framework.tasks as usize).saturating_sub(own.rows.len());
    own.all = format!("bourse ps --framework {name}");
    let mut happened = events::table("events", newest, &events::Names::default());
    happened.heading = "Events";
    let steer = html! {
        section.part.steer {
            h2 { "Steer it" }
            ul {
                li { (command(&format!("bourse why {name}"))) " tells what stands in the way, agent by agent" }
                li { (command(&format!("bourse teardown {name}"))) " kills its tasks and forgets it" }
            }
        }
    };
    let parts = vec![
        Part::block("about", about(framework)),
        explain::block("Why it gets what it gets", explanation.as_ref()),
        Part::Table(held),
        Part::Table(own),
        Part::Table(happened),
        Part::Still(steer),
    ];
    Page {
        title: format!("Framework {}", framework.name),
        command: format!("bourse frameworks {}", quoted(&framework.name)),
        parts,
    }
}

/// A time that no clock can hold is told as the seconds that it is.
fn failover(framework: &Framework) -> String {
    let seconds = framework.failover_timeout_seconds;
    Duration::try_from_secs_f64(seconds)
        .map_or_else(|_| format!("{} s", number(seconds)), units::format_duration)
}

fn about(framework: &Framework) -> Markup {
    let capabilities = html! {
        @if framework.capabilities.is_empty() { (dash()) }
        @for capability in &framework.capabilities { span.tag { (explain::word(capability)) } " " }
    };
    html! {
        section #about.part {
            (facts([
                ("state", framework_state(framework)),
                ("id", html! { span.id { (framework.id) } }),
                ("roles", roles(framework)),
                ("dominant share", dominant(framework)),
                ("offered", amounts(framework.offered.as_ref())),
                ("allocated", amounts(framework.allocated.as_ref())),
                ("left out because of", unserved(framework)),
                ("principal", or_dash(&framework.principal)),
                ("user", or_dash(&framework.user)),
                ("host", or_dash(&framework.hostname)),
                ("fails over within", html! { (failover(framework)) }),
                ("capabilities", capabilities),
                ("registered", time(framework.registered_ms)),
            ]))
        }
    }
}
