//! `-f` on a list: when the master streams a change, the list is asked for and printed again.

use std::time::Duration;

use bourse_proto::operator::watch_event::Event;
use tokio::time::{Instant, sleep_until};
use tonic::Code;

use super::list::{List, print};
use super::patience::may_pass;
use super::watch::Watch;
use crate::exit::refused;
use crate::print::nobody_reads;
use crate::render::Output;
use crate::session::Session;

/// At most this often, so that a busy cluster neither flickers nor costs the master a list for each change.
const REDRAW: Duration = Duration::from_millis(250);
/// How soon a list is asked for again that could not be had.
const AGAIN: Duration = Duration::from_secs(1);

/// For so long after its master was started anew, what is asked for by its name may still have to come back.
const RETURN: Duration = Duration::from_secs(60);

/// Follows until interrupted, or until nobody reads what is printed.
pub async fn follow<L: List>(list: L, output: Output, mut session: Session) -> anyhow::Result<()> {
    let mut shown = list.fetch(&mut session).await.map_err(refused)?;
    print(&list, &shown, output, true)?;
    let mut watch = Watch::new(&session);
    let mut draw_at = None;
    let mut may_return_until = Instant::now();
    let unread = nobody_reads();
    tokio::pin!(unread);
    loop {
        let due = async {
            match draw_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            change = watch.next() => {
                let change = change?;
                if matches!(change, Event::SnapshotBegin(_)) {
                    may_return_until = Instant::now() + RETURN;
                }
                if may_change::<L>(&change) {
                    draw_at.get_or_insert(Instant::now() + REDRAW);
                }
            }
            () = due => {
                draw_at = None;
                match list.fetch(&mut session).await {
                    Ok(answer) if answer == shown => {}
                    Ok(answer) => {
                        print(&list, &answer, output, true)?;
                        shown = answer;
                    }
                    Err(status)
                        if may_pass(&status)
                            || status.code() == Code::NotFound && Instant::now() < may_return_until =>
                    {
                        draw_at = Some(Instant::now() + AGAIN);
                    }
                    Err(status) => return Err(refused(status)),
                }
            }
            () = &mut unread => return Ok(()),
        }
    }
}

/// Whether a list may be another after this. The end of a snapshot tells what is there no more by not naming it.
fn may_change<L: List>(change: &Event) -> bool {
    let kind = match change {
        Event::Agent(_) => "agent",
        Event::Framework(_) => "framework",
        Event::Task(_) => "task",
        Event::Offer(_) => "offer",
        Event::History(_) => "event",
        Event::Gone(gone) => &gone.kind,
        Event::SnapshotEnd(_) => return true,
        Event::SnapshotBegin(_) | Event::Cluster(_) => return false,
    };
    L::KINDS.contains(&kind)
}
