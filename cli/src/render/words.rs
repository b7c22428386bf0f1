//! Words as a terminal has them: how long ago, ids that a list tells apart, and a dash for nothing.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bourse_proto::operator::{Amounts, Task};
use bourse_types::units;
use bourse_words::{self as words, short};

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Whole seconds: what is finer is another figure at every look, and nobody reads it.
fn seconds(milliseconds: u64) -> String {
    units::format_rough(Duration::from_secs(milliseconds / 1000))
}

/// How long ago, by this machine's clock; "-" for never.
pub fn ago(at_ms: u64) -> String {
    match at_ms {
        0 => "-".into(),
        at => seconds(now_ms().saturating_sub(at)),
    }
}

/// How long until then.
pub fn left(at_ms: u64) -> String {
    seconds(at_ms.saturating_sub(now_ms()))
}

/// A number of things: "1 task", "3 tasks", "no tasks".
pub fn count(count: u32, thing: &str) -> String {
    units::format_count(u64::from(count), thing)
}

/// The ids of a list as they are shown: short, and whole where two would look the same, since a master that is started
/// anew numbers from the beginning.
pub struct Shorts<'a>(BTreeMap<&'a str, usize>);

impl<'a> Shorts<'a> {
    pub fn of(ids: impl Iterator<Item = &'a str>) -> Shorts<'a> {
        let mut seen = BTreeMap::new();
        ids.for_each(|id| *seen.entry(short(id)).or_default() += 1);
        Shorts(seen)
    }

    pub fn show<'b>(&self, id: &'b str) -> &'b str {
        if self.0.get(short(id)).is_some_and(|times| *times > 1) { id } else { short(id) }
    }
}

/// "2 cpus, 512MiB"; a dash for neither, so that what there is stands out.
pub fn amounts(amounts: Option<&Amounts>) -> String {
    words::amounts(amounts).unwrap_or_else(|| "-".into())
}

/// What was measured, likewise.
pub fn used(amounts: Option<&Amounts>) -> String {
    match amounts.filter(|amounts| amounts.cpus > 0.0 || amounts.mem_mib > 0.0) {
        Some(amounts) => words::used(amounts.cpus, amounts.mem_mib),
        None => "-".into(),
    }
}

/// How a task ended, in words.
pub fn exit(task: &Task) -> String {
    words::exit(task.exit.as_ref()).unwrap_or_else(|| "-".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_whole_seconds() {
        assert_eq!((seconds(0), seconds(960), seconds(61_500)), ("0s".into(), "0s".into(), "1m01s".into()));
        assert_eq!(ago(0), "-");
    }

    #[test]
    fn ids_of_a_list_are_short_where_that_tells_them_apart() {
        let of = |number: &str, first: char| format!("{first}81cf9f0-ba0e-46d8-a2c6-b5118431bcc5-{number}");
        let ids = [of("0000", '8'), of("0000", '9'), of("0001", '9')];
        let shorts = Shorts::of(ids.iter().map(String::as_str));
        assert_eq!([0, 1, 2].map(|at: usize| shorts.show(&ids[at])), [ids[0].as_str(), &ids[1], "0001"]);
    }
}
