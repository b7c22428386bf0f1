//! One run, watched: a core whose own assertion fails has found a bug, as a checker does.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::world::World;
use crate::{Options, Report};

/// Where the cores are. One that finds itself in an impossible state has caught a bug; the simulator that does has one.
const CORES: [&str; 5] =
    ["types/", "master/core/", "agent/core/", "framework-sdk/core/", "service-framework/"];

/// What this thread runs.
struct Watched {
    replay: String,
    /// Nobody wants to read what a panic says.
    quiet: bool,
    /// In which file it panicked, and what it said.
    panicked: Option<(String, String)>,
}

thread_local! {
    static WATCHED: RefCell<Option<Watched>> = const { RefCell::new(None) };
}

/// Runs one seed. A core whose own assertion fails has broken a promise; it is told last.
///
/// # Panics
/// When the simulator itself does; how to run the seed again is said first.
pub fn run(seed: u64, options: &Options) -> Report {
    watched(seed, options, false)
}

/// The same, and nothing is said of a core that panics, as it was before.
pub fn run_quietly(seed: u64, options: &Options) -> Report {
    watched(seed, options, true)
}

fn watched(seed: u64, options: &Options, quiet: bool) -> Report {
    watch_panics();
    WATCHED.set(Some(Watched { replay: options.replay(seed), quiet, panicked: None }));
    let mut world = World::new(seed, options);
    let went = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    let panicked = WATCHED.take().and_then(|watched| watched.panicked);
    let Err(panic) = went else { return world.report() };
    let (file, text) = panicked.expect("the hook was there first");
    if !CORES.iter().any(|core| file.starts_with(core)) {
        panic::resume_unwind(panic);
    }
    let mut report = world.report();
    report.broken.push(format!("a core, in {file}: {text}"));
    report
}

/// From now on each panic of a run says first how to run it again, and leaves behind where it was.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let file = panic.location().map_or("", |place| place.file());
            let quiet = WATCHED.with_borrow_mut(|watched| {
                let Some(watched) = watched else { return false };
                watched.panicked = Some((file.to_owned(), panic.to_string()));
                if !watched.quiet {
                    eprintln!("replay: {}", watched.replay);
                }
                watched.quiet
            });
            if !quiet {
                before(panic);
            }
        }));
    });
}
