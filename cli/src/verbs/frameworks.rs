//! `bourse frameworks`: who schedules.

use bourse_proto::operator::{ListFrameworksRequest, ListFrameworksResponse};

use tonic::Status;

use super::list::{List, ListArgs, all_pages, show};
use crate::render::{Shorts, Table, ago, amounts, cell, left, share};
use crate::session::Session;

/// List frameworks: roles, offers they hold, what they got, their dominant share
///
/// One that is idle wants no offers right now, and its tasks run on.
#[derive(clap::Args)]
pub struct Args {
    /// Only this one: id, unique prefix or name
    framework: Option<String>,
    /// Also those that were torn down
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    list: ListArgs,
}

struct Frameworks(ListFrameworksRequest);

impl List for Frameworks {
    type Answer = ListFrameworksResponse;
    const KINDS: &'static [&'static str] = &["framework"];

    async fn fetch(&self, session: &mut Session) -> Result<ListFrameworksResponse, Status> {
        let frameworks = all_pages(async |page| {
            let request = ListFrameworksRequest { page, ..self.0.clone() };
            let answer = session.operator.list_frameworks(request).await?.into_inner();
            Ok((answer.frameworks, answer.next_page))
        });
        let frameworks = frameworks.await?;
        Ok(ListFrameworksResponse {
            total: frameworks.len() as u32,
            frameworks,
            ..ListFrameworksResponse::default()
        })
    }

    fn table(&self, answer: &ListFrameworksResponse) -> Table {
        let columns = [
            "framework",
            "id",
            "state",
            "roles",
            "tasks",
            "offers",
            "offered",
            "allocated",
            "share",
            "registered",
        ];
        let mut table = Table::new(&columns, "no frameworks; try: bourse run -- echo hello");
        let shorts = Shorts::of(answer.frameworks.iter().map(|framework| framework.id.as_str()));
        for framework in &answer.frameworks {
            let state = match framework.failover_deadline_ms {
                Some(deadline) => format!("{} {} left", cell(&framework.state), left(deadline)),
                None => cell(&framework.state),
            };
            let roles = framework.roles.iter().map(|role| match framework.suppressed_roles.contains(role) {
                true => format!("{role} (suppressed)"),
                false => role.clone(),
            });
            let share = match framework.dominant_resource.is_empty() {
                true => "-".into(),
                false => format!("{} of {}", share(framework.dominant_share), framework.dominant_resource),
            };
            table.row([
                framework.name.clone(),
                shorts.show(&framework.id).to_string(),
                state,
                roles.collect::<Vec<_>>().join(", "),
                framework.tasks.to_string(),
                framework.offers.to_string(),
                amounts(framework.offered.as_ref()),
                amounts(framework.allocated.as_ref()),
                share,
                ago(framework.registered_ms),
            ]);
        }
        table
    }

    fn names(&self, answer: &ListFrameworksResponse) -> Vec<String> {
        answer.frameworks.iter().map(|framework| framework.id.clone()).collect()
    }
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let request = ListFrameworksRequest {
        framework: args.framework.unwrap_or_default(),
        completed: args.all,
        ..ListFrameworksRequest::default()
    };
    show(Frameworks(request), args.list).await
}
