//! The log of what happened: one line for each entry of the history that an operator would ask about.

use tracing::{debug, info};

use bourse_master_core::View;
use bourse_master_core::history::Kind;

use crate::history::Stamped;

/// Logs an entry. The sentence is the same for all of a kind; the entry's own is a field, like who and what it is about.
pub(crate) fn tell(stamped: &Stamped, view: &View) {
    let entry = &stamped.entry;
    let agent_id = entry.agent.as_ref().map(|id| id.as_str());
    let hostname = entry.agent.as_ref().and_then(|id| view.hostname(id));
    let framework_id = entry.framework.as_ref().map(|id| id.as_str());
    let task_id = entry.task.as_ref().map(|id| id.as_str());
    let role = entry.role.as_ref().map(|role| role.as_str());
    let principal = entry.principal.as_ref().map(|principal| principal.as_str());
    let (sequence, reason, summary) = (stamped.sequence, entry.reason.as_deref(), entry.summary.as_str());
    macro_rules! tell {
        ($level:ident, $sentence:literal) => {
            $level!(
                sequence,
                agent_id,
                hostname,
                framework_id,
                task_id,
                role,
                reason,
                principal,
                summary,
                $sentence
            )
        };
    }
    match entry.kind {
        Kind::Agent => tell!(info, "an agent changed"),
        Kind::Framework => tell!(info, "a framework changed"),
        Kind::Operator => tell!(info, "an operator changed something"),
        // Thousands a second on a busy cluster.
        Kind::Task => tell!(debug, "a task changed"),
        Kind::Offer => tell!(debug, "offers were withdrawn"),
    }
}
