//! What people call things: an id, a unique beginning of one, its short end, or a name.
//!
//! One rule for agents, frameworks and tasks, and for every door. What matches most exactly wins; what could be several
//! things is refused with all of them, so that the answer can be copied.

use tonic::Status;

/// As many candidates are listed in an error.
const LISTED: usize = 8;

/// Something that can be called.
#[derive(Clone, Debug)]
pub(super) struct Named<T> {
    /// What is found.
    pub(super) thing: T,
    pub(super) id: String,
    /// A host, a framework's name, a task's name.
    pub(super) name: String,
}

/// How well a text names something; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Id,
    Name,
    /// The part of an id that its master numbers: `S3` of `<master>-S3`, `0001` of `<master>-0001`.
    Short,
    IdPrefix,
    NamePrefix,
}

fn fit(text: &str, id: &str, name: &str) -> Option<Fit> {
    let short = id.rsplit_once('-').map(|(_, short)| short);
    if id == text {
        Some(Fit::Id)
    } else if name == text {
        Some(Fit::Name)
    } else if short.is_some_and(|short| short.eq_ignore_ascii_case(text)) {
        Some(Fit::Short)
    } else if id.starts_with(text) {
        Some(Fit::IdPrefix)
    } else if name.starts_with(text) {
        Some(Fit::NamePrefix)
    } else {
        None
    }
}

/// All that the text fits best; everything for an empty text.
pub(super) fn all<T>(text: &str, things: impl Iterator<Item = Named<T>>) -> Vec<Named<T>> {
    if text.is_empty() {
        return things.collect();
    }
    let mut best: Option<(Fit, Vec<Named<T>>)> = None;
    for named in things {
        let Some(fit) = fit(text, &named.id, &named.name) else { continue };
        match &mut best {
            Some((found, list)) if *found == fit => list.push(named),
            Some((found, _)) if *found < fit => {}
            Some(_) | None => best = Some((fit, vec![named])),
        }
    }
    best.map(|(_, list)| list).unwrap_or_default()
}

/// The one thing that the text names. `kind` is a word for it: "agent".
pub(super) fn one<T>(kind: &str, text: &str, things: impl Iterator<Item = Named<T>>) -> Result<T, Status> {
    if text.is_empty() {
        return Err(Status::invalid_argument(format!(
            "no {kind} is named; give its id, the beginning of one, or its name"
        )));
    }
    let mut found = all(text, things);
    match found.len() {
        1 => Ok(found.remove(0).thing),
        0 => Err(missing(kind, text)),
        _ => Err(ambiguous(kind, text, &found)),
    }
}

/// Nothing is called so.
pub(super) fn missing(kind: &str, text: &str) -> Status {
    Status::not_found(format!("there is no {kind} {text:?}; `bourse {}` lists those there are", verb(kind)))
}

/// Several things are called so.
pub(super) fn ambiguous<T>(kind: &str, text: &str, found: &[Named<T>]) -> Status {
    let listed = found.iter().take(LISTED).map(|named| match named.name.as_str() {
        "" => named.id.clone(),
        name if name == named.id => named.id.clone(),
        name => format!("{} ({name})", named.id),
    });
    let listed = listed.collect::<Vec<_>>().join(", ");
    let more = match found.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Status::invalid_argument(format!(
        "{text:?} could be any of these {}: {listed}{more}; give more of it",
        plural(kind)
    ))
}

fn plural(kind: &str) -> &str {
    match kind {
        "agent" => "agents",
        "framework" => "frameworks",
        "task" => "tasks",
        other => other,
    }
}

/// The verb that lists them.
fn verb(kind: &str) -> &str {
    match kind {
        "task" => "ps",
        other => plural(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn things() -> impl Iterator<Item = Named<usize>> {
        let named = [
            ("m1-S0", "host-a"),
            ("m1-S1", "host-b"),
            ("m2-S1", "host-b2"),
            ("web.0", "web"),
            ("web.1", "web"),
        ];
        named.into_iter().enumerate().map(|(thing, (id, name))| Named {
            thing,
            id: id.to_owned(),
            name: name.to_owned(),
        })
    }

    #[test]
    fn an_id_a_name_a_short_end_or_a_unique_beginning_names_one_thing() {
        for (text, thing) in [("m1-S1", 1), ("host-b", 1), ("s0", 0), ("m2", 2), ("host-a", 0), ("web.1", 4)]
        {
            assert_eq!(one("agent", text, things()).expect(text), thing, "{text}");
        }
    }

    #[test]
    fn what_could_be_several_things_is_refused_with_all_of_them() {
        let refused = one("agent", "S1", things()).expect_err("two end so");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert!(refused.message().contains("m1-S1 (host-b), m2-S1 (host-b2)"), "{}", refused.message());
        assert_eq!(
            one("task", "web", things()).expect_err("two have the name").code(),
            tonic::Code::InvalidArgument
        );
    }

    #[test]
    fn what_nothing_is_called_is_not_found() {
        assert_eq!(one("agent", "m9", things()).expect_err("none").code(), tonic::Code::NotFound);
        assert_eq!(
            one("agent", "", things()).expect_err("nothing said").code(),
            tonic::Code::InvalidArgument
        );
    }

    #[test]
    fn a_list_without_a_text_has_everything() {
        assert_eq!(all("", things()).len(), 5);
        assert_eq!(all("web", things()).len(), 2);
    }
}
