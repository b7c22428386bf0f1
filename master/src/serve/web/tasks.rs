//! The tasks, and one task: the story of its states, what it was given and what it uses, and its output as it comes.

use bourse_proto::operator::{Amounts, Explanation, Task};
use bourse_proto::v1::TaskStatus;
use bourse_types::TaskState;
use bourse_words::{self as words, Tone, mib, number};
use maud::{Markup, html};

use super::bars::{Measure, bar, said};
use super::explain;
use super::log::Tail;
use super::names::{self, prose};
use super::page::{Column, Page, Part, Row, Table};
use super::parts::{amounts, command, dash, exit, facts, quoted, state, time, toned};
use super::view::{self, TasksQuery, View};

/// The states to choose from; the others are too short or too rare to be looked for.
const STATES: &[&str] = &["", "TASK_STAGING", "TASK_RUNNING", "TASK_KILLING", "TASK_UNREACHABLE"];
const ENDED: &[&str] = &["TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_LOST", "TASK_ERROR"];

/// The page of all tasks.
pub fn page(query: &TasksQuery, tasks: &[Task], next: &str) -> Page {
    let mut command = if query.all { "bourse ps -a".to_owned() } else { "bourse ps".to_owned() };
    if !query.state.is_empty() {
        command += &format!(" --state {}", quoted(&query.state));
    }
    Page {
        title: "Tasks".into(),
        command,
        parts: vec![
            Part::Still(choice(query)),
            Part::Table(table("tasks", tasks)),
            Part::block(
                "next",
                html! {
                    p #next.more hidden[next.is_empty()] {
                        a href=(View::Tasks(TasksQuery { after: next.into(), ..query.clone() }).address()) { "More" }
                    }
                },
            ),
        ],
    }
}

fn choice(query: &TasksQuery) -> Markup {
    let pick = |state: &str, all: bool| TasksQuery { all, state: state.into(), after: String::new() };
    let link = |word: &str, picked: TasksQuery| {
        let here = picked.all == query.all && picked.state == query.state;
        html! { a href=(View::Tasks(picked).address()) aria-current=[here.then_some("true")] { (word) } }
    };
    html! {
        p.choice {
            @for state in STATES {
                (link(&if state.is_empty() { "live".into() } else { words::state(state) }, pick(state, false)))
            }
            (link("also ended", pick("", true)))
            @for state in ENDED { (link(&words::state(state), pick(state, true))) }
        }
    }
}

/// Tasks as a table.
pub fn table(id: &'static str, tasks: &[Task]) -> Table {
    let (rows, left_out) = Table::rows(tasks, |it| [row(it)]);
    Table {
        id,
        heading: "",
        columns: const {
            &[
                Column::text("task"),
                Column::text("framework"),
                Column::text("agent"),
                Column::text("state"),
                Column::text("allocated"),
                Column::text("used"),
                Column::text("ended"),
                Column::text("since"),
            ]
        },
        rows,
        left_out,
        all: "bourse ps".into(),
        empty: html! { "No tasks. Try " code { "bourse run -- echo hello" } "." },
    }
}

/// One task as a row.
fn row(task: &Task) -> Row {
    let cells = vec![
        html! {
            a href=(view::task(&task.framework_id, &task.id)) { (task.id) }
            @if task.name != task.id && !task.name.is_empty() { " " span.id { (task.name) } }
        },
        names::framework(&task.framework_id, &task.framework_name),
        names::agent(&task.agent_id, &task.hostname),
        task_state(task),
        amounts(task.allocated.as_ref()),
        task.used.as_ref().map_or_else(dash, |used| html! { (words::used(used.cpus, used.mem_mib)) }),
        ended(task),
        time(task.changed_ms),
    ];
    Row::new(row_id(task), cells)
}

fn row_id(task: &Task) -> String {
    format!("task-{}-{}", view::encode(&task.framework_id), view::encode(&task.id))
}

fn task_state(task: &Task) -> Markup {
    html! {
        (state(&task.state))
        @match task.healthy {
            Some(true) => { " " (toned(Tone::Good, "healthy")) }
            Some(false) => { " " (toned(Tone::Bad, "unhealthy")) }
            None => {}
        }
    }
}

/// How it ended and why, on one line. Why its agent told of one that runs, say since its health was looked at, is no
/// end.
fn ended(task: &Task) -> Markup {
    if matches!(task.state.as_str(), "TASK_STAGING" | "TASK_STARTING" | "TASK_RUNNING") {
        return dash();
    }
    let why = if task.message.is_empty() { &task.reason } else { &task.message };
    html! {
        @if task.exit.is_some() { (exit(task.exit.as_ref())) " " }
        @else if task.reason.is_empty() { (dash()) }
        @if !task.reason.is_empty() { small title=(why) { (explain::word(&task.reason)) } }
    }
}

/// What the page of one task shows.
pub struct OneTask {
    /// It.
    pub task: Task,
    /// Why it does not run, when it does not.
    pub explanation: Option<Explanation>,
    /// The end of what it wrote to stdout.
    pub stdout: Tail,
    /// The end of what it wrote to stderr.
    pub stderr: Tail,
}

/// The page of one task.
pub fn one(model: &OneTask) -> Page {
    let OneTask { task, explanation, stdout, stderr } = model;
    let parts = vec![
        Part::block("about", about(task)),
        explain::block("Why it does not run", explanation.as_ref()),
        Part::block("used", use_of(task)),
        Part::Still(logs(task, stdout, stderr)),
        Part::block("story", story(&task.statuses)),
        Part::block("steer", steer(task, explanation.is_some())),
    ];
    Page { title: format!("Task {}", task.id), command: format!("bourse task {}", named(task)), parts }
}

/// The task as commands name it, for sure: another framework may have one of the same id.
fn named(task: &Task) -> String {
    format!("{} --framework {}", quoted(&task.id), quoted(&task.framework_id))
}

fn steer(task: &Task, is_explained: bool) -> Markup {
    let (name, id) = (named(task), quoted(&task.id));
    html! {
        section #steer.part.steer {
            h2 { "Steer it" }
            ul {
                @if has_ended(&task.state) {
                    li { (command(&format!("bourse logs {name}"))) " shows its output" }
                } @else {
                    li { (command(&format!("bourse logs {name} -f"))) " follows its output" }
                    li { (command(&format!("bourse kill {name}"))) " ends it, first politely, then for sure" }
                }
                @if is_explained {
                    li { (command(&format!("bourse why {name}"))) " tells why it does not run" }
                }
                li { (command(&format!("bourse events --about {id}"))) " tells what happened to it" }
            }
        }
    }
}

/// Whether nothing more comes of it. A state that is not known is no end.
fn has_ended(state: &str) -> bool {
    state.parse::<TaskState>().is_ok_and(TaskState::is_terminal)
}

fn about(task: &Task) -> Markup {
    let labels = html! {
        @if task.labels.is_empty() { (dash()) }
        @for (name, value) in &task.labels { span.tag { (name) "=" (value) } " " }
    };
    let why = html! {
        @if !task.reason.is_empty() { (explain::word(&task.reason)) }
        @if !task.message.is_empty() { " " span.sentence { (prose(&task.message)) } }
        @if task.reason.is_empty() && task.message.is_empty() { (dash()) }
    };
    let pid = match task.pid {
        _ if has_ended(&task.state) => dash(),
        0 => dash(),
        pid => html! { (pid) " on " (task.hostname) },
    };
    html! {
        section #about.part {
            (facts([
                ("state", html! { (task_state(task)) small { " since " (time(task.changed_ms)) } }),
                ("why", why),
                ("exit", exit(task.exit.as_ref())),
                ("framework", names::framework(&task.framework_id, &task.framework_name)),
                ("agent", names::agent(&task.agent_id, &task.hostname)),
                ("role", html! { (task.role) }),
                ("launched", time(task.launched_ms)),
                ("name", html! { (task.name) }),
                ("process", pid),
                ("container", html! { @if task.container_id.is_empty() { (dash()) } @else { span.id { (task.container_id) } } }),
                ("labels", labels),
                ("command", html! { code.line { (task.command) } }),
            ]))
        }
    }
}

/// Allocated against used: what it may take, what it takes.
fn use_of(task: &Task) -> Markup {
    let nothing = Amounts::default();
    let given = task.allocated.as_ref().unwrap_or(&nothing);
    html! {
        section #used.part {
            h2 { "Allocated and used" }
            @match &task.used {
                None => p.empty-line { "Allocated: " (amounts(task.allocated.as_ref())) ". Not measured: it does not run." },
                Some(used) => {
                    table.use role="table" {
                        tbody role="rowgroup" {
                            (use_row("cpus", given.cpus, used.cpus, number, &words::throttled(used).unwrap_or_else(|| "never throttled".into())))
                            (use_row("memory", given.mem_mib, used.mem_mib, mib, &words::memory_bounds(used).unwrap_or_else(|| "no limit".into())))
                            @if let Some(disk) = used.disk_mib {
                                (use_row("disk", given.disk_mib, disk, mib, &most(used.disk_limit_mib)))
                            }
                        }
                    }
                    (facts(words::usage(used).into_iter().map(|(name, said)| (name, html! { (said) }))))
                }
            }
        }
    }
}

fn most(limit_mib: Option<f64>) -> String {
    limit_mib.map_or_else(|| "no limit".into(), |limit| format!("at most {}", mib(limit)))
}

fn use_row(name: &str, given: f64, used: f64, write: fn(f64) -> String, note: &str) -> Markup {
    let measure = Measure { total: given, allocated: given, used, ..Measure::default() };
    let used = (used * 100.0).round() / 100.0;
    html! {
        tr role="row" {
            th scope="row" role="rowheader" { (name) }
            td.bar role="cell" { (bar(&measure, &said(name, &measure, write))) }
            td role="cell" { b { (write(used)) } " used of " (write(given)) " allocated" small { " · " (note) } }
        }
    }
}

fn logs(task: &Task, stdout: &Tail, stderr: &Tail) -> Markup {
    html! {
        section.part.logs data-logs=(view::log(&task.framework_id, &task.id, "logs")) {
            @for (name, tail) in [("stdout", stdout), ("stderr", stderr)] {
                @let address = view::log(&task.framework_id, &task.id, name);
                div.log {
                    h2 {
                        (name)
                        small {
                            // Why it is not here, until it is: then the script says that it is live.
                            span.live.trouble[tail.trouble.is_some()] role="status" data-log-state=(name) {
                                @if let Some(trouble) = &tail.trouble { (trouble) }
                            }
                            a href=(address) download=(format!("{}.{name}", task.id)) { "whole file" }
                        }
                    }
                    pre #{ "log-" (name) } tabindex="0" aria-label=(format!("{name} of {}", task.id))
                        data-log=(name) data-end=(tail.end) data-cut=[tail.cut.then_some("")] { (tail.text) }
                }
            }
        }
    }
}

/// Its states so far, the oldest first.
fn story(statuses: &[TaskStatus]) -> Markup {
    html! {
        section #story.part {
            h2 { "Its story" }
            ol.story {
                @for status in statuses {
                    li {
                        (time(status.timestamp.map_or(0, |seconds| (seconds * 1000.0) as u64))) " "
                        (state(status.state().as_str_name()))
                        @if let Some(healthy) = status.healthy {
                            " " (if healthy { toned(Tone::Good, "healthy") } else { toned(Tone::Bad, "unhealthy") })
                        }
                        @if status.reason.is_some() { " " small { (explain::word(status.reason().as_str_name())) } }
                        @if let Some(message) = status.message.as_ref().filter(|message| !message.is_empty()) {
                            " " span.sentence { (prose(message)) }
                        }
                    }
                }
                @if statuses.is_empty() { li { "No state was told yet." } }
            }
        }
    }
}
