//! One reader of the event stream.

use std::sync::Arc;
use std::time::Duration;

use bourse_proto::operator as wire;
use bourse_proto::operator::watch_event::Event as Part;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use tonic::Status;

use super::feed::{Delta, Feed, Start};
use crate::metrics::Open;

/// Messages that wait for the connection itself. A reader that leaves more unread falls behind in the feed, which has
/// its own bound.
const OUTBOUND: usize = 64;

/// A reader that takes nothing for so long, though there is something to say, is cut off.
const PATIENCE: Duration = Duration::from_secs(30);

/// Streams from a token on, until the reader leaves, falls behind, or the master stops.
pub(super) fn open(
    feed: Feed,
    token: String,
    counted: Open,
) -> mpsc::Receiver<Result<wire::WatchEvent, Status>> {
    let (sender, receiver) = mpsc::channel(OUTBOUND);
    let reader = Reader { feed, sender, patience: PATIENCE, last_word: super::LAST_WORD };
    tokio::spawn(async move { reader.run(&token, counted).await });
    receiver
}

/// Who is told.
struct Reader {
    feed: Feed,
    sender: mpsc::Sender<Result<wire::WatchEvent, Status>>,
    /// For each message to be taken.
    patience: Duration,
    /// For the reason to be taken why there are no more.
    last_word: Duration,
}

impl Reader {
    async fn run(self, token: &str, counted: Open) {
        let ended = self.stream(token).await;
        drop(counted);
        if let Err(Some(status)) = ended {
            // Whoever does not read may take long to hear of it, or never does.
            let _ = timeout(self.last_word, self.sender.send(Err(status))).await;
        }
    }

    /// `Err(None)`: the reader left.
    async fn stream(&self, token: &str) -> Result<(), Option<Status>> {
        let (start, mut steps) = self.feed.subscribe(token);
        let mut seen = match start {
            Start::Snapshot { sequence, picture } => {
                self.say(String::new(), Part::SnapshotBegin(wire::SnapshotBegin {})).await?;
                // In pieces: a picture may be large, and is borrowed only between two waits.
                let parts: Vec<Part> = self.feed.snapshot(&picture).collect();
                drop(picture);
                for part in parts {
                    self.say(String::new(), part).await?;
                }
                self.say(self.feed.token(sequence), Part::SnapshotEnd(wire::SnapshotEnd {})).await?;
                sequence
            }
            Start::Resume { missed, sequence } => {
                let mut seen = sequence;
                for delta in missed {
                    self.tell(&delta, seen).await?;
                    seen = delta.sequence;
                }
                seen
            }
        };
        loop {
            let step = tokio::select! {
                step = steps.recv() => step,
                () = self.sender.closed() => return Err(None),
            };
            match step {
                Ok(delta) => {
                    self.tell(&delta, seen).await?;
                    seen = delta.sequence;
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    let text = "you read more slowly than the cluster changes; go on from your last token";
                    return Err(Some(Status::resource_exhausted(text)));
                }
                Err(broadcast::error::RecvError::Closed) => {
                    return Err(Some(Status::unavailable(
                        "the master is stopping; go on from your last token",
                    )));
                }
            }
        }
    }

    /// Only the last message of a step carries the step's token: whoever stops in its middle resumes before it.
    async fn tell(&self, delta: &Arc<Delta>, seen: u64) -> Result<(), Option<Status>> {
        let last = delta.parts.len().saturating_sub(1);
        for (at, part) in delta.parts.iter().enumerate() {
            let sequence = if at == last { delta.sequence } else { seen };
            self.say(self.feed.token(sequence), part.clone()).await?;
        }
        Ok(())
    }

    async fn say(&self, token: String, part: Part) -> Result<(), Option<Status>> {
        let event = wire::WatchEvent { token, event: Some(part) };
        match timeout(self.patience, self.sender.send(Ok(event))).await {
            Ok(said) => said.map_err(|_| None),
            Err(_) => {
                let text = "you have read nothing for too long; go on from your last token";
                Err(Some(Status::resource_exhausted(text)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bourse_master_core::Config;
    use bourse_types::{Epoch, MasterId};
    use prometheus_client::encoding::text::encode_registry;
    use tonic::Code;

    use super::*;
    use crate::driver::tests::driver;
    use crate::history::MemoryHistory;
    use crate::metrics::Metrics;
    use crate::usage::Usages;
    use crate::wire::scheduler::MasterIdentity;

    fn watchers(metrics: &Metrics) -> i64 {
        let mut text = String::new();
        encode_registry(&mut text, metrics.registry()).expect("writing to a String does not fail");
        let figure = text.lines().find_map(|line| line.strip_prefix("bourse_master_watchers "));
        figure.and_then(|figure| figure.parse().ok()).expect("the figure")
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_cut_off_and_not_counted_and_hears_why_if_it_reads_soon() {
        const SOON: Duration = Duration::from_secs(20);
        const NOW: Duration = Duration::from_millis(10);
        let (_driver, handle, _registry) = driver(Config::default());
        let master = MasterIdentity {
            id: MasterId::new("m").expect("an id"),
            hostname: "host".to_owned(),
            address: ([127, 0, 0, 1], 5050).into(),
            version: "0.0.0",
        };
        let history = Arc::new(MemoryHistory::new());
        let feed = Feed::new(handle, Usages::default(), Arc::new(master), Epoch(1), history);
        let metrics = Metrics::default();
        for (last_word, hears_why) in [(NOW, false), (SOON, true)] {
            // One of the messages of its snapshot has room.
            let (sender, mut receiver) = mpsc::channel(1);
            let reader = Reader { feed: feed.clone(), sender, patience: NOW, last_word };
            let counted = metrics.watching();
            let running = tokio::spawn(async move { reader.run("", counted).await });
            timeout(SOON, async {
                while watchers(&metrics) > 0 || !(hears_why || running.is_finished()) {
                    tokio::time::sleep(NOW).await;
                }
            })
            .await
            .expect("it is cut off");
            assert!(receiver.recv().await.is_some_and(|said| said.is_ok()));
            let why = receiver.recv().await.map(|said| said.err().map(|status| status.code()));
            assert_eq!(why, hears_why.then_some(Some(Code::ResourceExhausted)));
            assert!(receiver.recv().await.is_none());
        }
    }
}
