//! `bourse why`: why something waits or does not run.

use bourse_proto::operator::{ExplainRequest, Explanation};
use bourse_proto::services::{ListServicesRequest, Service};
use bourse_service_framework::spec;
use tonic::{Code, Status};

use crate::exit::refused;
use crate::print::{document, out};
use crate::render::{Output, Table, Tone, count, prose, sentence, toned};
use crate::session::Session;
use crate::verbs::service::progress;

/// Say why a task, framework, service or agent is not where it should be, and what would change it
///
/// Examples:
///   bourse why web                               a service, or a framework that waits, agent by agent
///   bourse why web.0                             one instance of it
///   bourse why web --resources 'cpus:4; mem:8GiB'   would this size fit anywhere?
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A service or an instance of one, by name; else a task, framework or agent: id, unique prefix or name
    subject: String,
    /// The size in question, for instance 'cpus:4; mem:1GiB'
    #[arg(long, value_name = "RESOURCES")]
    resources: Option<String>,
    /// The subject is a task of this framework: id, unique prefix or name
    #[arg(long, value_name = "FRAMEWORK")]
    framework: Option<String>,
    #[command(flatten)]
    master: bourse_client::ClientArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut session = Session::open(&args.master).await?;
    let explanation = match (args.resources, args.framework) {
        (None, None) => answer(&args.subject, &mut session).await?,
        (Some(resources), None) => {
            // Offers for a service come to its framework.
            let subject = framework_of(&args.subject, &mut session).await.unwrap_or(args.subject);
            let request = ExplainRequest { resources, ..about(&subject) };
            explain(request, &mut session).await.map_err(refused)?
        }
        (resources, Some(framework)) => {
            let resources = resources.unwrap_or_default();
            let request = ExplainRequest { resources, framework, ..about(&args.subject) };
            explain(request, &mut session).await.map_err(refused)?
        }
    };
    match args.output {
        Output::Json => document(&explanation)?,
        Output::Name => out(explanation.id)?,
        Output::Table => print(&explanation)?,
    }
    Ok(())
}

/// A service by its whole name, else what the master knows by this name, else a service by the beginning of its name:
/// the master knows all its tasks by that, which is to say several.
async fn answer(subject: &str, session: &mut Session) -> anyhow::Result<Explanation> {
    if let Some(explanation) = of_service(subject, true, session).await? {
        return Ok(explanation);
    }
    match explain(about(subject), session).await {
        Ok(explanation) => Ok(explanation),
        Err(unknown) if matches!(unknown.code(), Code::NotFound | Code::InvalidArgument) => {
            of_service(subject, false, session).await?.ok_or_else(|| refused(unknown))
        }
        Err(status) => Err(refused(status)),
    }
}

/// The framework of the service of this whole name, if there is one.
async fn framework_of(service: &str, session: &mut Session) -> Option<String> {
    let answer = session.services.list(ListServicesRequest { name: service.into() }).await.ok()?.into_inner();
    answer.services.iter().any(|found| found.name == service).then_some(answer.framework_id)
}

fn about(subject: &str) -> ExplainRequest {
    ExplainRequest { subject: subject.into(), ..ExplainRequest::default() }
}

async fn explain(request: ExplainRequest, session: &mut Session) -> Result<Explanation, Status> {
    Ok(session.operator.explain(request).await?.into_inner())
}

/// The answer for a service or an instance: what its framework says, and what the master says about the size of what
/// waits. `None` where there is no service of that name, or nobody to ask.
async fn of_service(
    subject: &str,
    whole_name: bool,
    session: &mut Session,
) -> anyhow::Result<Option<Explanation>> {
    let (name, slot) = match subject.rsplit_once('.') {
        Some((name, slot)) if slot.parse::<u32>().is_ok() => (name, Some(slot)),
        _ => (subject, None),
    };
    let Ok(answer) = session.services.list(ListServicesRequest { name: name.into() }).await else {
        return Ok(None);
    };
    let answer = answer.into_inner();
    let found = answer.services.into_iter().find(|service| !whole_name || service.name == name);
    let Some(service) = found else { return Ok(None) };
    // As they are called, where only the beginning of the name was given.
    let subject = match slot {
        Some(slot) => format!("{}.{slot}", service.name),
        None => service.name.clone(),
    };
    let instance = service.instances.iter().find(|instance| instance.name == subject);
    if slot.is_some() && instance.is_none() {
        return Ok(None);
    }
    let asked = match instance {
        Some(instance) if !instance.task_id.is_empty() => {
            return explain(about(&instance.task_id), session).await.map(Some).map_err(refused);
        }
        Some(instance) => std::slice::from_ref(instance),
        None => &service.instances,
    };
    let in_state = |state: &str| asked.iter().find(|instance| instance.state == state);
    let of_master = match needs(&service) {
        Some(needs) if in_state("WAITING").is_some() => {
            let request = ExplainRequest { resources: needs, ..about(&answer.framework_id) };
            explain(request, session).await.map_err(refused)?
        }
        _ => Explanation::default(),
    };
    // What ends again and again lacks nothing that the master could give.
    let fix =
        in_state("BACKING_OFF").map(|instance| format!("see what it said: bourse logs {}", instance.name));
    let of_master = Explanation { nearest_fix: fix.unwrap_or(of_master.nearest_fix.clone()), ..of_master };
    let summary = match instance {
        Some(instance) => format!("instance {}: {}", instance.name, instance.reason),
        None => format!("service {}", progress(&service)),
    };
    Ok(Some(Explanation { kind: "service".into(), id: subject, summary, ..of_master }))
}

/// What one instance asks for, but ports: the master is asked about amounts.
fn needs(service: &Service) -> Option<String> {
    let needs = spec::parse(&service.toml, &service.name).ok()?.template.resources;
    Some(format!("cpus:{}; mem:{}", needs.cpus, needs.mem))
}

fn print(explanation: &Explanation) -> anyhow::Result<()> {
    out(sentence(&prose(&explanation.summary)))?;
    if !explanation.nearest_fix.is_empty() {
        out(format_args!("nearest fix: {}", prose(&explanation.nearest_fix)))?;
    }
    if !explanation.agents.is_empty() {
        out("")?;
        let mut table = Table::new(&["agent", "fits", "what stands in the way"], "");
        for agent in &explanation.agents {
            let fits = if agent.fits { toned(Tone::Good, "yes") } else { toned(Tone::Bad, "no") };
            let mut obstacles = agent
                .obstacles
                .iter()
                .map(|obstacle| format!("{}: {}", obstacle.reason, prose(&obstacle.detail)));
            table.row([agent.hostname.clone(), fits, obstacles.next().unwrap_or_default()]);
            // One a line: each is a sentence of its own.
            for obstacle in obstacles {
                table.row([String::new(), String::new(), obstacle]);
            }
        }
        table.print()?;
    }
    if let Some(others) = others(explanation) {
        out(others)?;
    }
    if !explanation.counts.is_empty() {
        let mut counts: Vec<_> = explanation.counts.iter().collect();
        counts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let counts = counts.iter().map(|(reason, count)| format!("{reason} {count}"));
        out(format_args!("\nleft out by the allocator so far: {}", counts.collect::<Vec<_>>().join(", ")))?;
    }
    Ok(())
}

/// What stands in the way of the agents that are not told one by one, the most frequent first.
fn others(explanation: &Explanation) -> Option<String> {
    let told = u32::try_from(explanation.agents.len()).unwrap_or(u32::MAX);
    let more = explanation.agents_total.checked_sub(told).filter(|more| *more > 0)?;
    let mut reasons: Vec<_> = explanation.others.iter().collect();
    reasons.sort_by_key(|(_, agents)| std::cmp::Reverse(**agents));
    let reasons: Vec<_> = reasons.iter().map(|(reason, agents)| format!("{reason} on {agents}")).collect();
    let why = match reasons[..] {
        [] => String::new(),
        _ => format!("; what stands in the way there: {}", reasons.join(", ")),
    };
    Some(format!("and {} more{why}", count(more, "agent")))
}
