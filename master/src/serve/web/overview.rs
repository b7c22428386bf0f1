//! The first page: how it goes, what is wrong, what there is, what happened.

use bourse_proto::operator::{Cluster, HistoryEvent, Problem, Severity};
use maud::{Markup, html};

use super::bars::capacity;
use super::names::prose;
use super::page::{Page, Part};
use super::parts::{Tone, command, word};
use super::{events, view};

/// So many of the newest events are shown.
pub const EVENTS: u32 = 20;

/// The page.
pub fn page(cluster: &Cluster, newest: &[HistoryEvent]) -> Page {
    let mut happened = events::table("events", newest);
    happened.heading = "What happened last";
    Page {
        title: "Overview".into(),
        command: "bourse status".into(),
        parts: vec![
            Part::block("problems", problems(&cluster.problems)),
            Part::block("tiles", tiles(cluster)),
            Part::block("capacity", capacity("capacity", cluster.resources.as_ref())),
            Part::Table(happened),
            Part::Still(html! { p.more { a href="/events" { "All events" } } }),
        ],
    }
}

fn problems(problems: &[Problem]) -> Markup {
    html! {
        section #problems.part hidden[problems.is_empty()] {
            h2 { "Needs a look" }
            ul.problems {
                @for problem in problems {
                    @let (tone, how_soon) = match problem.severity() {
                        Severity::Critical => (Tone::Bad, "critical"),
                        Severity::Warning | Severity::Unspecified => (Tone::Busy, "warning"),
                    };
                    li.(tone.class()) {
                        (tone.mark()) span.hidden { (how_soon) ": " }
                        (prose(&problem.summary))
                        @if let Some(address) = about(problem) { " " a href=(address) { "look" } }
                        @if !problem.advice.is_empty() { p { (advice(&problem.advice)) } }
                    }
                }
            }
        }
    }
}

/// A command is shown as one, a sentence as one.
fn advice(advice: &str) -> Markup {
    match advice.starts_with("bourse ") && !advice.contains("; ") {
        true => command(advice),
        false => prose(advice),
    }
}

fn about(problem: &Problem) -> Option<String> {
    match problem.kind.as_str() {
        "agent" => Some(view::agent(&problem.id)),
        "framework" => Some(view::framework(&problem.id)),
        // A task's address needs its framework too.
        "task" => Some(view::View::Search(problem.id.clone()).address()),
        _ => None,
    }
}

fn tiles(cluster: &Cluster) -> Markup {
    let tile = |address: &str, name: &str, of: u32, rest: String| {
        html! { a.tile href=(address) { b { (of) } span { (name) } small { (rest) } } }
    };
    let tasks = cluster.tasks.values().sum();
    let by_state = cluster.tasks.iter().map(|(state, count)| format!("{count} {}", word(state)));
    let by_state = by_state.collect::<Vec<_>>().join(", ");
    html! {
        div #tiles.tiles {
            (tile("/agents", "agents active", cluster.agents_active, format!("of {}", cluster.agents_total)))
            (tile("/frameworks", "frameworks active", cluster.frameworks_active, format!("of {}", cluster.frameworks_total)))
            (tile("/offers", "offers outstanding", cluster.offers_outstanding, String::new()))
            (tile("/tasks", "live tasks", tasks, by_state))
        }
    }
}
