//! The hostnames of the agents that a sentence names.
//!
//! The core names an agent by its id, which is exact and stays true when a machine is renamed. People know machines by
//! their hostnames: whatever they are told by this master has both, `host-a (<id>)`, as long as the agent is known.

use bourse_master_core::View;
use bourse_types::AgentId;

/// The sentence with the hostname before the id of each agent that it names. Says `agent <id> on host-a` shorter.
pub(super) fn told(sentence: &str, view: &View) -> String {
    let host = |id: &str| view.hostname(&AgentId::new(id).ok()?).filter(|host| !host.is_empty());
    tell(sentence, host)
}

/// An agent in a sentence of our own: `host-a (<id>)`.
pub(super) fn of(agent: &AgentId, view: &View) -> String {
    told(agent.as_str(), view)
}

fn tell<'a>(sentence: &str, host: impl Fn(&str) -> Option<&'a str>) -> String {
    let words: Vec<&str> = sentence.split(' ').collect();
    let mut told: Vec<String> = Vec::with_capacity(words.len());
    let mut index = 0;
    while let Some(word) = words.get(index) {
        index += 1;
        let id = word.trim_end_matches([':', ';', ',', '.']);
        // Most words are not worth a look: ids of agents end in their number.
        let known = if id.contains("-S") { host(id) } else { None };
        let Some(host) = known else {
            told.push((*word).to_owned());
            continue;
        };
        let mut after = &word[id.len()..];
        if let (true, Some(&"on"), Some(rest)) = (
            after.is_empty(),
            words.get(index),
            words.get(index + 1).and_then(|next| next.strip_prefix(host)),
        ) && rest.chars().all(|c| ":;,.".contains(c))
        {
            after = rest;
            index += 2;
        }
        told.push(format!("{host} ({id}){after}"));
    }
    told.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_named_by_its_host_and_once() {
        let host = |id: &str| (id == "m-S1").then_some("host-a");
        for (sentence, wanted) in [
            ("agent m-S1 was admitted", "agent host-a (m-S1) was admitted"),
            ("Agent m-S1 on host-a is unreachable", "Agent host-a (m-S1) is unreachable"),
            ("agent m-S1 on host-a, and more", "agent host-a (m-S1), and more"),
            ("agent m-S1 on host-ab", "agent host-a (m-S1) on host-ab"),
            ("t failed on agent m-S1: no  space", "t failed on agent host-a (m-S1): no  space"),
            ("agent m-S2 was removed; host-a (m-S1) stays", "agent m-S2 was removed; host-a (m-S1) stays"),
            ("", ""),
        ] {
            assert_eq!(tell(sentence, host), wanted);
        }
    }
}
