//! `bourse events`: what happened.

use bourse_proto::operator::{HistoryEvent, ListEventsRequest, WatchRequest, watch_event::Event};

use super::list::ListArgs;
use crate::exit::refused;
use crate::render::{Output, ago, json, prose};
use crate::session::Session;

/// Show what happened, oldest first
///
/// Examples:
///   bourse events -f                     go on as things happen
///   bourse events --about web.0          only what names this task, agent, framework or role
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Only what names this id or prefix
    #[arg(long, value_name = "ID")]
    about: Option<String>,
    /// Only these kinds: task, agent, framework, offer, operator; may be repeated
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// At most this many of the newest
    #[arg(short = 'n', long, default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    list: ListArgs,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut session = Session::open(&args.list.master).await?;
    // The watch opens before the list is read, so that nothing falls between them; what both tell is shown once.
    let watch = match args.list.follow {
        true => Some(session.operator.watch(WatchRequest::default()).await.map_err(refused)?.into_inner()),
        false => None,
    };
    let about = args.about.unwrap_or_default();
    let request =
        ListEventsRequest { kinds: args.kind.clone(), about: about.clone(), before: 0, limit: args.limit };
    let past = session.operator.list_events(request).await.map_err(refused)?.into_inner().events;
    let mut shown = 0;
    for event in past.iter().rev() {
        print(event, args.list.output)?;
        shown = shown.max(event.sequence);
    }
    let Some(mut watch) = watch else { return Ok(()) };
    while let Some(change) = watch.message().await.map_err(refused)? {
        if let Some(Event::History(event)) = change.event
            && event.sequence > shown
            && (args.kind.is_empty() || args.kind.contains(&event.kind))
            && names(&event, &about)
        {
            print(&event, args.list.output)?;
        }
    }
    Ok(())
}

/// Whether an event is about an id or prefix, by the rule of `ListEvents`.
fn names(event: &HistoryEvent, about: &str) -> bool {
    [&event.agent_id, &event.framework_id, &event.task_id, &event.role].iter().any(|id| id.starts_with(about))
}

fn print(event: &HistoryEvent, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => anstream::println!("{}", json(event)?),
        Output::Name => anstream::println!("{}", event.sequence),
        Output::Table => {
            let who =
                if event.principal.is_empty() { String::new() } else { format!(" (by {})", event.principal) };
            anstream::println!(
                "{:>5} ago  {:<9}  {}{who}",
                ago(event.at_ms),
                event.kind,
                prose(&event.summary)
            );
        }
    }
    Ok(())
}
