//! The agents: their resources in all parts, and what runs on each.

use bourse_proto::operator::{Agent, HistoryEvent, Offer, Task};
use bourse_words::mib;
use maud::{Markup, html};

use super::bars::{capacity, gauge};
use super::names::{self, id};
use super::page::{Column, Listed, Page, Part, Row, Table};
use super::parts::{command, dash, facts, or_dash, quoted, state, time};
use super::{events, offers, tasks, view};

/// The page of all agents.
pub fn page(agents: &Listed<Agent>) -> Page {
    let table = table(&agents.things).out_of(agents.total);
    Page { title: "Agents".into(), command: "bourse agents".into(), parts: vec![Part::Table(table)] }
}

/// Agents as a table.
pub fn table(agents: &[Agent]) -> Table {
    let (rows, left_out) = Table::rows(agents, |it| [row(it)]);
    Table {
        id: "agents",
        heading: "",
        columns: const {
            &[
                Column::text("agent"),
                Column::text("state"),
                Column::number("tasks"),
                Column::number("offers"),
                Column::text("cpus"),
                Column::text("memory"),
                Column::text("disk"),
            ]
        },
        rows,
        left_out,
        all: "bourse agents".into(),
        empty: html! {
            "No agents yet, so there is nothing to offer. Start one with "
            code { "bourse agent --master HOST:5050" } ", or a whole cluster on this machine with " code { "bourse dev" } "."
        },
    }
}

/// One agent as a row. When it was last heard is told only while that says something.
fn row(agent: &Agent) -> Row {
    let cells = vec![
        html! {
            (names::agent(&agent.id, &agent.hostname))
            @if !agent.hostname.is_empty() { " " (id(&agent.id)) }
        },
        agent_state(agent),
        html! { (agent.tasks) },
        html! { (agent.offers) },
        gauge("cpus", agent.resources.as_ref()),
        gauge("memory", agent.resources.as_ref()),
        gauge("disk", agent.resources.as_ref()),
    ];
    Row::new(format!("agent-{}", view::encode(&agent.id)), cells)
}

fn agent_state(agent: &Agent) -> Markup {
    html! {
        (state(&agent.state))
        @match agent.drain_deadline_ms {
            Some(deadline) => small { " until " (time(deadline)) },
            None if !matches!(agent.state.as_str(), "active" | "gone") && agent.heard_ms != 0 => {
                small { " last heard " (time(agent.heard_ms)) }
            }
            None => {}
        }
    }
}

/// What the page of one agent shows.
pub struct OneAgent {
    /// It.
    pub agent: Agent,
    /// Those that run there.
    pub tasks: Vec<Task>,
    /// Those of its resources.
    pub offers: Listed<Offer>,
    /// Those that name it, newest first.
    pub events: Vec<HistoryEvent>,
    /// The frameworks in them.
    pub names: events::Names,
}

/// The page of one agent.
pub fn one(model: &OneAgent) -> Page {
    let OneAgent { agent, tasks: running, offers: held, events: newest, names } = model;
    let known = if agent.hostname.is_empty() { &agent.id } else { &agent.hostname };
    let name = quoted(known);
    let mut running = tasks::table("tasks", running);
    (running.heading, running.empty) = ("Tasks", html! { "Nothing runs here." });
    running.left_out = (agent.tasks as usize).saturating_sub(running.rows.len());
    running.all = format!("bourse ps --agent {name}");
    let mut held = offers::table(&held.things).out_of(held.total);
    (held.heading, held.empty) = ("Offers", html! { "Nothing of this agent is on offer right now." });
    held.all = format!("bourse offers --agent {name}");
    let mut happened = events::table("events", newest, names);
    happened.heading = "Events";
    Page {
        title: format!("Agent {}", names::short(known)),
        command: format!("bourse agents {name}"),
        parts: vec![
            Part::block("about", about(agent)),
            Part::block("capacity", capacity("capacity", agent.resources.as_ref())),
            Part::Table(running),
            Part::Table(held),
            Part::Table(happened),
            Part::block("steer", steer(agent, &name)),
        ],
    }
}

fn about(agent: &Agent) -> Markup {
    let attributes = html! {
        @if agent.attributes.is_empty() { (dash()) }
        @for (name, value) in &agent.attributes { span.tag { (name) "=" (value) } " " }
    };
    html! {
        section #about.part {
            (facts([
                ("state", agent_state(agent)),
                ("id", html! { span.id { (agent.id) } }),
                ("address", or_dash(&agent.address)),
                ("attributes", attributes),
                ("version", or_dash(&agent.version)),
                ("registered", time(agent.registered_ms)),
                ("processes", agent.pids_used.map_or_else(dash, |pids| html! { (pids) " of its tasks" })),
                ("swap", agent.swap_used_mib.map_or_else(dash, |swap| html! { (mib(swap)) " of its tasks" })),
                (if agent.state == "gone" { "gone since" } else { "last heard" }, time(agent.heard_ms)),
            ]))
        }
    }
}

fn steer(agent: &Agent, name: &str) -> Markup {
    let away = matches!(agent.state.as_str(), "unreachable" | "disconnected");
    let drained = matches!(agent.state.as_str(), "draining" | "drained");
    html! {
        section #steer.part.steer hidden[agent.state == "gone"] {
            h2 { "Steer it" }
            ul {
                @if drained {
                    li { (command(&format!("bourse reactivate {name}"))) " offers it again" }
                } @else {
                    li {
                        (command(&format!("bourse drain {name} --deadline 10m")))
                        " tells its frameworks, and kills what still runs after ten minutes"
                    }
                }
                @if away {
                    li { (command(&format!("bourse gone {name}"))) " the machine will never come back; cannot be undone" }
                }
                li { (command(&format!("bourse why {name}"))) " tells why it is not offered" }
            }
        }
    }
}
