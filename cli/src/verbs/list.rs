//! What the verbs that list something share: flags, and printing in each form.

use prost::{Message, Name};

use crate::render::{Output, Table, json};
use crate::session::Session;

/// How to reach the master, how to print, whether to go on.
#[derive(clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub master: bourse_client::ClientArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Go on: draw again when something changes; with `-o json` one line a change
    #[arg(short, long)]
    pub follow: bool,
}

/// A noun that can be listed: one answer of the master and how to draw it.
pub trait List {
    /// The master's answer.
    type Answer: Message + Name;
    /// The kind of [`WatchEvent`](bourse_proto::operator::WatchEvent) that changes the list.
    const KIND: &'static str;

    async fn fetch(&self, session: &mut Session) -> anyhow::Result<Self::Answer>;
    fn table(&self, answer: &Self::Answer) -> Table;
    fn names(&self, answer: &Self::Answer) -> Vec<String>;
}

/// Prints the list once, or goes on with it.
pub async fn show<L: List>(list: L, args: ListArgs) -> anyhow::Result<()> {
    let mut session = Session::open(&args.master).await?;
    if args.follow {
        return super::follow::follow(list, args.output, session).await;
    }
    let answer = list.fetch(&mut session).await?;
    print(&list, &answer, args.output, Table::print)
}

/// Prints one answer.
pub fn print<L: List>(
    list: &L,
    answer: &L::Answer,
    output: Output,
    draw: impl FnOnce(Table) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    match output {
        Output::Table => draw(list.table(answer))?,
        Output::Json => anstream::println!("{:#}", json(answer)?),
        Output::Name => list.names(answer).iter().for_each(|name| anstream::println!("{name}")),
    }
    Ok(())
}
