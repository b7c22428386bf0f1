//! Amounts, times and ids in words.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bourse_proto::operator::{Amounts, Task};
use bourse_types::units;

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// How long ago, by this machine's clock; "-" for never.
pub fn ago(at_ms: u64) -> String {
    match at_ms {
        0 => "-".into(),
        at => units::format_rough(Duration::from_millis(now_ms().saturating_sub(at))),
    }
}

/// How long until then.
pub fn left(at_ms: u64) -> String {
    units::format_rough(Duration::from_millis(at_ms.saturating_sub(now_ms())))
}

/// Mebibytes in the unit that a person would choose, rounded: what is measured is never a round number.
pub fn mib(amount: f64) -> String {
    let rounded = if amount < 10.0 { (amount * 10.0).round() / 10.0 } else { amount.round() };
    match rounded {
        large if large >= 10_240.0 => format!("{:.1}GiB", large / 1024.0),
        small => format!("{small}MiB"),
    }
}

/// "2 cpus, 512MiB": what people compare.
pub fn amounts(amounts: Option<&Amounts>) -> String {
    amounts.map_or("-".into(), |amounts| format!("{} cpus, {}", trim(amounts.cpus), mib(amounts.mem_mib)))
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
