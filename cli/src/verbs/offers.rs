//! `bourse offers`: who holds what, for how long.

use bourse_proto::operator::{ListOffersRequest, ListOffersResponse};

use tonic::Status;

use super::list::{List, ListArgs, all_pages, show};
use crate::render::{Shorts, Table, ago, amounts, left};
use crate::session::Session;

/// List outstanding offers: which framework holds which agent's resources, and until when
#[derive(clap::Args)]
pub struct Args {
    /// Only this framework's: id, unique prefix or name
    #[arg(long, value_name = "FRAMEWORK")]
    framework: Option<String>,
    /// Only of this agent: id, unique prefix or hostname
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    #[command(flatten)]
    list: ListArgs,
}

struct Offers(ListOffersRequest);

impl List for Offers {
    type Answer = ListOffersResponse;
    const KINDS: &'static [&'static str] = &["offer"];

    async fn fetch(&self, session: &mut Session) -> Result<ListOffersResponse, Status> {
        let offers = all_pages(async |page| {
            let request = ListOffersRequest { page, ..self.0.clone() };
            let answer = session.operator.list_offers(request).await?.into_inner();
            Ok((answer.offers, answer.next_page))
        });
        let offers = offers.await?;
        Ok(ListOffersResponse { total: offers.len() as u32, offers, ..ListOffersResponse::default() })
    }

    fn table(&self, answer: &ListOffersResponse) -> Table {
        let columns = ["offer", "framework", "agent", "role", "resources", "held", "expires"];
        let mut table =
            Table::new(&columns, "no outstanding offers: nobody is asked to decide anything right now");
        let shorts = Shorts::of(answer.offers.iter().map(|offer| offer.id.as_str()));
        for offer in &answer.offers {
            table.row([
                shorts.show(&offer.id).to_string(),
                offer.framework_name.clone(),
                offer.hostname.clone(),
                offer.role.clone(),
                amounts(offer.resources.as_ref()),
                ago(offer.offered_ms),
                offer.expires_ms.map_or("never".into(), |at| format!("in {}", left(at))),
            ]);
        }
        table
    }

    fn names(&self, answer: &ListOffersResponse) -> Vec<String> {
        answer.offers.iter().map(|offer| offer.id.clone()).collect()
    }
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let request = ListOffersRequest {
        framework_id: args.framework.unwrap_or_default(),
        agent_id: args.agent.unwrap_or_default(),
        ..ListOffersRequest::default()
    };
    show(Offers(request), args.list).await
}
