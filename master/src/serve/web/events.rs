//! What happened, newest first.

use std::collections::{BTreeMap, BTreeSet};

use bourse_proto::operator::HistoryEvent;
use maud::{Markup, html};

use super::names;
use super::page::{Column, Page, Part, Row, Table};
use super::parts::{quoted, time};
use super::view::{self, EventsQuery, View};

/// How many are shown on one page.
pub const PAGE: u32 = 100;

/// What an event can mainly be about.
const KINDS: &[&str] = &["task", "agent", "framework", "offer", "operator"];

/// The page.
pub fn page(query: &EventsQuery, events: &[HistoryEvent], names: &Names) -> Page {
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
            Part::Table(table("events", events, names)),
            // As live as the table: what is older begins where its last row is now.
            Part::block(
                "turn",
                html! {
                    p #turn.more {
                        @if query.before != 0 {
                            a href=(View::Events(EventsQuery { before: 0, ..query.clone() }).address()) { "Newest" } " "
                        }
                        @if let Some(before) = older {
                            a href=(View::Events(EventsQuery { before, ..query.clone() }).address()) { "Older" }
                        }
                    }
                },
            ),
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
pub fn table(id: &'static str, events: &[HistoryEvent], names: &Names) -> Table {
    let (rows, left_out) = Table::rows(events, |event| [row(event, names)]);
    Table {
        id,
        heading: "",
        columns: const { &[Column::text("when"), Column::text("kind"), Column::text("what")] },
        rows,
        left_out,
        all: "bourse events".into(),
        empty: html! { "Nothing has happened yet. Try " code { "bourse run -- echo hello" } "." },
    }
}

fn row(event: &HistoryEvent, names: &Names) -> Row {
    let cells = vec![
        time(event.at_ms),
        html! { span.kind { (event.kind) } },
        html! {
            span.sentence title=[(!event.reason.is_empty()).then_some(&event.reason)] { (linked(event, names)) }
            @if !event.principal.is_empty() { small { " by " (event.principal) } }
        },
    ];
    Row { id: format!("event-{}", event.sequence), class: Some("event"), cells }
}

/// The sentence, with whatever it names by an id as a link. What it is about and does not name follows.
fn linked(event: &HistoryEvent, names: &Names) -> Markup {
    let mut things = Vec::new();
    if !event.task_id.is_empty() && !event.framework_id.is_empty() {
        things.push(("task", &event.task_id, view::task(&event.framework_id, &event.task_id)));
    }
    if !event.framework_id.is_empty() {
        things.push(("framework", &event.framework_id, view::framework(&event.framework_id)));
    }
    if !event.agent_id.is_empty() {
        things.push(("agent", &event.agent_id, view::agent(&event.agent_id)));
    }
    let address =
        |word: &str| things.iter().find(|(_, id, _)| *id == word).map(|(_, _, address)| address.clone());
    let bare = |word: &str| word.trim_matches(['(', ')', ':', ',', ';', '.']).to_owned();
    let said = event.summary.split(' ').map(bare).collect::<BTreeSet<_>>();
    html! {
        (names::linked(&event.summary, address))
        @for (kind, id, address) in things.iter().filter(|(_, id, _)| !said.contains(*id)) {
            " " small { (kind) " " a href=(address) title=(id) { (names.of(id)) } }
        }
    }
}

/// What frameworks are called, by id: an event has the id alone.
#[derive(Clone, Debug, Default)]
pub struct Names(pub BTreeMap<String, String>);

impl Names {
    fn of(&self, id: &str) -> String {
        self.0.get(id).filter(|name| !name.is_empty()).cloned().unwrap_or_else(|| names::short(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sentence_names_is_a_link_in_it_and_what_it_does_not_name_follows() {
        let master = "881cf9f0-ba0e-46d8-a2c6-b5118431bcc5";
        let event = HistoryEvent {
            summary: format!("task t1 failed on agent {master}-S1: <no> space"),
            agent_id: format!("{master}-S1"),
            framework_id: format!("{master}-0003"),
            task_id: "t1".into(),
            ..HistoryEvent::default()
        };
        let names = Names([(format!("{master}-0003"), "batch".to_owned())].into());
        let html = linked(&event, &names).into_string();
        let wanted = format!(
            "task <a href=\"/tasks/{master}-0003/t1\" title=\"t1\">t1</a> failed on agent \
             <a href=\"/agents/{master}-S1\" title=\"{master}-S1\">S1</a>: &lt;no&gt; space \
             <small>framework <a href=\"/frameworks/{master}-0003\" title=\"{master}-0003\">batch</a></small>"
        );
        assert_eq!(html, wanted);
    }

    #[test]
    fn older_events_begin_where_the_last_row_is_now() {
        use crate::serve::web::changes::Seen;
        use crate::serve::web::page::Block;

        let sight = |newest: u64| {
            let event = |sequence| HistoryEvent { sequence, ..HistoryEvent::default() };
            let events = (0..u64::from(PAGE)).map(|age| event(newest - age)).collect::<Vec<_>>();
            let page = page(&EventsQuery::default(), &events, &Names::default());
            Seen::of(String::new(), Block { id: "verdict", html: html! {} }, &page)
        };
        let change = sight(203).since(Some(&sight(200))).expect("three rows more");
        let turn = change.blocks.iter().find(|(id, _)| id == "turn").map(|(_, html)| html.as_str());
        assert!(turn.is_some_and(|html| html.contains("before=104\"")), "{turn:?}");
        let gone =
            change.tables.iter().flat_map(|table| table.order.iter().flatten()).any(|id| id == "event-103");
        assert!(!gone, "what has left the table is behind the link");
    }
}
