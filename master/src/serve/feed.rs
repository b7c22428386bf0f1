//! The event stream: what changes, as deltas that can be resumed.
//!
//! **What is this room for?** One task compares the newest picture with the one before, at most twenty times a second,
//! and makes the difference into messages once for all who watch.
//!
//! **What does it promise?** A reader that applies a snapshot and the deltas after it has what the master has. A token
//! names a place in the stream; the last few thousand changes can be resumed from, anything else starts with a
//! snapshot. A reader that is too slow is cut off: nobody waits for it, and it costs a bounded amount of memory.
//!
//! **What does it leave to others?** The driver knows nothing of it: comparing pictures costs it nothing, and a burst of
//! changes to one thing is one delta.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bourse_master_core::{Framework, Task, View};
use bourse_proto::operator as wire;
use bourse_proto::operator::watch_event::Event as Part;
use bourse_types::{AgentId, Epoch, FrameworkId, Resources, TaskId};
use tokio::sync::broadcast;
use tokio::time::Instant;
use tracing::warn;

use super::forms;
use crate::driver::{Handle, Picture};
use crate::history::{Filter, History, HistoryError, Stamped};
use crate::usage::{Changed, Usages};
use crate::wire::scheduler::MasterIdentity;

/// Two deltas are at least so far apart: people do not see more, and a burst becomes one.
const PACE: Duration = Duration::from_millis(50);

/// The cluster's figures and its verdict look at every task, and are told at most so often.
const CLUSTER_PACE: Duration = Duration::from_secs(1);

/// Deltas that can be resumed from: at least the last minute.
const KEPT_DELTAS: usize = 1_200;

/// Bytes of all of them together, as they are sent.
const KEPT_BYTES: usize = 32 << 20;

/// Entries of the history that one step may have missed, and tells all the same: some ten MB. The master writes fewer
/// even when all agents of a large cluster come back at once.
const MISSED_MAX: usize = 50_000;

/// Entries are written a moment after they are seen in a picture; a disk that takes longer than this has failed.
const WRITTEN_TIMEOUT: Duration = Duration::from_secs(1);

/// Deltas that a reader may be behind before it is cut off.
const BEHIND_MAX: usize = 256;

/// When nobody has watched for so long, pictures are no longer compared. Whoever comes back later begins with a snapshot.
const UNWATCHED: Duration = Duration::from_secs(60);

/// One step of the stream.
#[derive(Debug)]
pub(crate) struct Delta {
    /// From 1, without gaps.
    pub(crate) sequence: u64,
    pub(crate) parts: Vec<Part>,
    /// As they are sent.
    bytes: usize,
}

/// The stream. Clones share it.
#[derive(Clone)]
pub(crate) struct Feed {
    driver: Handle,
    usages: Usages,
    master: Arc<MasterIdentity>,
    epoch: Epoch,
    history: Arc<dyn History>,
    deltas: broadcast::Sender<Arc<Delta>>,
    /// A leaf lock, held for the end of a step and the beginning of a reader.
    state: Arc<Mutex<State>>,
}

/// Where the stream is.
struct State {
    sequence: u64,
    picture: Arc<Picture>,
    kept: VecDeque<Arc<Delta>>,
    kept_bytes: usize,
}

/// How a reader begins.
pub(crate) enum Start {
    /// With everything as it was after this step, then the steps after it.
    Snapshot { sequence: u64, picture: Arc<Picture> },
    /// With the steps that it missed.
    Resume { sequence: u64, missed: Vec<Arc<Delta>> },
}

impl Feed {
    pub(crate) fn new(
        driver: Handle,
        usages: Usages,
        master: Arc<MasterIdentity>,
        epoch: Epoch,
        history: Arc<dyn History>,
    ) -> Feed {
        let state = State { sequence: 0, picture: driver.picture(), kept: VecDeque::new(), kept_bytes: 0 };
        let deltas = broadcast::Sender::new(BEHIND_MAX);
        Feed { driver, usages, master, epoch, history, deltas, state: Arc::new(Mutex::new(state)) }
    }

    /// Where a step ends, for resuming after it.
    pub(crate) fn token(&self, sequence: u64) -> String {
        format!("{}-{sequence}", self.epoch)
    }

    /// How to begin from a token, and the steps from then on. A token of another epoch, one that is too old, and none
    /// at all begin with a snapshot.
    pub(crate) fn subscribe(&self, token: &str) -> (Start, broadcast::Receiver<Arc<Delta>>) {
        let state = self.state();
        // Under the lock, so that no step falls between.
        let steps = self.deltas.subscribe();
        let resumed = token.split_once('-').and_then(|(epoch, sequence)| {
            let epoch: u64 = epoch.parse().ok()?;
            let seen: u64 = sequence.parse().ok()?;
            let oldest = state.kept.front().map_or(state.sequence, |delta| delta.sequence - 1);
            let resumable = epoch == self.epoch.0 && (oldest..=state.sequence).contains(&seen);
            let missed = || state.kept.iter().filter(|delta| delta.sequence > seen).cloned().collect();
            resumable.then(|| Start::Resume { sequence: seen, missed: missed() })
        });
        let start = resumed
            .unwrap_or_else(|| Start::Snapshot { sequence: state.sequence, picture: state.picture.clone() });
        (start, steps)
    }

    /// Everything in a picture.
    pub(crate) fn snapshot<'a>(&'a self, picture: &'a Picture) -> impl Iterator<Item = Part> + 'a {
        let view = &picture.view;
        let agents = view.agents().map(move |agent| Part::Agent(forms::agent(view, agent, &self.usages)));
        let frameworks =
            view.framework_pictures().map(|picture| Part::Framework(forms::framework(&picture, view.now())));
        let torn_down = view
            .completed_frameworks()
            .map(|framework| Part::Framework(forms::completed_framework(framework)));
        let tasks = view.completed_tasks().chain(view.tasks());
        let tasks = tasks.map(|task| Part::Task(forms::task(task, view, &self.usages)));
        let offers = view.offers().map(|offer| Part::Offer(forms::offer(offer, view)));
        let history = picture.recent.iter().map(|entry| Part::History(forms::history(entry, view)));
        let cluster =
            std::iter::once_with(|| Part::Cluster(forms::cluster(view, &self.usages, &self.master)));
        cluster.chain(agents).chain(frameworks).chain(torn_down).chain(tasks).chain(offers).chain(history)
    }

    /// Makes steps until the driver stops.
    pub(crate) async fn run(self) {
        let mut pictures = self.driver.pictures();
        let mut cluster = ClusterPace { told: None, next: Instant::now() };
        let mut measured = tokio::time::interval(CLUSTER_PACE);
        let mut watched: Option<Instant> = None;
        loop {
            // A new picture, or a second in which perhaps something was measured.
            tokio::select! {
                changed = pictures.changed() => if changed.is_err() { return },
                _ = measured.tick() => {}
            }
            let newest = pictures.borrow_and_update().clone();
            if self.deltas.receiver_count() > 0 {
                watched = Some(Instant::now());
            }
            let measured = self.usages.take_changed();
            let is_watched = watched.is_some_and(|watched| watched.elapsed() < UNWATCHED);
            if is_watched || !self.skip(&newest) {
                self.step(newest, &measured, &mut cluster).await;
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Goes on without telling anybody what was between: no token of before can be resumed from. `false`: somebody has
    /// begun to watch, and must not miss it.
    fn skip(&self, newest: &Arc<Picture>) -> bool {
        let mut state = self.state();
        // Under the lock, as a reader subscribes under it.
        if self.deltas.receiver_count() > 0 {
            return false;
        }
        state.picture = newest.clone();
        state.sequence += 1;
        state.kept.clear();
        state.kept_bytes = 0;
        true
    }

    async fn step(&self, newest: Arc<Picture>, measured: &Changed, cluster: &mut ClusterPace) {
        let before = self.state().picture.clone();
        let missed = self.missed(&before, &newest).await;
        let mut parts = Vec::new();
        self.compare(&before, &newest, measured, &missed, &mut parts);
        if Instant::now() >= cluster.next {
            cluster.next = Instant::now() + CLUSTER_PACE;
            let now = forms::cluster(&newest.view, &self.usages, &self.master);
            let timeless = wire::Cluster { now_ms: 0, ..now.clone() };
            if cluster.told.as_ref() != Some(&timeless) {
                cluster.told = Some(timeless);
                parts.push(Part::Cluster(now));
            }
        }
        let mut guard = self.state();
        let state = &mut *guard;
        state.picture = newest;
        if parts.is_empty() {
            return;
        }
        state.sequence += 1;
        let bytes = parts.iter().map(Part::encoded_len).sum();
        let delta = Arc::new(Delta { sequence: state.sequence, parts, bytes });
        state.kept_bytes += bytes;
        state.kept.push_back(delta.clone());
        while state.kept.len() > KEPT_DELTAS || state.kept_bytes > KEPT_BYTES {
            let Some(oldest) = state.kept.pop_front() else { break };
            state.kept_bytes -= oldest.bytes;
        }
        // Nobody may be watching.
        let _ = self.deltas.send(delta);
    }

    /// Entries of the history that came after the one picture and are too old to go along with the other.
    async fn missed(&self, before: &Picture, after: &Picture) -> Vec<Stamped> {
        let end = after.recent.front().map_or(after.newest + 1, |entry| entry.sequence);
        let wanted = end.saturating_sub(before.newest + 1);
        if wanted == 0 {
            return Vec::new();
        }
        let (history, seen) = (self.history.clone(), before.newest);
        let read = tokio::task::spawn_blocking(move || {
            let give_up = std::time::Instant::now() + WRITTEN_TIMEOUT;
            while history.last_sequence()? + 1 < end && std::time::Instant::now() < give_up {
                std::thread::sleep(Duration::from_millis(1));
            }
            let limit = usize::try_from(wanted).unwrap_or(usize::MAX).min(MISSED_MAX);
            let mut entries = history.read(&Filter::default(), Some(end), limit)?;
            entries.retain(|entry| entry.sequence > seen);
            entries.reverse();
            Ok::<_, HistoryError>(entries)
        });
        let (entries, error) = match read.await {
            Ok(Ok(entries)) => (entries, None),
            Ok(Err(error)) => (Vec::new(), Some(error)),
            Err(_) => (Vec::new(), None),
        };
        if (entries.len() as u64) < wanted {
            let (error, told) = (error.as_ref().map(|error| error as &dyn std::error::Error), entries.len());
            warn!(wanted, told, error, "some of what happened was not told to those who watch");
        }
        entries
    }

    /// What is different. Records that did not change are the same allocation in both pictures, so most of the work is
    /// comparing addresses; of a framework that did not change the tasks are not even looked at.
    fn compare(
        &self,
        before: &Picture,
        after: &Picture,
        measured: &Changed,
        missed: &[Stamped],
        parts: &mut Vec<Part>,
    ) {
        let (old, new) = (&before.view, &after.view);
        join(
            old.agents(),
            new.agents(),
            |agent| &agent.id,
            |pair| match pair {
                Pair::Gone(agent) => parts.push(gone("agent", agent.id.as_str(), "")),
                Pair::New(agent) => parts.push(Part::Agent(forms::agent(new, agent, &self.usages))),
                Pair::Changed(was, is) => {
                    // When it was heard changes all the time and is not told by itself.
                    let (was, mut is) =
                        (forms::agent(old, was, &self.usages), forms::agent(new, is, &self.usages));
                    let heard = std::mem::replace(&mut is.heard_ms, was.heard_ms);
                    if was != is {
                        parts.push(Part::Agent(wire::Agent { heard_ms: heard, ..is }));
                    }
                }
            },
        );
        self.compare_frameworks(old, new, parts);
        join(
            old.offers(),
            new.offers(),
            |offer| &offer.id,
            |pair| match pair {
                Pair::Gone(offer) => parts.push(gone("offer", offer.id.as_str(), offer.framework.as_str())),
                Pair::New(offer) | Pair::Changed(_, offer) => {
                    parts.push(Part::Offer(forms::offer(offer, new)))
                }
            },
        );
        for (framework, task) in &measured.tasks {
            if let Some(task) = new.framework(framework).and_then(|framework| framework.tasks.get(task)) {
                self.task(task, new, parts);
            }
        }
        let agents = measured.agents.iter().filter_map(|id| new.agent(id));
        parts.extend(agents.map(|agent| Part::Agent(forms::agent(new, agent, &self.usages))));
        let entries = after.recent.iter().filter(|entry| entry.sequence > before.newest);
        let entries = missed.iter().chain(entries);
        parts.extend(entries.map(|entry| Part::History(forms::history(entry, new))));
    }

    /// Frameworks and their tasks, also those that came and ended between the two pictures.
    fn compare_frameworks(&self, old: &View, new: &View, parts: &mut Vec<Part>) {
        // A share is a part of the cluster: it may change though the framework does not.
        let pool_changed = !same_pool(old, new);
        let (was, is) = (known(old), known(new));
        for (id, (framework, _)) in &was {
            if !is.contains_key(id) {
                parts.push(gone("framework", id.as_str(), ""));
                let tasks = remembered(framework);
                parts.extend(tasks.keys().map(|task| gone("task", task.as_str(), id.as_str())));
            }
        }
        for (id, (framework, life)) in &is {
            let before = was.get(id).map(|(before, _)| *before);
            let same = before.is_some_and(|before| std::ptr::eq(before, *framework));
            if !same || (pool_changed && *life == Life::Present) {
                parts.extend(self.framework(framework, *life, new));
            }
            if !same {
                self.compare_tasks(before, framework, new, parts);
            }
        }
    }

    fn framework(&self, framework: &Framework, life: Life, view: &View) -> Option<Part> {
        let form = match life {
            Life::Present => forms::framework(&view.framework_picture(&framework.id)?, view.now()),
            Life::TornDown => forms::completed_framework(framework),
        };
        Some(Part::Framework(form))
    }

    /// The tasks of a framework that changed.
    fn compare_tasks(&self, was: Option<&Framework>, is: &Framework, view: &View, parts: &mut Vec<Part>) {
        let (old, new) = (was.map(remembered).unwrap_or_default(), remembered(is));
        for id in old.keys().filter(|id| !new.contains_key(*id)) {
            parts.push(gone("task", id.as_str(), is.id.as_str()));
        }
        for (id, task) in &new {
            if !old.get(id).is_some_and(|before| std::ptr::eq(*before, *task)) {
                self.task(task, view, parts);
            }
        }
    }

    fn task(&self, task: &Task, view: &View, parts: &mut Vec<Part>) {
        parts.push(Part::Task(forms::task(task, view, &self.usages)));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // No method stops half way while it holds it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the cluster's figures were told, and what they were.
struct ClusterPace {
    told: Option<wire::Cluster>,
    next: Instant,
}

/// Whether a framework is still one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Present,
    TornDown,
}

/// All frameworks that a picture remembers.
fn known(view: &View) -> BTreeMap<&FrameworkId, (&Framework, Life)> {
    let torn_down = view.completed_frameworks().map(|framework| (&framework.id, (framework, Life::TornDown)));
    let present = view.frameworks().map(|framework| (&framework.id, (framework, Life::Present)));
    torn_down.chain(present).collect()
}

/// All tasks that a framework remembers, by id. Of several with one id the one that is alive, else the newest.
fn remembered(framework: &Framework) -> BTreeMap<&TaskId, &Task> {
    let ended = framework.completed.iter().map(|task| (&task.info.id, &**task));
    ended.chain(framework.tasks.iter()).chain(framework.unreachable.iter()).collect()
}

/// Whether shares are parts of the same whole: as many agents, each as it was.
fn same_pool(old: &View, new: &View) -> bool {
    fn pool(view: &View) -> impl Iterator<Item = (&AgentId, &'static str, &Resources)> {
        view.agents().map(|agent| (&agent.id, agent.state.as_str(), agent.total()))
    }
    pool(old).eq(pool(new))
}

fn gone(kind: &str, id: &str, framework: &str) -> Part {
    Part::Gone(wire::Gone { kind: kind.to_owned(), id: id.to_owned(), framework_id: framework.to_owned() })
}

/// A record in two pictures.
enum Pair<'a, T> {
    Gone(&'a T),
    New(&'a T),
    Changed(&'a T, &'a T),
}

/// Walks two tables in the order of their keys, and tells where they differ.
fn join<'a, T: 'a, K: Ord + 'a>(
    old: impl Iterator<Item = &'a T>,
    new: impl Iterator<Item = &'a T>,
    key: impl Fn(&'a T) -> &'a K,
    mut tell: impl FnMut(Pair<'a, T>),
) {
    use std::cmp::Ordering;
    let (mut old, mut new) = (old.peekable(), new.peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(was), Some(is)) => key(was).cmp(key(is)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        match order {
            Ordering::Less => old.next().into_iter().for_each(|was| tell(Pair::Gone(was))),
            Ordering::Greater => new.next().into_iter().for_each(|is| tell(Pair::New(is))),
            Ordering::Equal => {
                if let (Some(was), Some(is)) = (old.next(), new.next())
                    && !std::ptr::eq(was, is)
                {
                    tell(Pair::Changed(was, is));
                }
            }
        }
    }
}
