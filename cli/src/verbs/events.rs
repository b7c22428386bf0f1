//! `bourse events`: what happened.

use std::collections::BTreeSet;

use bourse_proto::operator::{HistoryEvent, ListEventsRequest, watch_event::Event};

use super::list::ListArgs;
use super::patience::Patience;
use super::watch::Watch;
use crate::exit::refused;
use crate::print::{nobody_reads, out, say};
use crate::render::{Output, ago, json, prose};
use crate::session::Session;

/// How many events are asked for at once when some were missed: as many as the master gives.
const PAGE: u32 = 1_000;

/// Show what happened, oldest first
///
/// Examples:
///   bourse events -f                     go on as things happen
///   bourse events --about agent-1        only what names this agent, framework, task or role
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Only what is about this agent, framework, task or role: id, the beginning of one, or name
    #[arg(long, value_name = "NAME")]
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
    let request = ListEventsRequest {
        kinds: args.kind,
        about: args.about.unwrap_or_default(),
        before: 0,
        limit: args.limit,
    };
    let past = session.operator.list_events(request.clone()).await.map_err(refused)?.into_inner();
    if past.events.is_empty() && !request.about.is_empty() {
        say(format_args!("no event so far names {:?} or what begins so", request.about));
    }
    let mut teller = Teller {
        request,
        about_ids: past.about_ids,
        asked: BTreeSet::new(),
        output: args.list.output,
        told: 0,
        told_ms: 0,
    };
    past.events.iter().rev().try_for_each(|event| teller.tell(event))?;
    if !args.list.follow {
        return Ok(());
    }
    let mut watch = Watch::new(&session);
    let unread = nobody_reads();
    tokio::pin!(unread);
    loop {
        let change = tokio::select! {
            change = watch.next() => change?,
            () = &mut unread => return Ok(()),
        };
        match change {
            Event::SnapshotBegin(_) => teller.catch_up(&mut session).await?,
            Event::History(event) if teller.is_new(&event) => {
                teller.hear_of_strangers(&event, &mut session).await?;
                if teller.wants(&event) {
                    teller.tell(&event)?;
                }
            }
            _ => {}
        }
    }
}

/// Tells each event once.
struct Teller {
    /// What is wanted.
    request: ListEventsRequest,
    /// The ids of what the request is about, as the master knows it.
    about_ids: Vec<String>,
    /// Agents and frameworks about which the master was asked whether they go by that name.
    asked: BTreeSet<String>,
    output: Output,
    /// The last event that was told, and the time of the latest.
    told: u64,
    told_ms: u64,
}

impl Teller {
    /// A master that is killed may forget its last events: then it gives their numbers again, at a later time.
    fn is_new(&self, event: &HistoryEvent) -> bool {
        event.sequence > self.told || event.at_ms > self.told_ms
    }

    /// Whether an event is of a kind and about something that is wanted, by the rule of `ListEvents`.
    fn wants(&self, event: &HistoryEvent) -> bool {
        let ListEventsRequest { kinds, about, .. } = &self.request;
        let named = || {
            let mut ids = [&event.agent_id, &event.framework_id, &event.task_id, &event.role].into_iter();
            ids.any(|id| id.starts_with(about) || self.about_ids.contains(id))
        };
        (kinds.is_empty() || kinds.contains(&event.kind)) && (about.is_empty() || named())
    }

    /// An agent or a framework that came meanwhile may have the name that the request is about.
    async fn hear_of_strangers(&mut self, event: &HistoryEvent, session: &mut Session) -> anyhow::Result<()> {
        if self.request.about.is_empty() {
            return Ok(());
        }
        let mut is_news = false;
        for id in [&event.agent_id, &event.framework_id] {
            is_news |= !id.is_empty() && self.asked.insert(id.clone());
        }
        if is_news {
            let request = ListEventsRequest { limit: 1, ..self.request.clone() };
            if let Ok(page) = session.operator.list_events(request).await {
                self.about_ids = page.into_inner().about_ids;
            }
        }
        Ok(())
    }

    fn tell(&mut self, event: &HistoryEvent) -> anyhow::Result<()> {
        (self.told, self.told_ms) = (event.sequence, self.told_ms.max(event.at_ms));
        print(event, self.output)
    }

    /// Tells what happened before the watch began: since the list was read, or while the master could not be reached.
    async fn catch_up(&mut self, session: &mut Session) -> anyhow::Result<()> {
        let mut patience = Patience::default();
        let mut missed: Vec<HistoryEvent> = Vec::new();
        loop {
            let before = missed.last().map_or(0, |oldest| oldest.sequence);
            let request = ListEventsRequest { before, limit: PAGE, ..self.request.clone() };
            let answer = session.operator.list_events(request).await;
            let Some(page) = patience.with(answer).await? else { continue };
            let page = page.into_inner();
            self.about_ids = page.about_ids;
            let full = page.events.len() == PAGE as usize;
            let known = missed.len();
            missed.extend(page.events.into_iter().take_while(|event| self.is_new(event)));
            if !full || missed.len() - known < PAGE as usize {
                break;
            }
        }
        missed.iter().rev().try_for_each(|event| self.tell(event))
    }
}

fn print(event: &HistoryEvent, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => out(json(event)?)?,
        Output::Name => out(event.sequence)?,
        Output::Table => {
            let who =
                if event.principal.is_empty() { String::new() } else { format!(" (by {})", event.principal) };
            out(format_args!(
                "{:>5} ago  {:<9}  {}{who}",
                ago(event.at_ms),
                event.kind,
                prose(&event.summary)
            ))?;
        }
    }
    Ok(())
}
