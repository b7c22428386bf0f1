//! A master that is made of the parts of another one has to be that other one. What the parts leave out would be missed
//! by whoever replays a recording.

use bourse_master_core::state::{BadState, Part};
use bourse_master_core::{Effect, Event, Master};
use bourse_types::Now;

/// One event in so many happens to a twin, too: of many seeds that is every kind of event in every state, and of each run
/// it costs little.
pub const EVERY: u64 = 64;

/// The other master and its effects, or why there is none.
pub struct Twin(Result<(Master, Vec<Effect>), BadState>);

impl Twin {
    /// A master is made of these parts, and this happens to it.
    pub fn of(parts: impl IntoIterator<Item = Part>, now: Now, event: Event) -> Twin {
        let applied = |mut master: Master| {
            let mut effects = Vec::new();
            master.apply(now, event, &mut effects);
            (master, effects)
        };
        Twin(Master::restore(parts).map(applied))
    }

    /// How it differs from the master that it was made of, to which the same has happened with these effects.
    pub fn differs(&self, master: &Master, effects: &[Effect]) -> Option<String> {
        let (twin, again) = match &self.0 {
            Ok((twin, again)) => (twin, again),
            Err(bad) => return Some(format!("the master's parts make none: {bad}")),
        };
        if again.as_slice() != effects {
            let differ = again.iter().zip(effects).find(|(again, effect)| again != effect);
            let counts = (again.len(), effects.len());
            return Some(format!("the master's twin has other effects, {counts:?} of them: {differ:?}"));
        }
        if !twin.parts().eq(master.parts()) {
            let differ = twin.parts().zip(master.parts()).find(|(again, part)| again != part);
            return Some(format!("the master's twin is another one: {differ:?}"));
        }
        None
    }
}
