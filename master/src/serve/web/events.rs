//! What happened, newest first.

use bourse_proto::operator::HistoryEvent;
use maud::{Markup, html};

use super::page::{Column, Page, Part, Row, Table};
use super::parts::{dash, quoted, time};
use super::view::{self, EventsQuery, View};

/// So many are shown on one page.
pub const PAGE: u32 = 100;

/// What an event can mainly be about.
const KINDS: &[&str] = &["task", "agent", "framework", "offer", "operator"];

/// The page.
pub fn page(query: &EventsQuery, events: &[HistoryEvent]) -> Page {
    let mut command = "bourse events".to_owned();
    if !query.kind.is_empty() {
        command += &format!(" --kind {}", quoted(&query.kind));
    }
    if !query.about.is_empty() {
        command += &format!(" --about {}", quoted(&query.about));
    }
    let older = events.last().filter(|_| events.len() >= PAGE as usize).map(|last| last.sequence);
    Page {
        title: "Events".into(),
        command: command + " -f",
        parts: vec![
            Part::Still(choice(query)),
            Part::Table(table("events", events)),
            Part::Still(html! {
                p.more {
                    @if query.before != 0 {
                        a href=(View::Events(EventsQuery { before: 0, ..query.clone() }).address()) { "Newest" } " "
                    }
                    @if let Some(before) = older {
                        a href=(View::Events(EventsQuery { before, ..query.clone() }).address()) { "Older" }
                    }
                }
            }),
        ],
    }
}

fn choice(query: &EventsQuery) -> Markup {
    html! {
        p.choice {
            @for kind in [""].iter().chain(KINDS) {
                a href=(View::Events(EventsQuery { kind: (*kind).into(), before: 0, ..query.clone() }).address())
                    aria-current=[(*kind == query.kind).then_some("true")] {
                    @if kind.is_empty() { "all" } @else { (kind) }
                }
            }
            @if !query.about.is_empty() {
                " about " b { (query.about) } " "
                a href=(View::Events(EventsQuery { about: String::new(), before: 0, ..query.clone() }).address()) {
                    "about anything"
                }
            }
        }
    }
}

/// Events as a table.
pub fn table(id: &'static str, events: &[HistoryEvent]) -> Table {
    Table {
        id,
        heading: "",
        columns: const {
            &[Column::text("when"), Column::text("kind"), Column::text("what"), Column::text("about"), Column::text("by")]
        },
        rows: events.iter().map(row).collect(),
        empty: html! { "Nothing has happened yet. Try " code { "bourse run -- echo hello" } "." },
    }
}

fn row(event: &HistoryEvent) -> Row {
    let cells = vec![
        time(event.at_ms),
        html! { span.kind { (event.kind) } },
        html! { span.sentence title=[(!event.reason.is_empty()).then_some(&event.reason)] { (event.summary) } },
        about(event),
        if event.principal.is_empty() { dash() } else { html! { (event.principal) } },
    ];
    Row { id: format!("event-{}", event.sequence), class: Some("event"), cells }
}

/// Links to what it names.
fn about(event: &HistoryEvent) -> Markup {
    html! {
        span.links {
            @if !event.task_id.is_empty() && !event.framework_id.is_empty() {
                a href=(view::task(&event.framework_id, &event.task_id)) title=(event.task_id) { "task" }
            }
            @if !event.framework_id.is_empty() {
                a href=(view::framework(&event.framework_id)) title=(event.framework_id) { "framework" }
            }
            @if !event.agent_id.is_empty() {
                a href=(view::agent(&event.agent_id)) title=(event.agent_id) { "agent" }
            }
            @if !event.role.is_empty() { a href="/roles" title=(event.role) { "role" } }
        }
    }
}
