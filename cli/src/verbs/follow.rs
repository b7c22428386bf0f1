//! `-f` on a list: the master streams what changes, and the list is drawn again.

use std::time::Duration;

use bourse_proto::operator::{WatchEvent, WatchRequest, watch_event::Event};
use tokio::time::{Instant, sleep_until};

use super::list::{List, print};
use crate::exit::refused;
use crate::render::{Output, Table, json};
use crate::session::Session;

/// At most this often, so that a busy cluster neither flickers nor costs the master a list for each change.
const REDRAW: Duration = Duration::from_millis(250);

/// Follows until interrupted or until the master ends the stream.
pub async fn follow<L: List>(list: L, output: Output, mut session: Session) -> anyhow::Result<()> {
    let watch = session.operator.watch(WatchRequest::default()).await.map_err(refused)?;
    let mut changes = watch.into_inner();
    let mut draw_at = Some(Instant::now());
    loop {
        let due = async {
            match draw_at {
                Some(at) if output != Output::Json => sleep_until(at).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            change = changes.message() => {
                let Some(change) = change.map_err(refused)? else { return Ok(()) };
                if kind(&change) != Some(L::KIND) {
                    continue;
                }
                if output == Output::Json {
                    anstream::println!("{}", json(&change)?);
                }
                draw_at.get_or_insert(Instant::now() + REDRAW);
            }
            () = due => {
                let answer = list.fetch(&mut session).await?;
                print(&list, &answer, output, Table::redraw)?;
                draw_at = None;
            }
        }
    }
}

/// What noun a change is about.
fn kind(change: &WatchEvent) -> Option<&str> {
    match change.event.as_ref()? {
        Event::Agent(_) => Some("agent"),
        Event::Framework(_) => Some("framework"),
        Event::Task(_) => Some("task"),
        Event::Offer(_) => Some("offer"),
        Event::History(_) => Some("event"),
        Event::Gone(gone) => Some(&gone.kind),
        Event::SnapshotBegin(_) | Event::SnapshotEnd(_) | Event::Cluster(_) => None,
    }
}
