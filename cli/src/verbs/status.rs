//! `bourse status`: how the cluster does, in one sentence, problems first.

use std::time::Duration;

use bourse_proto::operator::{Amounts, Cluster, GetClusterRequest, ResourceReport, Severity};
use bourse_proto::services::{ListServicesRequest, Service};

use crate::exit::refused;
use crate::print::{document, out};
use crate::render::{Output, Table, Tone, ago, count, mib, needs_a_look, prose, sentence, state, toned};
use crate::session::Session;

/// The service framework has this long to answer.
const SERVICES_PATIENCE: Duration = Duration::from_secs(2);

/// Say in one sentence how the cluster does, then what is wrong, then what there is
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    master: bourse_client::ClientArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut session = Session::open(&args.master).await?;
    let cluster = session.operator.get_cluster(GetClusterRequest {}).await.map_err(refused)?.into_inner();
    match args.output {
        Output::Json => document(&cluster)?,
        Output::Name => out(cluster.master_id)?,
        Output::Table => print(&cluster, &waiting(&mut session).await)?,
    }
    Ok(())
}

/// The services that are not as they should be. None where no service framework answers: that is no fault of the
/// cluster's.
async fn waiting(session: &mut Session) -> Vec<Service> {
    let asked = session.services.list(ListServicesRequest::default());
    let Ok(Ok(answer)) = tokio::time::timeout(SERVICES_PATIENCE, asked).await else { return Vec::new() };
    let services = answer.into_inner().services.into_iter();
    services.filter(needs_a_look).collect()
}

fn print(cluster: &Cluster, waiting: &[Service]) -> anyhow::Result<()> {
    out(prose(&cluster.verdict))?;
    for problem in &cluster.problems {
        let tone = if problem.severity() == Severity::Critical { Tone::Bad } else { Tone::Busy };
        out(format_args!("  {}", toned(tone, &sentence(&prose(&problem.summary)))))?;
        if !problem.advice.is_empty() {
            out(format_args!("      {}", prose(&problem.advice)))?;
        }
    }
    for service in waiting {
        let text =
            format!("Service {} is {}: {}", service.name, state(&service.state), prose(&service.reason));
        out(format_args!("  {}", toned(Tone::Busy, &text)))?;
        out(format_args!("      bourse service show {}", service.name))?;
    }
    out("")?;
    let mut table =
        Table::new(&["resource", "total", "reserved", "offered", "allocated", "used", "available"], "");
    let report = cluster.resources.clone().unwrap_or_default();
    table.row(row("cpus", &report, |amounts| format!("{:.2}", amounts.cpus)));
    table.row(row("memory", &report, |amounts| mib(amounts.mem_mib)));
    table.row(row("disk", &report, |amounts| mib(amounts.disk_mib)));
    table.print()?;
    out(format_args!(
        "\n{} of {} active, {} of {} connected, {} outstanding\nmaster {} (epoch {}, Bourse {}), up {}",
        cluster.agents_active,
        count(cluster.agents_total, "agent"),
        cluster.frameworks_active,
        count(cluster.frameworks_total, "framework"),
        count(cluster.offers_outstanding, "offer"),
        cluster.master_id,
        cluster.epoch,
        cluster.version,
        ago(cluster.started_ms)
    ))?;
    Ok(())
}

fn row(name: &str, report: &ResourceReport, show: fn(&Amounts) -> String) -> [String; 7] {
    let part = |amounts: &Option<Amounts>| amounts.as_ref().map_or("-".into(), show);
    [
        name.into(),
        part(&report.total),
        part(&report.reserved),
        part(&report.offered),
        part(&report.allocated),
        part(&report.used),
        part(&report.available),
    ]
}
