//! Ids and sentences with ids in them, for people: short, and a link where there is a page.

use bourse_words::{self as words, Named, named};
use maud::{Markup, html};

use super::view;

/// An id, short, and in full on hover.
pub fn id(id: &str) -> Markup {
    let short = short(id);
    html! { span.id title=[(short != id).then_some(id)] { (short) } }
}

/// An agent as a link: its hostname, or the short id of one that is gone, of which nothing else is known.
pub fn agent(id: &str, hostname: &str) -> Markup {
    link(&view::agent(id), id, hostname)
}

/// A framework as a link: its name, or its short id when the master has forgotten it.
pub fn framework(id: &str, name: &str) -> Markup {
    link(&view::framework(id), id, name)
}

fn link(address: &str, id: &str, name: &str) -> Markup {
    match name.is_empty() {
        true => html! { a href=(address) title=(id) { (short(id)) } },
        false => html! { a href=(address) { (name) } },
    }
}

/// An id where place is scarce: its short part, of a master its first characters, of another long one its end.
pub fn short(id: &str) -> String {
    let short = words::short(id);
    match short.chars().count() {
        _ if words::is_master(id) => id[..8].to_owned(),
        length if length > ID_SHOWN => {
            format!("…{}", short.chars().skip(length - ID_SHOWN).collect::<String>())
        }
        _ => short.to_owned(),
    }
}

/// How many characters of an id are shown where it stands beside a name.
const ID_SHOWN: usize = 24;

/// A sentence of the master's: agents and frameworks that it names by their ids are links, states are words. Points in
/// time are told in full: "since 3 min ago" is no English.
pub fn prose(sentence: &str) -> Markup {
    linked(sentence, |_| None)
}

/// The same, with links to what else is named: `address` knows the page of a word, where it has one.
///
/// Of `host-a (<id>)` the name is the link, and the id is seen on hover.
pub fn linked(sentence: &str, address: impl Fn(&str) -> Option<String>) -> Markup {
    let words = sentence.split(' ').collect::<Vec<_>>();
    let mut pieces = Vec::with_capacity(words.len());
    let mut index = 0;
    while let Some(word) = words.get(index) {
        index += 1;
        pieces.push(match words.get(index).and_then(|next| named_before(next)) {
            Some((id, address, after)) => {
                index += 1;
                html! { a href=(address) title=(id) { (word) } (after) }
            }
            None => piece(word, &address),
        });
    }
    html! { @for (index, piece) in pieces.iter().enumerate() { @if index > 0 { " " } (piece) } }
}

/// Of `(<id>)`, which says whose name the word before is: the id, its page, and what follows.
fn named_before(word: &str) -> Option<(&str, String, &str)> {
    let (id, after) = word.strip_prefix('(')?.split_once(')')?;
    match named(id) {
        Named::Agent => Some((id, view::agent(id), after)),
        Named::Framework => Some((id, view::framework(id), after)),
        Named::Offer | Named::Time(_) | Named::State | Named::Nothing => None,
    }
}

fn piece(word: &str, address: &impl Fn(&str) -> Option<String>) -> Markup {
    let (before, bare, after) = words::bare(word);
    let link = |address: &str| html! { (before) a href=(address) title=(bare) { (short(bare)) } (after) };
    if bare.is_empty() {
        return html! { (word) };
    }
    if let Some(address) = address(bare) {
        return link(&address);
    }
    match named(bare) {
        Named::Agent => link(&view::agent(bare)),
        Named::Framework => link(&view::framework(bare)),
        Named::Offer => html! { (before) span title=(bare) { (short(bare)) } (after) },
        Named::Time(at_ms) => html! { (before) (words::time(at_ms)) (after) },
        Named::State => html! { (before) (words::state(bare)) (after) },
        Named::Nothing => html! { (word) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_before_an_id_is_the_link_and_states_are_words() {
        let agent = "881cf9f0-ba0e-46d8-a2c6-b5118431bcc5-S1";
        let html =
            prose(&format!("t1 is TASK_FAILED on agent host-a ({agent}): TASK_RUNNING_LATE")).into_string();
        let link = format!("<a href=\"/agents/{agent}\" title=\"{agent}\">host-a</a>");
        assert_eq!(html, format!("t1 is failed on agent {link}: TASK_RUNNING_LATE"));
        assert_eq!(short(agent), "S1");
        assert_eq!(short(&agent[..36]), "881cf9f0");
    }

    #[test]
    fn a_sentence_links_the_agents_and_frameworks_that_it_names_and_tells_times_in_full() {
        let master = "881cf9f0-ba0e-46d8-a2c6-b5118431bcc5";
        let html =
            prose(&format!("Agent {master}-S1 (of {master}-0002) since 2026-09-21T14:13:20.000Z; <b>"))
                .into_string();
        assert_eq!(
            html,
            format!(
                "Agent <a href=\"/agents/{master}-S1\" title=\"{master}-S1\">S1</a> \
                 (of <a href=\"/frameworks/{master}-0002\" title=\"{master}-0002\">0002</a>) since 2026-09-21 14:13:20 UTC; &lt;b&gt;"
            )
        );
        assert_eq!(prose(" a  b-c ").into_string(), " a  b-c ");
    }
}
