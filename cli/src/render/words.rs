//! Amounts, times and ids in words.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bourse_proto::operator::{Amounts, Task};
use bourse_types::{TaskState, units};

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

/// The part of an id by which its master tells things apart: `S3` of an agent, `0001` of a framework, `O12` of an
/// offer. Every verb takes it for the whole where it names one thing. Other ids as they are.
pub fn short(id: &str) -> &str {
    match id.rsplit_once('-') {
        Some((master, number)) if is_master(master) && !number.is_empty() => number,
        _ => id,
    }
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

/// Whether this is an id of a master, which ids of agents, frameworks and offers begin with.
fn is_master(id: &str) -> bool {
    id.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

/// A sentence of the master's for people: ids short, states as words, times to the second. JSON has it as it was told.
pub fn prose(sentence: &str) -> String {
    sentence.split(' ').map(piece).collect::<Vec<_>>().join(" ")
}

fn piece(word: &str) -> String {
    let bare = word.trim_matches(['(', ')', ':', ',', ';', '.', '"']);
    let said = match bare.parse::<TaskState>() {
        _ if bare.is_empty() => return word.into(),
        Ok(_) if bare.starts_with("TASK_") => state(bare),
        _ => time(bare).unwrap_or_else(|| short(bare).into()),
    };
    word.replacen(bare, &said, 1)
}

/// `2026-03-01T12:00:00.250Z` as people write it, to the second. `None`: this is no time.
fn time(word: &str) -> Option<String> {
    let (day, clock) = word.strip_suffix('Z')?.split_once('T')?;
    let second = clock.split('.').next()?;
    let digits =
        |text: &str, sign| text.split(sign).all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    (day.len() == 10 && second.len() == 8 && digits(day, '-') && digits(second, ':'))
        .then(|| format!("{day} {second} UTC"))
}

/// "TASK_GONE_BY_OPERATOR" as people say it: "gone by operator". A framework that is "inactive" on the wire wants
/// nothing and is well: it is idle.
pub fn state(state: &str) -> String {
    match state {
        "inactive" => "idle".into(),
        _ => state.trim_start_matches("TASK_").to_ascii_lowercase().replace('_', " "),
    }
}

/// A clause of the master's as a sentence: it begins with a capital.
pub fn sentence(clause: &str) -> String {
    let mut chars = clause.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    first + chars.as_str()
}

/// Mebibytes in the unit that a person would choose, rounded: what is measured is never a round number.
pub fn mib(amount: f64) -> String {
    let rounded = if amount < 10.0 { (amount * 10.0).round() / 10.0 } else { amount.round() };
    match rounded {
        large if large >= 4096.0 => format!("{:.1}GiB", large / 1024.0),
        small => format!("{small}MiB"),
    }
}

/// "2 cpus, 512MiB": what people compare. A dash for neither, so that what there is stands out.
pub fn amounts(amounts: Option<&Amounts>) -> String {
    match amounts.filter(|amounts| amounts.cpus > 0.0 || amounts.mem_mib > 0.0) {
        Some(amounts) => format!("{} cpus, {}", trim(amounts.cpus), mib(amounts.mem_mib)),
        None => "-".into(),
    }
}

/// What was measured, likewise, with two digits after the point.
pub fn used(amounts: Option<&Amounts>) -> String {
    match amounts.filter(|amounts| amounts.cpus > 0.0 || amounts.mem_mib > 0.0) {
        Some(amounts) => format!("{:.2} cpus, {}", amounts.cpus, mib(amounts.mem_mib)),
        None => "-".into(),
    }
}

fn trim(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// A share of the cluster as a percentage.
pub fn share(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// How a task ended, in words.
pub fn exit(task: &Task) -> String {
    match task.exit.as_ref().map(|exit| (exit.code, exit.signal)) {
        Some((Some(code), _)) => format!("exit {code}"),
        Some((None, Some(signal))) => format!("signal {signal}"),
        _ => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_of_the_masters_has_short_ids_words_for_states_and_times_to_the_second() {
        let agent = "881cf9f0-ba0e-46d8-a2c6-b5118431bcc5-S1";
        assert_eq!(
            prose(&format!("Agent host-a ({agent}) is unreachable since 2026-09-21T14:13:20.123Z; 1 of 2")),
            "Agent host-a (S1) is unreachable since 2026-09-21 14:13:20 UTC; 1 of 2"
        );
        assert_eq!(prose("task a-b-1 is TASK_GONE_BY_OPERATOR:  no"), "task a-b-1 is gone by operator:  no");
        assert_eq!(prose("TASK_X at 12:00Z, (see THE-Z)"), "TASK_X at 12:00Z, (see THE-Z)");
        assert_eq!(state("inactive"), "idle");
    }

    #[test]
    fn times_are_told_in_whole_seconds() {
        assert_eq!((seconds(0), seconds(960), seconds(61_500)), ("0s".into(), "0s".into(), "1m01s".into()));
        assert_eq!(ago(0), "-");
    }

    #[test]
    fn the_short_part_of_an_id_is_what_its_master_numbers() {
        let master = "881cf9f0-ba0e-46d8-a2c6-b5118431bcc5";
        assert_eq!(
            (short(&format!("{master}-O12")), short(master), short("web-0")),
            ("O12", master, "web-0")
        );
    }

    #[test]
    fn ids_of_a_list_are_short_where_that_tells_them_apart() {
        let of = |number: &str, first: char| format!("{first}81cf9f0-ba0e-46d8-a2c6-b5118431bcc5-{number}");
        let ids = [of("0000", '8'), of("0000", '9'), of("0001", '9')];
        let shorts = Shorts::of(ids.iter().map(String::as_str));
        assert_eq!([0, 1, 2].map(|at: usize| shorts.show(&ids[at])), [ids[0].as_str(), &ids[1], "0001"]);
    }
}
