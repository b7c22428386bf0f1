//! Ids and sentences with ids in them, for people: short, and a link where there is a page.

use std::time::UNIX_EPOCH;

use maud::{Markup, html};

use super::parts::time;
use super::view;

/// An id, short, and in full on hover.
pub fn id(id: &str) -> Markup {
    let short = short(id);
    html! { span.id title=[(short != id).then_some(id)] { (short) } }
}

/// The part of an id by which its master tells things apart, which names it everywhere: `S3` of an agent, `0001` of a
/// framework. Other ids as they are, or their end when they are long.
pub fn short(id: &str) -> String {
    match id.rsplit_once('-') {
        Some((master, number)) if master.len() >= UUID && !number.is_empty() => number.to_owned(),
        _ if id.chars().count() > ID_SHOWN => {
            format!("…{}", id.chars().skip(id.chars().count() - ID_SHOWN).collect::<String>())
        }
        _ => id.to_owned(),
    }
}

/// The length of a master's id, which agents', frameworks' and offers' ids begin with.
const UUID: usize = 36;

/// So many characters of an id are shown where it stands beside a name.
const ID_SHOWN: usize = 24;

/// A sentence of the master's: agents and frameworks that it names by their ids are links, points in time are told as
/// everywhere else.
pub fn prose(sentence: &str) -> Markup {
    html! {
        @for (index, word) in sentence.split(' ').enumerate() {
            @if index > 0 { " " }
            @let bare = word.trim_matches(['(', ')', ':', ',', ';', '.', '"']);
            @let (before, after) = word.split_once(bare).unwrap_or((word, ""));
            @match named(bare) {
                _ if bare.is_empty() => (word),
                Named::Agent => { (before) a href=(view::agent(bare)) title=(bare) { (short(bare)) } (after) }
                Named::Framework => { (before) a href=(view::framework(bare)) title=(bare) { (short(bare)) } (after) }
                Named::Offer => { (before) span title=(bare) { (short(bare)) } (after) }
                Named::Time(at_ms) => { (before) (time(at_ms)) (after) }
                Named::Nothing => (word),
            }
        }
    }
}

/// What a word of a sentence may be.
enum Named {
    Agent,
    Framework,
    Offer,
    Time(u64),
    Nothing,
}

/// Ids are a master's id and `S1` for an agent, `0001` for a framework, `O1` for an offer.
fn named(word: &str) -> Named {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match word.rsplit_once('-') {
        Some((master, number)) if master.len() == UUID && master.split('-').count() == 5 => {
            match (number.strip_prefix('S'), number.strip_prefix('O')) {
                (Some(agent), _) if digits(agent) => Named::Agent,
                (_, Some(offer)) if digits(offer) => Named::Offer,
                _ if digits(number) => Named::Framework,
                _ => Named::Nothing,
            }
        }
        _ if word.ends_with('Z') && word.contains('T') => match humantime::parse_rfc3339(word) {
            Ok(at) => Named::Time(at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)),
            Err(_) => Named::Nothing,
        },
        _ => Named::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_links_the_agents_and_frameworks_that_it_names_and_tells_times_as_everywhere() {
        let master = "881cf9f0-ba0e-46d8-a2c6-b5118431bcc5";
        let html =
            prose(&format!("Agent {master}-S1 (of {master}-0002) since 2026-09-21T14:13:20.000Z; <b>"))
                .into_string();
        assert_eq!(
            html,
            format!(
                "Agent <a href=\"/agents/{master}-S1\" title=\"{master}-S1\">S1</a> \
                 (of <a href=\"/frameworks/{master}-0002\" title=\"{master}-0002\">0002</a>) since {}; &lt;b&gt;",
                time(1_790_000_000_000).into_string()
            )
        );
        assert_eq!(prose(" a  b-c ").into_string(), " a  b-c ");
    }
}
