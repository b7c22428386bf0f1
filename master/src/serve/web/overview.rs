//! The first page: how it goes, what is wrong, what there is, what happened.

use bourse_proto::operator::{Cluster, HistoryEvent, Problem, Severity};
use bourse_words::{self as words, Tone, needs_a_look, sentence};
use maud::{Markup, html};

use super::bars::capacity;
use super::events::Names;
use super::names::prose;
use super::page::{Page, Part};
use super::parts::{class, command, mark};
use super::services::Services;
use super::{events, view};

/// How many of the newest events are shown.
pub const EVENTS: u32 = 20;

/// How many problems are shown.
const PROBLEMS: usize = 20;

/// How many services that wait are shown.
const SERVICES: usize = 10;

/// The page.
pub fn page(cluster: &Cluster, services: &Services, newest: &[HistoryEvent], names: &Names) -> Page {
    let mut happened = events::table("events", newest, names);
    happened.heading = "What happened last";
    Page {
        title: "Overview".into(),
        command: "bourse status".into(),
        parts: vec![
            Part::block("problems", problems(&cluster.problems, services)),
            Part::block("tiles", tiles(cluster)),
            Part::block("capacity", capacity("capacity", cluster.resources.as_ref())),
            Part::Table(happened),
            Part::Still(html! { p.more { a href="/events" { "All events" } } }),
        ],
    }
}

/// What the master sees, then what the service framework says of services that are not as they should be.
fn problems(problems: &[Problem], services: &Services) -> Markup {
    let waiting = services.services.iter().filter(|service| needs_a_look(service)).collect::<Vec<_>>();
    html! {
        section #problems.part hidden[problems.is_empty() && waiting.is_empty()] {
            h2 { "Needs a look" }
            ul.problems {
                @for problem in problems.iter().take(PROBLEMS) {
                    @let (tone, how_soon) = match problem.severity() {
                        Severity::Critical => (Tone::Bad, "critical"),
                        Severity::Warning | Severity::Unspecified => (Tone::Busy, "warning"),
                    };
                    li.(class(tone)) {
                        (mark(tone)) span.hidden { (how_soon) ": " }
                        (prose(&sentence(&problem.summary)))
                        @if let Some(address) = about(problem) { " " a href=(address) { "look" } }
                        @if !problem.advice.is_empty() { p { (advice(&problem.advice)) } }
                    }
                }
                @if problems.len() > PROBLEMS {
                    li.busy { "and " (problems.len() - PROBLEMS) " more; " code { "bourse status" } " tells all" }
                }
                @for service in waiting.iter().take(SERVICES) {
                    li.busy {
                        (mark(Tone::Busy)) span.hidden { "warning: " }
                        "Service " a href=(view::service(&service.name)) { (service.name) } " is " (words::state(&service.state))
                        p { (prose(&service.reason)) }
                    }
                }
                @if waiting.len() > SERVICES {
                    li.busy { a href="/services" { "and " (waiting.len() - SERVICES) " more services" } }
                }
            }
        }
    }
}

/// A command is shown as one, a sentence as one.
fn advice(advice: &str) -> Markup {
    match advice.starts_with("bourse ") && !advice.contains("; ") {
        true => command(advice),
        false => prose(&sentence(advice)),
    }
}

fn about(problem: &Problem) -> Option<String> {
    match problem.kind.as_str() {
        // Its sentence names it, which is a link.
        "agent" => None,
        "framework" => Some(view::framework(&problem.id)),
        "task" => problem.id.split_once('/').map(|(framework, task)| view::task(framework, task)),
        _ => None,
    }
}

fn tiles(cluster: &Cluster) -> Markup {
    let tile = |address: &str, name: &str, of: u32, rest: String| {
        html! { a.tile href=(address) { b { (of) } span { (name) } small { (rest) } } }
    };
    let tasks = cluster.tasks.values().sum();
    let by_state = cluster.tasks.iter().map(|(state, count)| format!("{count} {}", words::state(state)));
    let by_state = by_state.collect::<Vec<_>>().join(", ");
    html! {
        div #tiles.tiles {
            (tile("/agents", "agents active", cluster.agents_active, format!("of {}", cluster.agents_total)))
            (tile("/frameworks", "frameworks connected", cluster.frameworks_active, format!("of {}", cluster.frameworks_total)))
            (tile("/offers", "offers outstanding", cluster.offers_outstanding, String::new()))
            (tile("/tasks", "live tasks", tasks, by_state))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_problems_the_first_are_shown_and_the_others_counted() {
        let problem = Problem { summary: "it is late".into(), ..Problem::default() };
        let html = problems(&vec![problem; PROBLEMS + 3], &Services::default()).into_string();
        assert_eq!(html.matches("It is late").count(), PROBLEMS);
        assert!(html.contains("and 3 more; <code>bourse status</code>"), "{html}");
    }

    #[test]
    fn a_problem_leads_to_the_page_of_what_it_is_about() {
        let about =
            |kind: &str, id: &str| about(&Problem { kind: kind.into(), id: id.into(), ..Problem::default() });
        assert_eq!(about("task", "m-0001/web.0").as_deref(), Some("/tasks/m-0001/web.0"));
        assert_eq!(about("framework", "m-0001").as_deref(), Some("/frameworks/m-0001"));
        assert_eq!(about("master", "m"), None);
    }
}
