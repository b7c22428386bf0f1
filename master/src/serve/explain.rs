//! Why something waits: the core's explanation of whatever a text names.

use bourse_master_core::{Explanation, Subject, Task, View};
use bourse_proto::operator as wire;
use bourse_types::Resources;
use tonic::Status;

use super::forms::count;
use super::{hostnames, subjects};

/// So many agents are told one by one where it is not said how many, and so many at most.
const AGENTS: usize = 100;
const AGENTS_MAX: usize = 1_000;

/// Explains a task, a framework or an agent.
pub(super) fn answer(view: &View, asked: &wire::ExplainRequest) -> Result<wire::Explanation, Status> {
    let wanted = match asked.resources.as_str() {
        "" => None,
        text => {
            let parsed = text.parse::<Resources>();
            Some(parsed.map_err(|why| Status::invalid_argument(format!("resources: {why}")))?)
        }
    };
    let subject = match asked.framework.as_str() {
        "" => find(view, &asked.subject)?,
        framework => subjects::task(view, &asked.subject, framework).map(task_of)?,
    };
    let most = match asked.limit as usize {
        0 => AGENTS,
        limit => limit.min(AGENTS_MAX),
    };
    let explanation = view.explain(&subject, wanted.as_ref(), most);
    let explanation = explanation.ok_or_else(|| Status::not_found("it has gone away meanwhile"))?;
    Ok(write(explanation, view))
}

/// A task, else a framework, else an agent: what people ask about most comes first. A text that could be several things
/// of the first kind that knows it is refused with all of them.
fn find(view: &View, text: &str) -> Result<Subject, Status> {
    let unknown = |status: &Status| status.code() == tonic::Code::NotFound;
    match subjects::task(view, text, "") {
        Ok(task) => return Ok(task_of(task)),
        Err(status) if unknown(&status) => {}
        Err(status) => return Err(status),
    }
    match subjects::framework(view, text) {
        Ok(framework) => return Ok(Subject::Framework(framework.id.clone())),
        Err(status) if unknown(&status) => {}
        Err(status) => return Err(status),
    }
    match subjects::agent(view, text) {
        Ok(agent) => Ok(Subject::Agent(agent.id.clone())),
        Err(status) if unknown(&status) => Err(Status::not_found(format!(
            "there is no task, framework or agent {text:?}; `bourse ps`, `bourse frameworks` and `bourse agents` list \
             those there are"
        ))),
        Err(status) => Err(status),
    }
}

fn task_of(task: &Task) -> Subject {
    Subject::Task(task.framework.clone(), task.info.id.clone())
}

fn write(explanation: Explanation, view: &View) -> wire::Explanation {
    let told = |text: &str| hostnames::told(text, view);
    wire::Explanation {
        kind: explanation.kind.to_owned(),
        id: explanation.id,
        summary: told(&explanation.summary),
        nearest_fix: explanation.nearest_fix.as_deref().map(told).unwrap_or_default(),
        agents: explanation
            .agents
            .into_iter()
            .map(|verdict| wire::AgentVerdict {
                agent_id: verdict.agent.to_string(),
                hostname: verdict.hostname,
                fits: verdict.fits,
                obstacles: verdict
                    .obstacles
                    .into_iter()
                    .map(|obstacle| wire::Obstacle {
                        reason: obstacle.reason.as_str().to_owned(),
                        detail: told(&obstacle.detail),
                    })
                    .collect(),
            })
            .collect(),
        counts: explanation.counts.into_iter().map(|(reason, passes)| (reason.to_owned(), passes)).collect(),
        agents_total: count(explanation.agents_total),
        others: explanation
            .others
            .into_iter()
            .map(|(reason, agents)| (reason.to_owned(), count(agents)))
            .collect(),
    }
}
