//! `bourse weight`: how much of the cluster a role should get.

use bourse_proto::operator::SetWeightRequest;

use crate::exit::refused;
use crate::print::done;
use crate::render::Output;
use crate::session::Session;

/// Set a role's weight: with 2 it gets twice what a sibling with 1 gets when both want more
#[derive(clap::Args)]
pub struct Args {
    /// The role, for instance eng/web
    role: String,
    /// 0.001 to 1000000; 1 is the default
    weight: f64,
    #[command(flatten)]
    master: bourse_client::ClientArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut session = Session::open(&args.master).await?;
    let request = SetWeightRequest { role: args.role.clone(), weight: args.weight };
    let set = session.operator.set_weight(request).await.map_err(refused)?.into_inner();
    let sentence = format!("{} has weight {}; see: bourse roles", args.role, args.weight);
    done(args.output, &set, &args.role, sentence)
}
