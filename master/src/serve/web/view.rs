//! Which page is meant by an address, and which address is a page's.
//!
//! Every page has one stable address. Names inside it are percent-encoded, so that any id makes a link.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What stays as it is in a path segment (RFC 3986, "unreserved"); everything else is escaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A page, with what its address says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// How it goes, problems first.
    Overview,
    /// All agents.
    Agents,
    /// One agent, by id, unique prefix or hostname.
    Agent(String),
    /// All frameworks; on demand also those that were torn down.
    Frameworks {
        /// Also those that were torn down.
        completed: bool,
    },
    /// One framework, by id, unique prefix or name.
    Framework(String),
    /// All outstanding offers.
    Offers,
    /// The tree of roles.
    Roles,
    /// All services.
    Services,
    /// One service, by name.
    Service(String),
    /// Tasks, by framework and id.
    Tasks(TasksQuery),
    /// One task and its output.
    Task {
        /// Id, unique prefix or name.
        framework: String,
        /// Id, unique prefix or name.
        task: String,
    },
    /// What happened, newest first.
    Events(EventsQuery),
    /// Whatever is called so.
    Search(String),
}

/// Which tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TasksQuery {
    /// Also those that have ended.
    pub all: bool,
    /// Only in this state; empty: all.
    pub state: String,
    /// The page to go on with, as the answer before named it.
    pub after: String,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsQuery {
    /// Only this kind; empty: all.
    pub kind: String,
    /// Only what names this id or prefix; empty: all.
    pub about: String,
    /// Only before this number; 0: from the newest.
    pub before: u64,
}

/// The places of the navigation, in its order: word, address, key after `g`.
pub const PLACES: &[(&str, &str, char)] = &[
    ("Overview", "/", 'o'),
    ("Services", "/services", 's'),
    ("Tasks", "/tasks", 't'),
    ("Agents", "/agents", 'a'),
    ("Frameworks", "/frameworks", 'f'),
    ("Offers", "/offers", 'h'),
    ("Roles", "/roles", 'r'),
    ("Events", "/events", 'e'),
];

impl View {
    /// The page at this path and query; `None` when no page is there.
    pub fn at(path: &str, query: Option<&str>) -> Option<View> {
        let segments = path.strip_prefix('/')?.split('/').map(decode).collect::<Option<Vec<_>>>()?;
        let segments = segments.iter().map(String::as_str).collect::<Vec<_>>();
        let asked = |name: &str| value(query, name);
        Some(match segments[..] {
            [""] => View::Overview,
            ["agents"] => View::Agents,
            ["agents", id] => View::Agent(named(id)?),
            ["frameworks"] => View::Frameworks { completed: !asked("all").is_empty() },
            ["frameworks", id] => View::Framework(named(id)?),
            ["offers"] => View::Offers,
            ["roles"] => View::Roles,
            ["services"] => View::Services,
            ["services", name] => View::Service(named(name)?),
            ["tasks"] => View::Tasks(TasksQuery {
                all: !asked("all").is_empty(),
                state: asked("state"),
                after: asked("after"),
            }),
            ["tasks", framework, task] => View::Task { framework: named(framework)?, task: named(task)? },
            ["events"] => View::Events(EventsQuery {
                kind: asked("kind"),
                about: asked("about"),
                before: asked("before").parse().unwrap_or(0),
            }),
            ["search"] => View::Search(asked("q").trim().to_owned()),
            _ => return None,
        })
    }

    /// The page's address.
    pub fn address(&self) -> String {
        let flag = |on: bool| if on { "1" } else { "" };
        match self {
            View::Overview => "/".into(),
            View::Agents => "/agents".into(),
            View::Agent(id) => agent(id),
            View::Frameworks { completed } => with_query("/frameworks", &[("all", flag(*completed))]),
            View::Framework(id) => framework(id),
            View::Offers => "/offers".into(),
            View::Roles => "/roles".into(),
            View::Services => "/services".into(),
            View::Service(name) => service(name),
            View::Tasks(TasksQuery { all, state, after }) => {
                with_query("/tasks", &[("all", flag(*all)), ("state", state), ("after", after)])
            }
            View::Task { framework, task } => self::task(framework, task),
            View::Events(EventsQuery { kind, about, before }) => {
                let before = if *before == 0 { String::new() } else { before.to_string() };
                with_query("/events", &[("kind", kind), ("about", about), ("before", &before)])
            }
            View::Search(q) => with_query("/search", &[("q", q)]),
        }
    }

    /// The address of the place of the navigation that this page belongs to; empty when to none.
    pub fn place(&self) -> &'static str {
        match self {
            View::Overview => "/",
            View::Agents | View::Agent(_) => "/agents",
            View::Frameworks { .. } | View::Framework(_) => "/frameworks",
            View::Offers => "/offers",
            View::Roles => "/roles",
            View::Services | View::Service(_) => "/services",
            View::Tasks(_) | View::Task { .. } => "/tasks",
            View::Events(_) => "/events",
            View::Search(_) => "",
        }
    }
}

/// The address of an agent's page.
pub fn agent(id: &str) -> String {
    format!("/agents/{}", encode(id))
}

/// The address of a framework's page.
pub fn framework(id: &str) -> String {
    format!("/frameworks/{}", encode(id))
}

/// The address of a service's page.
pub fn service(name: &str) -> String {
    format!("/services/{}", encode(name))
}

/// The address of a task's page.
pub fn task(framework: &str, task: &str) -> String {
    format!("/tasks/{}/{}", encode(framework), encode(task))
}

/// Of one of a task's logs, `stdout` or `stderr`, or of the stream of both, `logs`.
pub fn log(framework: &str, task: &str, stream: &str) -> String {
    format!("{}/{stream}", self::task(framework, task))
}

/// A text with everything escaped that could mean something in a path, a query or an element's id.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// The value of a query's field, decoded; empty when it is not there.
pub fn value(query: Option<&str>, name: &str) -> String {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.find(|(key, _)| key == name).map_or_else(String::new, |(_, value)| value.into_owned())
}

fn with_query(path: &str, fields: &[(&str, &str)]) -> String {
    let given = fields.iter().filter(|(_, value)| !value.is_empty());
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

fn decode(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(|text| text.into_owned())
}

fn named(segment: &str) -> Option<String> {
    (!segment.is_empty()).then(|| segment.to_owned())
}

#[cfg(test)]
mod tests {
    use bourse_hostile::{soon, text};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_page_is_found_at_its_own_address() {
        let odd = || "a b/ü?#%&=<\"'".to_owned();
        let views = [
            View::Overview,
            View::Agents,
            View::Agent(odd()),
            View::Frameworks { completed: false },
            View::Frameworks { completed: true },
            View::Framework(odd()),
            View::Offers,
            View::Roles,
            View::Services,
            View::Service(odd()),
            View::Tasks(TasksQuery::default()),
            View::Tasks(TasksQuery { all: true, state: "TASK_RUNNING".into(), after: odd() }),
            View::Task { framework: odd(), task: odd() },
            View::Events(EventsQuery::default()),
            View::Events(EventsQuery { kind: "task".into(), about: odd(), before: 7 }),
            View::Search(odd()),
        ];
        for view in views {
            let address = view.address();
            let (path, query) = match address.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (address.as_str(), None),
            };
            assert_eq!(View::at(path, query).as_ref(), Some(&view), "{address}");
        }
    }

    proptest! {
        #[test]
        fn any_address_is_no_page_or_one_that_is_found_at_its_own(
            given in text(prop_oneof![
                Just("/tasks/batch/t%201".to_owned()),
                Just("/tasks?all=1&state=TASK_RUNNING&after=a%2Fb".to_owned()),
                Just("/events?kind=task&about=x&before=7".to_owned()),
                Just("/search?q=a+b".to_owned()),
            ]),
        ) {
            let at = |address: &str| match address.split_once('?') {
                Some((path, query)) => View::at(path, Some(query)),
                None => View::at(address, None),
            };
            if let Some(view) = soon(|| at(&given)) {
                prop_assert_eq!(at(&view.address()), Some(view));
            }
        }
    }

    #[test]
    fn what_is_no_page_is_none() {
        for path in ["", "agents", "/nowhere", "/agents/", "/agents/a/b", "/tasks/one", "/tasks/%ff/t"] {
            assert_eq!(View::at(path, None), None, "{path}");
        }
    }

    #[test]
    fn each_place_of_the_navigation_is_a_page_that_belongs_to_it() {
        for (word, address, _) in PLACES {
            assert_eq!(View::at(address, None).map(|view| view.place()), Some(*address), "{word}");
        }
    }
}
