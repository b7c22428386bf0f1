//! What the verbs that list something share: flags, and printing in each form.

use prost::{Message, Name};
use tonic::Status;

use crate::exit::refused;
use crate::print::{document, lines, out, say};
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
    /// Go on: print again when something changes; with `-o json` the whole list as one line each time
    #[arg(short, long)]
    pub follow: bool,
}

/// A noun that can be listed: one answer of the master and how to draw it.
pub trait List {
    /// The master's answer.
    type Answer: Message + Name + PartialEq;
    /// What may change the list: "agent", "framework", "task", "offer", "event".
    const KINDS: &'static [&'static str];

    async fn fetch(&self, session: &mut Session) -> Result<Self::Answer, Status>;
    fn table(&self, answer: &Self::Answer) -> Table;
    fn names(&self, answer: &Self::Answer) -> Vec<String>;

    /// What the rows do not tell, said below them on standard error.
    fn note(&self, _answer: &Self::Answer) -> Option<String> {
        None
    }
}

/// All things of a list that the master tells page by page. `page` asks for what comes after a `next_page`, and answers
/// the things on it and its own `next_page`; the first one comes after an empty one.
pub async fn all_pages<T>(
    mut page: impl AsyncFnMut(String) -> Result<(Vec<T>, String), Status>,
) -> Result<Vec<T>, Status> {
    let (mut all, mut next) = (Vec::new(), String::new());
    loop {
        let (things, after) = page(next).await?;
        all.extend(things);
        if after.is_empty() {
            return Ok(all);
        }
        next = after;
    }
}

/// Prints the list once, or goes on with it.
pub async fn show<L: List>(list: L, args: ListArgs) -> anyhow::Result<()> {
    let mut session = Session::open(&args.master).await?;
    if args.follow {
        return super::follow::follow(list, args.output, session).await;
    }
    let answer = list.fetch(&mut session).await.map_err(refused)?;
    print(&list, &answer, args.output, false)
}

/// Prints one answer; one of several if it is followed by more.
pub fn print<L: List>(list: &L, answer: &L::Answer, output: Output, again: bool) -> anyhow::Result<()> {
    match output {
        Output::Table => {
            let table = list.table(answer);
            if again { table.redraw() } else { table.print() }?;
            if let Some(note) = list.note(answer) {
                say(note);
            }
            Ok(())
        }
        Output::Json if again => out(json(answer)?),
        Output::Json => document(answer),
        Output::Name => lines(list.names(answer)),
    }
}
