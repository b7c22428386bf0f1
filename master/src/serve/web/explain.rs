//! Why something waits, as the master explains it.

use bourse_proto::operator::{AgentVerdict, Explanation};
use bourse_words::{Tone, sentence};
use maud::{Markup, html};

use super::names::{self, prose};
use super::page::Part;
use super::parts::toned;

/// A reason's stable word as people read it.
pub fn word(reason: &str) -> String {
    reason.trim_start_matches("REASON_").to_ascii_lowercase().replace('_', " ")
}

/// How many agents are gone through, those that are nearest to serving it; the command tells more.
pub const AGENTS: usize = 60;

/// A block: the answer, the nearest fix, and what stands between the subject and each agent. Hidden without an answer.
pub fn block(heading: &str, explanation: Option<&Explanation>) -> Part {
    let html = html! {
        section #why.part.explanation hidden[explanation.is_none()] {
            @if let Some(explanation) = explanation {
                h2 { (heading) }
                p.summary { (prose(&sentence(&explanation.summary))) }
                @if !explanation.nearest_fix.is_empty() { p { b { "Nearest fix: " } (prose(&explanation.nearest_fix)) } }
                @if !explanation.agents.is_empty() {
                    ul.verdicts { @for agent in explanation.agents.iter().take(AGENTS) { (verdict(agent)) } }
                }
                @if others(explanation) > 0 { p.more { "and " (others(explanation)) " more agents" } }
            }
        }
    };
    Part::block("why", html)
}

/// How many agents are not gone through.
fn others(explanation: &Explanation) -> usize {
    (explanation.agents_total as usize).saturating_sub(explanation.agents.len().min(AGENTS))
}

fn verdict(agent: &AgentVerdict) -> Markup {
    let (tone, fits) = if agent.fits { (Tone::Good, "fits") } else { (Tone::Faint, "does not fit") };
    html! {
        li {
            (names::agent(&agent.agent_id, &agent.hostname)) " " (toned(tone, fits))
            @if !agent.obstacles.is_empty() {
                ul { @for obstacle in &agent.obstacles { li { b { (word(&obstacle.reason)) ":" } " " (prose(&obstacle.detail)) } } }
            }
        }
    }
}
