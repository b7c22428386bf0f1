//! Measuring the sandboxes of running tasks, for people to see and for the core to judge.
//!
//! One after the other, each at the interval or less often: a rest that is ten times as long follows each measurement, so
//! that no number of files in sandboxes costs the machine more than a tenth of a core.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bourse_agent_core::{Event, TaskKey};
use bourse_types::ContainerId;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use crate::driver::Input;
use crate::du::{self, Size};
use crate::sandbox;
use crate::view::{TaskView, View, Views};

/// The rest after a measurement, in lengths of that.
const REST: u32 = 10;

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
    // Of these it was said that they cannot be measured as a whole.
    let mut told: BTreeSet<ContainerId> = BTreeSet::new();
    loop {
        let began = Instant::now();
        let view = views.borrow().clone();
        let known: BTreeSet<&ContainerId> = view.tasks.values().map(|task| &task.container).collect();
        told.retain(|container| known.contains(container));
        sizes.send_modify(|sizes| sizes.retain(|container, _| known.contains(container)));
        for (key, task) in view.tasks.iter().filter(|(_, task)| runs(task)) {
            // A round may take long; what ended meanwhile needs no measuring.
            let now = views.borrow().clone();
            let Some(path) = sandbox_of(&work_dir, &now, key, &task.container) else { continue };
            let (size, took) = measure(path.clone()).await;
            note(size, &path, task, &mut told, &sizes, &inbox).await;
            if inbox.is_closed() {
                return;
            }
            sleep(took.saturating_mul(REST)).await;
        }
        sleep_until(began + every).await;
    }
}

fn runs(task: &TaskView) -> bool {
    task.started && !task.ended
}

/// The sandbox of a container that runs.
fn sandbox_of(work_dir: &Path, view: &View, key: &TaskKey, container: &ContainerId) -> Option<PathBuf> {
    let task = view.tasks.get(key).filter(|task| runs(task) && task.container == *container)?;
    Some(sandbox::path(work_dir, view.agent.as_ref()?, key, &task.container))
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

/// Tells what was found.
async fn note(
    size: io::Result<Size>,
    path: &Path,
    task: &TaskView,
    told: &mut BTreeSet<ContainerId>,
    sizes: &watch::Sender<Sizes>,
    inbox: &mpsc::Sender<Input>,
) {
    let container = &task.container;
    let size = match size {
        Ok(size) => size,
        Err(error) => {
            if told.insert(container.clone()) {
                warn!(sandbox = %path.display(), %error, "cannot measure a sandbox: its disk is neither shown nor limited");
            }
            return;
        }
    };
    if size.left_out > 0 && told.insert(container.clone()) {
        warn!(
            sandbox = %path.display(),
            left_out = size.left_out,
            "cannot measure all that is in a sandbox, only what the rest takes is shown and limited"
        );
    }
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
