//! Amounts, and how a process ended.

use bourse_proto::operator::Amounts;
use bourse_proto::v1::Exit;

/// A number as people write it: at most three digits after the point, no trailing zeros.
pub fn number(number: f64) -> String {
    let text = format!("{number:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// What was measured: two digits after the point.
fn measured(number: f64) -> String {
    format!("{number:.2}")
}

/// Mebibytes in the unit that a person would choose, rounded: what is measured is never a round number.
pub fn mib(amount: f64) -> String {
    let tenth = |amount: f64| number((amount * 10.0).round() / 10.0);
    if amount >= 1024.0 * 1024.0 {
        format!("{}TiB", tenth(amount / 1024.0 / 1024.0))
    } else if amount.round() >= 4096.0 {
        format!("{}GiB", tenth(amount / 1024.0))
    } else if amount >= 10.0 {
        format!("{}MiB", amount.round())
    } else {
        format!("{}MiB", tenth(amount))
    }
}

/// "2 cpus, 512MiB": what people compare. `None` for neither.
pub fn amounts(amounts: Option<&Amounts>) -> Option<String> {
    let amounts = amounts.filter(|amounts| amounts.cpus > 0.0 || amounts.mem_mib > 0.0)?;
    Some(format!("{} cpus, {}", number(amounts.cpus), mib(amounts.mem_mib)))
}

/// What was measured, likewise.
pub fn used(cpus: f64, mem_mib: f64) -> String {
    format!("{} cpus, {}", measured(cpus), mib(mem_mib))
}

/// A share of the cluster as a percentage.
pub fn share(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// How a process ended. `None` when it has not, or nobody knows.
pub fn exit(exit: Option<&Exit>) -> Option<String> {
    match exit.map(|exit| (exit.code, exit.signal))? {
        (Some(code), _) => Some(format!("exit {code}")),
        (None, Some(signal)) => Some(format!("signal {signal}")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_people_do() {
        assert_eq!([0.0, -0.0, 0.5, 2.0, 1.2346].map(number), ["0", "0", "0.5", "2", "1.235"]);
        assert_eq!(
            [0.0, 3.25, 512.4, 4095.4, 4095.6, 12_288.0, 12_345.0, 2_097_152.0].map(mib),
            ["0MiB", "3.3MiB", "512MiB", "4095MiB", "4GiB", "12GiB", "12.1GiB", "2TiB"]
        );
        assert_eq!(used(0.366, 300.2), "0.37 cpus, 300MiB");
        assert_eq!(share(0.1234), "12.3%");
    }

    #[test]
    fn what_is_nothing_is_no_word() {
        let some = Amounts { cpus: 0.5, ..Amounts::default() };
        assert_eq!(amounts(Some(&some)).as_deref(), Some("0.5 cpus, 0MiB"));
        assert_eq!((amounts(Some(&Amounts::default())), amounts(None)), (None, None));
        let ended = |code, signal| exit(Some(&Exit { code, signal }));
        assert_eq!(ended(Some(3), None).as_deref(), Some("exit 3"));
        assert_eq!(ended(None, Some(9)).as_deref(), Some("signal 9"));
        assert_eq!((ended(None, None), exit(None)), (None, None));
    }
}
