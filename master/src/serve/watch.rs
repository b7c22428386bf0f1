//! One reader of the event stream.

use std::sync::Arc;

use bourse_proto::operator as wire;
use bourse_proto::operator::watch_event::Event as Part;
use tokio::sync::{broadcast, mpsc};
use tonic::Status;

use super::feed::{Delta, Feed, Start};
use crate::metrics::Open;

/// Messages that wait for the connection itself. A reader that leaves more unread falls behind in the feed, which has
/// its own bound.
const OUTBOUND: usize = 64;

type Sender = mpsc::Sender<Result<wire::WatchEvent, Status>>;

/// Streams from a token on, until the reader leaves, falls behind, or the master stops.
pub(super) fn open(
    feed: Feed,
    token: String,
    counted: Open,
) -> mpsc::Receiver<Result<wire::WatchEvent, Status>> {
    let (sender, receiver) = mpsc::channel(OUTBOUND);
    tokio::spawn(async move {
        let _counted = counted;
        // The reader is gone, or does not read: then there is nobody to tell.
        if let Err(Some(status)) = stream(&feed, &token, &sender).await {
            let _ = sender.send(Err(status)).await;
        }
    });
    receiver
}

/// `Err(None)`: the reader left.
async fn stream(feed: &Feed, token: &str, sender: &Sender) -> Result<(), Option<Status>> {
    let (start, mut steps) = feed.subscribe(token);
    let mut seen = match start {
        Start::Snapshot { sequence, picture } => {
            say(sender, String::new(), Part::SnapshotBegin(wire::SnapshotBegin {})).await?;
            // In pieces: a picture may be large, and is borrowed only between two waits.
            let parts: Vec<Part> = feed.snapshot(&picture).collect();
            drop(picture);
            for part in parts {
                say(sender, String::new(), part).await?;
            }
            say(sender, feed.token(sequence), Part::SnapshotEnd(wire::SnapshotEnd {})).await?;
            sequence
        }
        Start::Resume { missed, sequence } => {
            let mut seen = sequence;
            for delta in missed {
                tell(feed, sender, &delta, seen).await?;
                seen = delta.sequence;
            }
            seen
        }
    };
    loop {
        let step = tokio::select! {
            step = steps.recv() => step,
            () = sender.closed() => return Err(None),
        };
        match step {
            Ok(delta) => {
                tell(feed, sender, &delta, seen).await?;
                seen = delta.sequence;
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {
                let text = "you read more slowly than the cluster changes; go on from your last token";
                return Err(Some(Status::resource_exhausted(text)));
            }
            Err(broadcast::error::RecvError::Closed) => {
                return Err(Some(Status::unavailable("the master is stopping; go on from your last token")));
            }
        }
    }
}

/// Only the last message of a step carries the step's token: whoever stops in its middle resumes before it.
async fn tell(feed: &Feed, sender: &Sender, delta: &Arc<Delta>, seen: u64) -> Result<(), Option<Status>> {
    let last = delta.parts.len().saturating_sub(1);
    for (at, part) in delta.parts.iter().enumerate() {
        let sequence = if at == last { delta.sequence } else { seen };
        say(sender, feed.token(sequence), part.clone()).await?;
    }
    Ok(())
}

async fn say(sender: &Sender, token: String, part: Part) -> Result<(), Option<Status>> {
    sender.send(Ok(wire::WatchEvent { token, event: Some(part) })).await.map_err(|_| None)
}
