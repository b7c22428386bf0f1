//! Unpackings under way: one for each tar, however many tasks wait for it. Who waits holds neither a thread nor a turn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tracing::error;

/// So many tars are unpacked at once: one after the other is as fast for a disk, but a tar may lie on one that does not
/// answer.
const AT_ONCE: usize = 4;

/// Whether it is whole, or why not, in words for a framework's author.
type Outcome = Result<(), String>;

/// By the places that tars are unpacked to.
type All = BTreeMap<PathBuf, watch::Receiver<Option<Outcome>>>;

static UNDER_WAY: Mutex<All> = Mutex::new(All::new());

/// Taken by each from its begin to its end.
static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// An unpacking that began and may have ended.
#[derive(Debug)]
pub struct Unpacking(watch::Receiver<Option<Outcome>>);

impl Unpacking {
    /// Waits for its end. A repeat tells the same.
    pub async fn end(&mut self) -> Outcome {
        let told = self.0.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        told.ok().flatten().unwrap_or_else(|| Err("the agent stops; launch the task again".into()))
    }
}

/// The unpacking to a place. One begins, in the runtime of this thread, where none is under way; `None` where what it is to
/// make `is_there`.
pub fn join(
    place: &Path,
    is_there: impl FnOnce() -> bool,
    unpack: impl FnOnce() -> Outcome + Send + 'static,
) -> Option<Unpacking> {
    let mut all = under_way();
    if let Some(told) = all.get(place) {
        return Some(Unpacking(told.clone()));
    }
    if is_there() {
        return None;
    }
    let (tell, told) = watch::channel(None);
    all.insert(place.to_owned(), told.clone());
    let ending = Ending(place.to_owned());
    // A runtime that stops drops it at once, and with it the note.
    drop(all);
    tokio::spawn(async move {
        // It is never closed.
        let _turn = TURNS.acquire().await;
        let outcome = spawn_blocking(unpack).await.unwrap_or_else(|panic| {
            error!(%panic, "internal error in the agent, while a tar was unpacked");
            Err("internal error in the agent; its log says more, please report it".into())
        });
        // Who comes from now on finds what was made, or begins anew.
        drop(ending);
        // Nobody may wait any more.
        let _ = tell.send(Some(outcome));
    });
    Some(Unpacking(told))
}

/// Does something to what is kept for a place while no unpacking is under way to it, and none begins; `None` where one is.
pub fn while_idle<T>(place: &Path, act: impl FnOnce() -> T) -> Option<T> {
    let all = under_way();
    (!all.contains_key(place)).then(act)
}

/// Ends what is noted of an unpacking, also where it is dropped with its runtime.
struct Ending(PathBuf);

impl Drop for Ending {
    fn drop(&mut self) {
        under_way().remove(&self.0);
    }
}

/// Never held for longer than a look at a folder takes.
fn under_way() -> MutexGuard<'static, All> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets nothing be unpacked for as long as what it gives is held.
#[cfg(test)]
pub async fn hold() -> tokio::sync::SemaphorePermit<'static> {
    let all = u32::try_from(AT_ONCE).expect("few");
    TURNS.acquire_many(all).await.expect("it is never closed")
}
