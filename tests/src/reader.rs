//! A reader of the event stream that comes back by its token whatever breaks, and remembers whether that was honest.
//!
//! What it holds a master to: what it was told adds up to what there is; within an epoch a token never goes back; who was
//! away for a moment hears what he missed, and not everything anew; a new epoch begins with a snapshot; and of what
//! happened nothing is left out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bourse_client::{Connection, Settings, Target, Token, TokenSource};
use bourse_proto::operator as wire;
use bourse_proto::operator::watch_event::Event as Part;
use tokio::sync::oneshot;
use tonic::{Code, Status, Streaming};

use crate::api::Api;
use crate::wait::{PATIENCE, wait_for};

/// Who was away for less than this can go on where he was: a master keeps at least the last minute.
const MOMENT: Duration = Duration::from_secs(30);

/// What a stream may end with though nothing is wrong with the call.
const MAY_PASS: [Code; 6] = [
    Code::Unavailable,
    Code::Unknown,
    Code::Cancelled,
    Code::Internal,
    Code::ResourceExhausted,
    Code::DeadlineExceeded,
];

/// How long a reader waits before it tries again.
const AGAIN: Duration = Duration::from_millis(100);

/// A reader in a thread of its own.
#[derive(Debug)]
pub struct Reader {
    memory: Arc<Mutex<Memory>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What it was told, and how.
#[derive(Debug, Default)]
struct Memory {
    told: Told,
    /// The last place in the stream.
    place: Option<Place>,
    /// When something was heard last.
    heard: Option<Instant>,
    counts: Counts,
    wrong: Vec<String>,
    /// Entries of the history that were left out.
    gaps: Vec<String>,
}

/// How often what happened to a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// It began with everything there is.
    pub snapshots: usize,
    /// It went on where it was.
    pub resumed: usize,
    /// The master was another one.
    pub epochs: usize,
    /// A connection was lost or could not be had.
    pub lost: usize,
}

/// A token, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    epoch: u64,
    sequence: u64,
}

/// What there is, by what was told.
#[derive(Debug, Default, PartialEq)]
struct Told {
    agents: BTreeMap<String, String>,
    frameworks: BTreeMap<String, String>,
    /// By framework and id.
    tasks: BTreeMap<(String, String), String>,
    offers: BTreeMap<String, ()>,
    /// The newest entry of the history.
    newest: Option<u64>,
}

/// What a stream is in the middle of.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// Nothing was heard yet; this was the last place, and it is so long ago.
    Begins {
        away: Option<Duration>,
    },
    Snapshot {
        away: Option<Duration>,
    },
    Goes,
}

impl Reader {
    /// Follows the master at this address, in the network of the thread that calls.
    ///
    /// # Panics
    /// When the address or the token cannot be one.
    pub fn start(master: &str, token: &str) -> Reader {
        let target: Target = master.parse().expect("a test's own address");
        let token = TokenSource::Text(Token::new(token).expect("a test's own token"));
        let settings =
            Settings { insecure: !target.is_loopback(), ..Settings::master(target) }.with_token(token);
        let memory = Arc::new(Mutex::new(Memory::default()));
        let (stop, stopped) = oneshot::channel();
        let kept = memory.clone();
        let thread = thread::Builder::new().name("reader".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    () = follow(&settings, &kept) => {}
                    _ = stopped => {}
                }
            });
        });
        Reader { memory, stop: Some(stop), thread: Some(thread.expect("a thread can be started")) }
    }

    /// How often what has happened so far.
    pub fn counts(&self) -> Counts {
        self.memory().counts
    }

    /// Waits until what the reader was told is what one that begins now is told, and looks at what it remembers. Nothing
    /// may happen any more.
    ///
    /// `complete`: entries of the history may not have been left out either. That is only promised where the history could
    /// be written all the time.
    ///
    /// # Panics
    /// When the master was not honest.
    #[track_caller]
    pub fn assert_honest(&self, api: &Api, complete: bool) {
        wait_for("a reader to know what there is", PATIENCE, || {
            let anew = everything(api).map_err(|status| status.message().to_owned())?;
            let memory = self.memory();
            let told = Told { newest: anew.newest, ..memory.told.clone_things() };
            if told == anew {
                Ok(())
            } else {
                Err(format!("it knows {:?}, and there is {anew:?}", memory.told))
            }
        });
        let memory = self.memory();
        assert!(memory.wrong.is_empty(), "{}", memory.wrong.join("\n"));
        assert!(!complete || memory.gaps.is_empty(), "{}", memory.gaps.join("\n"));
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It ends when this is gone.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn follow(settings: &Settings, memory: &Mutex<Memory>) {
    loop {
        let ended = follow_once(settings, memory).await;
        {
            let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.counts.lost += 1;
            match ended {
                Ok(()) => {}
                // The master is away, or somebody is in between; or the reader was too slow, as it may have been held up.
                Err(status) if MAY_PASS.contains(&status.code()) => {}
                Err(status) => memory.wrong.push(format!("a reader was refused: {status}")),
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// One connection, to its end.
async fn follow_once(settings: &Settings, memory: &Mutex<Memory>) -> Result<(), Status> {
    let lock = || memory.lock().unwrap_or_else(PoisonError::into_inner);
    let connection =
        Connection::open(settings).await.map_err(|error| Status::unavailable(error.to_string()))?;
    let (token, away) = {
        let memory = lock();
        let token = memory.place.map(|place| format!("{}-{}", place.epoch, place.sequence));
        (token.unwrap_or_default(), memory.heard.map(|heard| heard.elapsed()))
    };
    let mut events = connection.operator().watch(wire::WatchRequest { token }).await?.into_inner();
    let mut phase = Phase::Begins { away };
    while let Some(event) = events.message().await? {
        phase = lock().take(event, phase);
    }
    Ok(())
}

/// All that a reader is told at first.
fn everything(api: &Api) -> Result<Told, Status> {
    api.wait(async {
        let request = wire::WatchRequest { token: String::new() };
        let mut events: Streaming<wire::WatchEvent> = api.operator().watch(request).await?.into_inner();
        let mut told = Told::default();
        while let Some(event) = events.message().await? {
            match event.event {
                Some(Part::SnapshotEnd(_)) => return Ok(told),
                Some(part) => drop(told.take(part)),
                None => {}
            }
        }
        Err(Status::unavailable("the snapshot has no end"))
    })
}

impl Memory {
    fn take(&mut self, event: wire::WatchEvent, phase: Phase) -> Phase {
        self.heard = Some(Instant::now());
        let Some(part) = event.event else {
            self.wrong.push("an event has nothing in it".to_owned());
            return phase;
        };
        let next = match (&part, phase) {
            (Part::SnapshotBegin(_), Phase::Begins { away }) => {
                self.counts.snapshots += 1;
                self.told = Told::default();
                Phase::Snapshot { away }
            }
            (Part::SnapshotBegin(_), _) => {
                self.wrong.push("a snapshot begins in the middle of a stream".to_owned());
                phase
            }
            (Part::SnapshotEnd(_), Phase::Snapshot { away }) => {
                self.begun_anew(&event.token, away);
                Phase::Goes
            }
            (_, Phase::Snapshot { .. }) => phase,
            (_, Phase::Begins { .. }) => {
                self.counts.resumed += 1;
                Phase::Goes
            }
            (_, Phase::Goes) => Phase::Goes,
        };
        if next == Phase::Goes {
            self.go_to(&event.token, matches!(part, Part::SnapshotEnd(_)));
        }
        if let Some(gap) = self.told.take(part) {
            self.gaps.push(gap);
        }
        next
    }

    /// A snapshot is over: it was due if the master is another one, or if the reader was away for long.
    fn begun_anew(&mut self, token: &str, away: Option<Duration>) {
        let (Some(before), Some(now)) = (self.place, read(token)) else { return };
        if before.epoch != now.epoch {
            self.counts.epochs += 1;
        } else if let Some(away) = away.filter(|away| *away < MOMENT) {
            self.wrong.push(format!(
                "a reader that was away from {before:?} for {away:?} had to begin anew, at {now:?}"
            ));
        }
    }

    /// The place that a token names: after the last one, and of another epoch only after a snapshot.
    fn go_to(&mut self, token: &str, anew: bool) {
        let Some(now) = read(token) else {
            return self.wrong.push(format!("{token:?} is no token"));
        };
        if let Some(before) = self.place.filter(|_| !anew)
            && (before.epoch != now.epoch || before.sequence > now.sequence)
        {
            self.wrong.push(format!("a stream went from {before:?} to {now:?}"));
        }
        self.place = Some(now);
    }
}

fn read(token: &str) -> Option<Place> {
    let (epoch, sequence) = token.split_once('-')?;
    Some(Place { epoch: epoch.parse().ok()?, sequence: sequence.parse().ok()? })
}

impl Told {
    /// Takes a part. `Some`: entries of the history were left out before it.
    fn take(&mut self, part: Part) -> Option<String> {
        match part {
            Part::Agent(agent) => {
                let text = format!("{} {}", agent.state, agent.tasks);
                self.agents.insert(agent.id, text);
            }
            Part::Framework(framework) => {
                let text = format!("{} {} {}", framework.state, framework.offers, framework.tasks);
                self.frameworks.insert(framework.id, text);
            }
            Part::Task(task) => {
                let text = format!("{} {}", task.state, task.statuses.len());
                self.tasks.insert((task.framework_id, task.id), text);
            }
            Part::Offer(offer) => drop(self.offers.insert(offer.id, ())),
            Part::Gone(gone) => match gone.kind.as_str() {
                "agent" => drop(self.agents.remove(&gone.id)),
                "framework" => drop(self.frameworks.remove(&gone.id)),
                "task" => drop(self.tasks.remove(&(gone.framework_id, gone.id))),
                "offer" => drop(self.offers.remove(&gone.id)),
                _ => {}
            },
            Part::History(entry) => {
                let newest = self.newest.unwrap_or(entry.sequence);
                self.newest = Some(newest.max(entry.sequence));
                if entry.sequence > newest + 1 {
                    return Some(format!("of the history {} comes after {newest}", entry.sequence));
                }
            }
            Part::SnapshotBegin(_) | Part::SnapshotEnd(_) | Part::Cluster(_) => {}
        }
        None
    }

    /// All but the history.
    fn clone_things(&self) -> Told {
        Told {
            agents: self.agents.clone(),
            frameworks: self.frameworks.clone(),
            tasks: self.tasks.clone(),
            offers: self.offers.clone(),
            newest: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(token: &str, sequence: u64) -> wire::WatchEvent {
        let history = wire::HistoryEvent { sequence, ..Default::default() };
        wire::WatchEvent { token: token.to_owned(), event: Some(Part::History(history)) }
    }

    fn begin() -> wire::WatchEvent {
        wire::WatchEvent { token: String::new(), event: Some(Part::SnapshotBegin(wire::SnapshotBegin {})) }
    }

    fn end(token: &str) -> wire::WatchEvent {
        let event = Some(Part::SnapshotEnd(wire::SnapshotEnd {}));
        wire::WatchEvent { token: token.to_owned(), event }
    }

    /// Connections one after another, each a list of events; all without a pause.
    fn told(connections: Vec<Vec<wire::WatchEvent>>) -> Memory {
        let mut memory = Memory::default();
        for events in connections {
            let away = memory.heard.map(|heard| heard.elapsed());
            events.into_iter().fold(Phase::Begins { away }, |phase, event| memory.take(event, phase));
        }
        memory
    }

    #[test]
    fn a_master_that_tells_what_was_missed_is_honest() {
        let first = vec![begin(), entry("", 5), end("7-1"), entry("7-2", 6)];
        // The step was not heard to its end, and comes again.
        let again = vec![entry("7-2", 6), entry("7-3", 7)];
        let next = vec![begin(), entry("", 3), end("8-1"), entry("8-2", 4)];
        let memory = told(vec![first, again, next]);
        assert!(memory.wrong.is_empty() && memory.gaps.is_empty(), "{memory:?}");
        assert_eq!(memory.counts, Counts { snapshots: 2, resumed: 1, epochs: 1, lost: 0 });
    }

    #[test]
    fn every_planted_lie_is_found() {
        let first = || vec![begin(), entry("", 5), end("7-3")];
        for (lie, found) in [
            (vec![first(), vec![begin(), end("7-4")]], "had to begin anew"),
            (vec![first(), vec![entry("7-2", 6)]], "went from"),
            (vec![first(), vec![entry("8-4", 6)]], "went from"),
            (vec![first(), vec![entry("7-4", 6), begin()]], "in the middle"),
            (vec![first(), vec![entry("nonsense", 6)]], "no token"),
        ] {
            let memory = told(lie);
            assert!(memory.wrong.iter().any(|wrong| wrong.contains(found)), "{found}: {memory:?}");
        }
        let memory = told(vec![first(), vec![entry("7-4", 7)]]);
        assert_eq!(memory.gaps, ["of the history 7 comes after 5"]);
    }
}
