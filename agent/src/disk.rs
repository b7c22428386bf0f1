//! Measuring the sandboxes of running tasks, for people to see and for the core to judge.
//!
//! One at a time, whoever is at risk first ([`turns`]). A sandbox that takes long is measured the less often for it, and
//! keeps the others waiting for little more than the time that it takes. Between any two the watch rests, so that no number
//! of small sandboxes costs more than a three-hundredth of a core, and no number of files in large ones more than half of
//! one.

mod room;
mod space;
mod turns;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bourse_agent_core::{Event, Held, TaskKey, inodes_of};
use bourse_containerizer::{Containerizer, quota};
use bourse_types::units::bytes;
use bourse_types::{ContainerId, Milli};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::driver::Input;
use crate::du::{self, Size};
use crate::sandbox;
use crate::view::{TaskView, View, Views};

use turns::{Found, Turns};

pub use space::Space;

/// So many times in a row a sandbox must not have been measured as a whole before that is told. A task that moves or removes
/// folders while they are looked at is nothing to tell of.
const GAPS: u32 = 3;

/// What counted of sandboxes when they were measured last, in bytes.
pub type Sizes = BTreeMap<ContainerId, u64>;

/// Measures every running task's sandbox at the interval, and more rarely those that do not change, for ever.
pub async fn watch<C: Containerizer>(
    containers: C,
    work_dir: PathBuf,
    every: Duration,
    views: Views,
    sizes: watch::Sender<Sizes>,
    inbox: mpsc::Sender<Input>,
) {
    let began = Instant::now();
    let mut turns = Turns::new(every);
    let mut look = Duration::ZERO;
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
        if now >= look {
            look = now + every;
            if let Some(space) = space(work_dir.clone()).await {
                turns.look(&space);
            }
        }
        let Some(container) = turns.due(now).cloned() else {
            sleep(turns.rest(now)).await;
            continue;
        };
        let found = owners.get(&container).and_then(|key| Some((key, view.tasks.get(key)?)));
        let Some(((key, task), agent)) = found.zip(view.agent.as_ref()) else {
            // There is no sandbox before a master has admitted the agent.
            turns.measured(&container, now, Duration::ZERO, None);
            continue;
        };
        let path = sandbox::path(&work_dir, agent, key, &container);
        let looking = Instant::now();
        let (measured, took) = measure(&containers, &container, path.clone()).await;
        let whole = measured.as_ref().is_ok_and(Measured::is_whole);
        if gaps.entry(container.clone()).or_default().is_news(whole) {
            tell(&path, key, &measured);
        }
        let held = measured.ok().map(|measured| measured.held);
        let found = held.map(|held| Found { held, limit_bytes: task.disk_limit.map(bytes) });
        if let Some(held) = held {
            note(held, task, &sizes, &inbox).await;
        }
        turns.measured(&container, began.elapsed(), took, found);
        // With all that is around it: of a small sandbox that is a good part.
        sleep(between(looking.elapsed())).await;
    }
}

/// The rest after a measurement that took so long, before the next one of any sandbox.
fn between(took: Duration) -> Duration {
    took.max(took.saturating_mul(300).min(Duration::from_secs(1)))
}

fn runs(task: &TaskView) -> bool {
    task.started && !task.ended
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

/// What was found in a sandbox.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// A lower bound where something was left out.
    pub held: Held,
    /// So many files and folders were, each folder with all that is in it.
    left_out: usize,
    /// Files that the task has removed and keeps may have been, as it has more descriptors, mappings and threads than are
    /// looked at, or the agent may not look.
    kept_left_out: bool,
}

impl Measured {
    fn is_whole(&self) -> bool {
        self.left_out == 0 && !self.kept_left_out
    }
}

/// What is in a sandbox, and how long it took to find out. Files that have no name any more and are still kept are among it,
/// as far as the quota of the sandbox or the task's processes tell.
pub async fn measure<C: Containerizer>(
    containers: &C,
    container: &ContainerId,
    path: PathBuf,
) -> (io::Result<Measured>, Duration) {
    let began = Instant::now();
    let measured = spawn_blocking(move || {
        let began = Instant::now();
        (walk(&path), quota::used(&path), began.elapsed())
    });
    match measured.await {
        Ok((Ok((size, device, bytes_per_inode)), of_quota, took)) => {
            // Of a task with very many descriptors or mappings this takes long as well.
            let looking = Instant::now();
            let unlinked = containers.unlinked(container, device).await;
            let of_quota = of_quota.unwrap_or_default();
            let held = Held {
                bytes: size.bytes.saturating_add(unlinked.bytes).max(of_quota.bytes),
                inodes: size.inodes.saturating_add(unlinked.inodes).max(of_quota.inodes),
                bytes_per_inode,
            };
            let kept_left_out = !unlinked.is_whole;
            (Ok(Measured { held, left_out: size.left_out, kept_left_out }), took + looking.elapsed())
        }
        Ok((Err(error), _, took)) => (Err(error), took),
        Err(panic) => (Err(io::Error::other(panic)), began.elapsed()),
    }
}

/// What is in a folder by its names, its device, and how many bytes that has for each inode.
fn walk(path: &Path) -> io::Result<(Size, u64, u64)> {
    let device = fs::symlink_metadata(path)?.dev();
    Ok((du::measure(path)?, device, Space::of(path)?.bytes_per_inode()))
}

/// The quota of a sandbox whose task may have so much disk: of the inodes of its file system the same part.
pub fn quota_for(sandbox: &Path, limit: Option<Milli>) -> io::Result<Option<quota::Limit>> {
    let Some(bytes) = limit.map(bytes) else { return Ok(None) };
    let inodes = inodes_of(bytes, Space::of(sandbox)?.bytes_per_inode());
    Ok(Some(quota::Limit { bytes, inodes }))
}

/// What is free on a folder's disk. `None` where it cannot be asked.
pub async fn space(folder: PathBuf) -> Option<Space> {
    spawn_blocking(move || Space::of(&folder)).await.ok()?.ok()
}

/// Tells whoever owns the task what its figures do not say.
fn tell(sandbox: &Path, task: &TaskKey, measured: &io::Result<Measured>) {
    let (framework_id, task_id, sandbox) = (&task.framework, &task.task, sandbox.display());
    match measured {
        Ok(Measured { left_out, kept_left_out, .. }) => warn!(
            %framework_id,
            %task_id,
            %sandbox,
            left_out,
            kept_left_out,
            "cannot measure all that is in a sandbox, time and again: only what the rest takes is shown and limited; the \
             task should have fewer folders, and move them about less, and where files that it keeps were left out it should \
             have fewer of those, mappings and threads, and an agent that is root"
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
async fn note(held: Held, task: &TaskView, sizes: &watch::Sender<Sizes>, inbox: &mpsc::Sender<Input>) {
    let container = &task.container;
    sizes.send_modify(|sizes| {
        sizes.insert(container.clone(), held.counted());
    });
    // Without a limit there is nothing to judge.
    if task.disk_limit.is_some() {
        let event = Event::SandboxMeasured { container: container.clone(), held };
        // A driver that is gone needs no telling.
        let _ = inbox.send(Input::Event(event)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn many_small_sandboxes_cost_little_and_a_large_one_keeps_nobody_waiting_for_long() {
        assert_eq!(between(Duration::from_micros(200)), Duration::from_millis(60));
        assert_eq!(between(Duration::from_millis(100)), SECOND);
        assert_eq!(between(60 * SECOND), 60 * SECOND);
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
