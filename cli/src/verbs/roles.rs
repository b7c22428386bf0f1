//! `bourse roles`: how the cluster is shared.

use bourse_proto::operator::{ListRolesRequest, ListRolesResponse};

use tonic::Status;

use super::list::{List, ListArgs, all_pages, show};
use crate::render::{Table, amounts, share};
use crate::session::Session;

/// List roles: weight, frameworks, what they hold
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    list: ListArgs,
}

struct Roles;

impl List for Roles {
    type Answer = ListRolesResponse;
    /// A role's figures change with those of its frameworks; that its weight was set is an event.
    const KINDS: &'static [&'static str] = &["framework", "event"];

    async fn fetch(&self, session: &mut Session) -> Result<ListRolesResponse, Status> {
        let roles = all_pages(async |page| {
            let request = ListRolesRequest { page, ..ListRolesRequest::default() };
            let answer = session.operator.list_roles(request).await?.into_inner();
            Ok((answer.roles, answer.next_page))
        });
        let roles = roles.await?;
        Ok(ListRolesResponse { total: roles.len() as u32, roles, ..ListRolesResponse::default() })
    }

    fn table(&self, answer: &ListRolesResponse) -> Table {
        let columns = ["role", "weight", "frameworks", "reserved", "offered", "allocated", "share"];
        let mut table = Table::new(&columns, "no roles in use; a framework brings its roles");
        for role in &answer.roles {
            table.row([
                role.name.clone(),
                role.weight.to_string(),
                role.frameworks.len().to_string(),
                amounts(role.reserved.as_ref()),
                amounts(role.offered.as_ref()),
                amounts(role.allocated.as_ref()),
                share(role.dominant_share),
            ]);
        }
        table
    }

    fn names(&self, answer: &ListRolesResponse) -> Vec<String> {
        answer.roles.iter().map(|role| role.name.clone()).collect()
    }
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    show(Roles, args.list).await
}
