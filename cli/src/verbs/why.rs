//! `bourse why`: why something waits or does not run.

use bourse_proto::operator::{ExplainRequest, Explanation};

use crate::exit::refused;
use crate::render::{Output, Style, Table, json, prose, sentence};
use crate::session::Session;

/// Say why a task, framework, service or agent is not where it should be, and what would change it
///
/// Examples:
///   bourse why web                               a framework that waits, agent by agent
///   bourse why web --resources 'cpus:4; mem:8GiB'   would this size fit anywhere?
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A task, framework or agent: id, unique prefix or name
    subject: String,
    /// The size in question, for instance 'cpus:4; mem:1GiB'
    #[arg(long, value_name = "RESOURCES")]
    resources: Option<String>,
    #[command(flatten)]
    master: bourse_client::ClientArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut session = Session::open(&args.master).await?;
    let request = ExplainRequest { subject: args.subject, resources: args.resources.unwrap_or_default() };
    let explanation = session.operator.explain(request).await.map_err(refused)?.into_inner();
    match args.output {
        Output::Json => anstream::println!("{:#}", json(&explanation)?),
        Output::Name => anstream::println!("{}", explanation.id),
        Output::Table => print(&explanation)?,
    }
    Ok(())
}

fn print(explanation: &Explanation) -> anyhow::Result<()> {
    anstream::println!("{}", sentence(&prose(&explanation.summary)));
    if !explanation.nearest_fix.is_empty() {
        anstream::println!("nearest fix: {}", prose(&explanation.nearest_fix));
    }
    if !explanation.agents.is_empty() {
        anstream::println!();
        let mut table = Table::new(&["agent", "fits", "what stands in the way"], "");
        for agent in &explanation.agents {
            let fits = if agent.fits { Style::Good.word("yes") } else { Style::Bad.word("no") };
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
    if !explanation.counts.is_empty() {
        let mut counts: Vec<_> = explanation.counts.iter().collect();
        counts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let counts = counts.iter().map(|(reason, count)| format!("{reason} {count}"));
        anstream::println!("\nleft out by the allocator so far: {}", counts.collect::<Vec<_>>().join(", "));
    }
    Ok(())
}
