//! Measuring the sandboxes of running tasks, for people to see and for the core to judge.
//!
//! One at a time. A sandbox that takes long is measured the less often for it, and keeps the others waiting for little
//! more than the time that it takes. Between any two the watch rests, so that no number of small sandboxes costs more than
//! a three-hundredth of a core, and no number of files in large ones more than half of one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bourse_agent_core::{Event, TaskKey};
use bourse_types::ContainerId;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::driver::Input;
use crate::du::{self, Size};
use crate::sandbox;
use crate::view::{TaskView, View, Views};

/// The rest of one sandbox after it was measured, in lengths of that.
const REST: u32 = 10;

/// So many times in a row a sandbox must not have been measured as a whole before that is told. A task that moves or removes
/// folders while they are looked at is nothing to tell of.
const GAPS: u32 = 3;

/// What sandboxes held when they were measured last, in bytes.
pub type Sizes = BTreeMap<ContainerId, u64>;

/// Measures every running task's sandbox at the interval, for ever.
pub async fn watch(
    work_dir: PathBuf,
    every: Duration,
    views: Views,
    sizes: watch::Sender<Sizes>,
    inbox: mpsc::Sender<Input>,
) {
    let began = Instant::now();
    let mut turns = Turns::new(every);
    let mut gaps: BTreeMap<ContainerId, Gaps> = BTreeMap::new();
    let mut last: Option<Arc<View>> = None;
    let mut owners: BTreeMap<ContainerId, TaskKey> = BTreeMap::new();
    while !inbox.is_closed() {
        let (now, view) = (began.elapsed(), views.borrow().clone());
        // With thousands of tasks that takes longer than measuring one, so only when something has changed.
        if last.as_ref().is_none_or(|last| !Arc::ptr_eq(last, &view)) {
            let owner = |(key, task): (&TaskKey, &TaskView)| (task.container.clone(), key.clone());
            owners = view.tasks.iter().map(owner).collect();
            gaps.retain(|container, _| owners.contains_key(container));
            sizes.send_modify(|sizes| sizes.retain(|container, _| owners.contains_key(container)));
            let running = view.tasks.values().filter(|task| runs(task)).map(|task| &task.container);
            turns.keep(now, &running.collect());
            last = Some(view.clone());
        }
        let Some(container) = turns.due(now).cloned() else {
            sleep(turns.rest(now)).await;
            continue;
        };
        let found = owners.get(&container).and_then(|key| Some((key, view.tasks.get(key)?)));
        let Some(((key, task), agent)) = found.zip(view.agent.as_ref()) else {
            // There is no sandbox before a master has admitted the agent.
            turns.measured(&container, now, Duration::ZERO);
            continue;
        };
        let path = sandbox::path(&work_dir, agent, key, &container);
        let (size, took) = measure(path.clone()).await;
        let whole = size.as_ref().is_ok_and(|size| size.left_out == 0);
        if gaps.entry(container.clone()).or_default().is_news(whole) {
            tell(&path, key, &size);
        }
        if let Ok(size) = size {
            note(size, task, &sizes, &inbox).await;
        }
        turns.measured(&container, began.elapsed(), took);
        sleep(between(took)).await;
    }
}

/// The rest after a measurement that took so long, before the next one of any sandbox.
fn between(took: Duration) -> Duration {
    took.max(took.saturating_mul(300).min(Duration::from_secs(1)))
}

fn runs(task: &TaskView) -> bool {
    task.started && !task.ended
}

/// Whose sandbox is measured when. Times count from the begin of the watch.
#[derive(Debug)]
struct Turns {
    every: Duration,
    due: BTreeMap<ContainerId, Duration>,
}

impl Turns {
    fn new(every: Duration) -> Turns {
        Turns { every, due: BTreeMap::new() }
    }

    /// Goes on with these containers and no others. Who is new is due at once, after those who are so already.
    fn keep(&mut self, now: Duration, containers: &BTreeSet<&ContainerId>) {
        self.due.retain(|container, _| containers.contains(container));
        for &container in containers {
            if !self.due.contains_key(container) {
                self.due.insert(container.clone(), now);
            }
        }
    }

    /// Who has been due for the longest, if anybody is.
    fn due(&self, now: Duration) -> Option<&ContainerId> {
        self.first().filter(|&(_, due)| due <= now).map(|(container, _)| container)
    }

    /// How long nobody is due whom this knows; the interval at most, as there may be others by then.
    fn rest(&self, now: Duration) -> Duration {
        self.first().map_or(self.every, |(_, due)| due.saturating_sub(now).min(self.every))
    }

    /// A measurement has ended that took so long.
    fn measured(&mut self, container: &ContainerId, now: Duration, took: Duration) {
        let rest = self.every.max(took.saturating_mul(REST));
        self.due.insert(container.clone(), now.saturating_add(rest));
    }

    fn first(&self) -> Option<(&ContainerId, Duration)> {
        self.due.iter().map(|(container, due)| (container, *due)).min_by_key(|&(_, due)| due)
    }
}

/// How it went with a sandbox that could not be measured as a whole.
#[derive(Debug, Default)]
struct Gaps {
    in_a_row: u32,
    told: bool,
}

impl Gaps {
    /// Notes one more measurement. Whether it is to be told now that they have gaps, which it is once.
    fn is_news(&mut self, whole: bool) -> bool {
        self.in_a_row = if whole { 0 } else { self.in_a_row.saturating_add(1) };
        let news = self.in_a_row >= GAPS && !self.told;
        self.told |= news;
        news
    }
}

/// What is in a sandbox, and how long it took to find out.
async fn measure(path: PathBuf) -> (io::Result<Size>, Duration) {
    let began = Instant::now();
    let measured = spawn_blocking(move || {
        let began = Instant::now();
        (du::measure(&path), began.elapsed())
    });
    measured.await.unwrap_or_else(|panic| (Err(io::Error::other(panic)), began.elapsed()))
}

/// Tells whoever owns the task what its figures do not say.
fn tell(sandbox: &Path, task: &TaskKey, size: &io::Result<Size>) {
    let (framework_id, task_id, sandbox) = (&task.framework, &task.task, sandbox.display());
    match size {
        Ok(size) => warn!(
            %framework_id,
            %task_id,
            %sandbox,
            left_out = size.left_out,
            "cannot measure all that is in a sandbox, time and again: only what the rest takes is shown and limited; the \
             task should have fewer folders, and move them about less"
        ),
        Err(error) => warn!(
            %framework_id,
            %task_id,
            %sandbox,
            %error,
            "cannot measure a sandbox, time and again: its disk is neither shown nor limited"
        ),
    }
}

/// Passes on what was found.
async fn note(size: Size, task: &TaskView, sizes: &watch::Sender<Sizes>, inbox: &mpsc::Sender<Input>) {
    let container = &task.container;
    sizes.send_modify(|sizes| {
        sizes.insert(container.clone(), size.bytes);
    });
    // Without a limit there is nothing to judge.
    if task.disk_limit.is_some() {
        let event = Event::SandboxMeasured { container: container.clone(), used_bytes: size.bytes };
        // A driver that is gone needs no telling.
        let _ = inbox.send(Input::Event(event)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn container(name: &str) -> ContainerId {
        ContainerId::new(name).expect("valid")
    }

    #[test]
    fn many_small_sandboxes_cost_little_and_a_large_one_keeps_nobody_waiting_for_long() {
        assert_eq!(between(Duration::from_micros(200)), Duration::from_millis(60));
        assert_eq!(between(Duration::from_millis(100)), SECOND);
        assert_eq!(between(60 * SECOND), 60 * SECOND);
    }

    #[test]
    fn a_sandbox_that_takes_long_is_measured_less_often_and_the_others_are_not() {
        let (slow, quick) = (container("a"), container("b"));
        let both = BTreeSet::from([&slow, &quick]);
        let mut turns = Turns::new(15 * SECOND);
        turns.keep(Duration::ZERO, &both);
        assert_eq!(turns.due(Duration::ZERO), Some(&slow));
        turns.measured(&slow, 60 * SECOND, 60 * SECOND);
        // The rest of the watch as a whole is as long as that took.
        assert_eq!(turns.due(120 * SECOND), Some(&quick));
        turns.measured(&quick, 120 * SECOND, SECOND / 1000);
        for round in 9..44_u32 {
            let now = 15 * round * SECOND;
            turns.keep(now, &both);
            assert_eq!((turns.due(now - SECOND), turns.rest(now - SECOND)), (None, SECOND), "{now:?}");
            assert_eq!(turns.due(now), Some(&quick), "{now:?}");
            turns.measured(&quick, now, SECOND / 1000);
        }
        assert_eq!(turns.due(660 * SECOND), Some(&slow), "ten times as long as it took");
    }

    #[test]
    fn who_is_new_is_due_at_once_after_those_who_wait_and_who_is_gone_is_forgotten() {
        let (old, new) = (container("b"), container("a"));
        let mut turns = Turns::new(15 * SECOND);
        assert_eq!((turns.due(SECOND), turns.rest(SECOND)), (None, 15 * SECOND));
        turns.keep(SECOND, &BTreeSet::from([&old]));
        turns.keep(2 * SECOND, &BTreeSet::from([&old, &new]));
        assert_eq!(turns.due(2 * SECOND), Some(&old));
        turns.measured(&old, 2 * SECOND, Duration::ZERO);
        assert_eq!(turns.due(2 * SECOND), Some(&new));
        turns.keep(3 * SECOND, &BTreeSet::from([&old]));
        assert_eq!((turns.due(3 * SECOND), turns.rest(3 * SECOND)), (None, 14 * SECOND));
        // However large the figures are.
        turns.measured(&old, Duration::MAX, Duration::MAX);
        assert_eq!((turns.due(3 * SECOND), turns.rest(3 * SECOND)), (None, 15 * SECOND));
    }

    #[test]
    fn gaps_are_told_once_and_only_where_they_come_three_times_in_a_row() {
        let mut gaps = Gaps::default();
        let told = [false, false, true, false, false, false, false].map(|whole| gaps.is_news(whole));
        assert_eq!(told, [false, false, false, false, false, true, false]);
        let again = [true, false, false, false].map(|whole| gaps.is_news(whole));
        assert_eq!(again, [false; 4]);
    }
}
