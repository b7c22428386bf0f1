//! `bourse status`: how the cluster does, in one sentence, problems first.

use bourse_proto::operator::{Amounts, Cluster, GetClusterRequest, ResourceReport, Severity};

use crate::exit::refused;
use crate::render::{Output, Style, Table, ago, json, mib};
use crate::session::Session;

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
        Output::Json => anstream::println!("{:#}", json(&cluster)?),
        Output::Name => anstream::println!("{}", cluster.master_id),
        Output::Table => print(&cluster)?,
    }
    Ok(())
}

fn print(cluster: &Cluster) -> anyhow::Result<()> {
    anstream::println!("{}", cluster.verdict);
    for problem in &cluster.problems {
        let style = if problem.severity() == Severity::Critical { Style::Bad } else { Style::Waiting };
        anstream::println!("  {}", style.word(&problem.summary));
        if !problem.advice.is_empty() {
            anstream::println!("      {}", problem.advice);
        }
    }
    anstream::println!();
    let mut table =
        Table::new(&["resource", "total", "reserved", "offered", "allocated", "used", "available"], "");
    let report = cluster.resources.clone().unwrap_or_default();
    table.row(row("cpus", &report, |amounts| format!("{:.2}", amounts.cpus)));
    table.row(row("memory", &report, |amounts| mib(amounts.mem_mib)));
    table.row(row("disk", &report, |amounts| mib(amounts.disk_mib)));
    table.print()?;
    anstream::println!(
        "\n{} of {} agents active, {} of {} frameworks active, {} offers outstanding\nmaster {} (epoch {}, {}), up {}",
        cluster.agents_active,
        cluster.agents_total,
        cluster.frameworks_active,
        cluster.frameworks_total,
        cluster.offers_outstanding,
        cluster.master_id,
        cluster.epoch,
        cluster.version,
        ago(cluster.started_ms)
    );
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
