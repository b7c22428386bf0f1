//! Units for people: what they type and what they read.
//!
//! Inside, memory and disk are MiB in thousandths and times are [`Duration`]s. People write `256MiB` and
//! `1m30s`. Whatever is formatted here for amounts and durations is read back as exactly the same value.

use std::time::Duration;

use crate::{Milli, amount::MAX_UNITS, ids::shown};

/// A text that is not a quantity with a unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUnit {
    /// Not a size of memory or disk.
    #[error("{0:?} is not a size; write a number and a unit such as 256MiB or 4GiB")]
    Size(String),
    /// Not a duration.
    #[error("{0:?} is not a duration; write numbers with units such as 30s, 1m30s or 500ms")]
    Duration(String),
    /// A number where a duration needs its unit.
    #[error("{0:?} has no unit; write {0}s for seconds or {0}m for minutes")]
    NoUnit(String),
    /// More than can be held.
    #[error("{0:?} is too large; the most is 1e12 MiB, or 584 years")]
    TooLarge(String),
}

const MIB: f64 = 1_048_576.0;

/// Reads a size of memory or disk as MiB: `64MiB`, `1.5GiB`, `512KiB`, `500MB` (decimal), `1024B`; the short
/// forms `64Mi` and `64M` mean MiB. A plain number is MiB, as in Mesos. Rounded to the nearest thousandth of
/// a MiB.
pub fn parse_size(text: &str) -> Result<Milli, BadUnit> {
    let text = text.trim();
    let bad = || BadUnit::Size(shown(text));
    let (number, unit) = split_unit(text).ok_or_else(bad)?;
    let bytes_each = match unit.to_ascii_lowercase().as_str() {
        "" => MIB,
        "b" => 1.0,
        "k" | "ki" | "kib" => 1024.0,
        "m" | "mi" | "mib" => MIB,
        "g" | "gi" | "gib" => MIB * 1024.0,
        "t" | "ti" | "tib" => MIB * 1024.0 * 1024.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        _ => return Err(bad()),
    };
    let mebibytes = number.parse::<f64>().map_err(|_| bad())? * (bytes_each / MIB);
    if mebibytes > MAX_UNITS {
        return Err(BadUnit::TooLarge(shown(text)));
    }
    Milli::from_units(mebibytes).map_err(|_| bad())
}

/// Writes MiB with the largest unit that says them exactly in at most three digits after the point: `64MiB`,
/// `1.5GiB`, `1000MiB`.
pub fn format_size(mebibytes: Milli) -> String {
    let mut amount = mebibytes.thousandths();
    let mut units = ["MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if amount < 1024 * 1000 || !amount.is_multiple_of(1024) {
            break;
        }
        amount /= 1024;
        unit = larger;
    }
    format!("{}{unit}", Milli::new(amount))
}

/// An amount of memory or disk in bytes, cut to whole ones; the greatest number where that would not fit.
pub fn bytes(mebibytes: Milli) -> u64 {
    u64::try_from((u128::from(mebibytes.thousandths()) << 20) / 1000).unwrap_or(u64::MAX)
}

/// Reads a duration: `30s`, `1m30s`, `500ms`, `1.5h`, and Mesos' words, `5secs`, `15mins`. Units are ns, us,
/// ms, s, m, h, d and w. `0` needs no unit.
pub fn parse_duration(text: &str) -> Result<Duration, BadUnit> {
    let text = text.trim();
    let bad = || BadUnit::Duration(shown(text));
    let too_large = || BadUnit::TooLarge(shown(text));
    if text.is_empty() {
        return Err(bad());
    }
    let mut nanoseconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split_unit(rest).ok_or_else(bad)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit = after[..end].trim();
        rest = &after[end..];
        let part = match unit_nanoseconds(unit) {
            Some(each) => times(number, each).ok_or_else(too_large)?,
            None if unit.is_empty() && number.trim_matches('0').is_empty() && number == text => 0,
            None if unit.is_empty() && number == text => return Err(BadUnit::NoUnit(shown(text))),
            None => return Err(bad()),
        };
        nanoseconds = nanoseconds.checked_add(part).ok_or_else(too_large)?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn unit_nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" | "sec" | "secs" => 1_000_000_000,
        "m" | "min" | "mins" => 60_000_000_000,
        "h" | "hr" | "hrs" => 3_600_000_000_000,
        "d" | "day" | "days" => 86_400_000_000_000,
        "w" | "week" | "weeks" => 604_800_000_000_000,
        _ => return None,
    })
}

/// A decimal number of so many nanoseconds each, exactly; what is finer than a nanosecond is cut off.
fn times(number: &str, each: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    // Eighteen digits after the point are finer than a nanosecond in a week; the product below still fits.
    let fraction = &fraction[..fraction.len().min(18)];
    let numerator: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let part = numerator * u128::from(each) / 10u128.pow(fraction.len() as u32);
    whole.checked_mul(each)?.checked_add(u64::try_from(part).ok()?)
}

/// Cuts a leading decimal number off a text. `None` when there is none.
fn split_unit(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    (digits > 0 && number.len() - digits <= 1).then_some((number, unit.trim_start()))
}

/// Writes a duration exactly: `1m30s`, `500ms`, `2d`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let (days, seconds) = (duration.as_secs() / 86_400, duration.as_secs() % 86_400);
    let nanoseconds = u64::from(duration.subsec_nanos());
    let parts = [
        (days, "d"),
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (nanoseconds / 1_000_000, "ms"),
        (nanoseconds / 1000 % 1000, "us"),
        (nanoseconds % 1000, "ns"),
    ];
    let text: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".into() } else { text }
}

/// Writes roughly how long something took or is ago, in one or two units, cut and not rounded: `3s`, `2m05s`,
/// `1h20m`, `4d03h`; `under 1s` for less, as a figure that is another one at every look is read by nobody.
pub fn format_rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.subsec_millis() == 0 => "0s".into(),
        0 => "under 1s".into(),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A number of things: `no tasks`, `1 task`, `1,250 tasks`. Takes the word for one; the plural gets an `s`.
pub fn format_count(count: u64, thing: &str) -> String {
    match count {
        0 => format!("no {thing}s"),
        1 => format!("1 {thing}"),
        _ => format!("{} {thing}s", with_commas(count)),
    }
}

fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, thousandths) in [
            ("64MiB", 64_000),
            ("64", 64_000),
            ("64M", 64_000),
            ("64 mib", 64_000),
            ("1GiB", 1_024_000),
            ("1.5GiB", 1_536_000),
            ("2TiB", 2_097_152_000),
            ("512KiB", 500),
            ("1048576B", 1_000),
            ("1MB", 954),
        ] {
            assert_eq!(parse_size(text), Ok(Milli::new(thousandths)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused_with_an_example() {
        for text in ["", "MiB", "1.2.3MiB", "-1MiB", "64XB", "nan", "inf", "1e3MiB"] {
            assert_eq!(
                parse_size(text).expect_err(text).to_string(),
                format!("{text:?} is not a size; write a number and a unit such as 256MiB or 4GiB")
            );
        }
        assert!(matches!(parse_size("9999999999TiB"), Err(BadUnit::TooLarge(_))));
    }

    #[test]
    fn sizes_are_written_with_the_largest_exact_unit() {
        for (text, shown) in
            [("64MiB", "64MiB"), ("1024MiB", "1GiB"), ("1536MiB", "1.5GiB"), ("1000MiB", "1000MiB")]
        {
            assert_eq!(format_size(parse_size(text).expect("valid")), shown);
        }
        assert_eq!(format_size(Milli::ZERO), "0MiB");
        assert_eq!(format_size(Milli::whole(512)), "512MiB", "not 0.5GiB");
        assert_eq!(format_size(Milli::new(500)), "0.5MiB");
        assert_eq!(format_size(Milli::whole(4 * 1024 * 1024)), "4TiB");
    }

    #[test]
    fn a_size_in_bytes_is_cut_to_whole_ones() {
        assert_eq!(
            [0, 1, 1500, u64::MAX].map(|size| bytes(Milli::new(size))),
            [0, 1048, 1_572_864, u64::MAX]
        );
    }

    #[test]
    fn durations_are_read_as_people_and_mesos_write_them() {
        for (text, nanoseconds) in [
            ("30s", 30_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1m 30s", 90_000_000_000),
            ("500ms", 500_000_000),
            ("1.5h", 5_400_000_000_000),
            ("5secs", 5_000_000_000),
            ("15mins", 900_000_000_000),
            ("1weeks", 604_800_000_000_000),
            (".5s", 500_000_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_an_example() {
        let refused = |text: &str| parse_duration(text).expect_err(text).to_string();
        assert_eq!(
            refused("soon"),
            r#""soon" is not a duration; write numbers with units such as 30s, 1m30s or 500ms"#
        );
        assert_eq!(refused("30"), r#""30" has no unit; write 30s for seconds or 30m for minutes"#);
        for text in ["", "-1s", "1x", "s", "1m30", "1..5s", "1s s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(matches!(parse_duration("600y"), Err(BadUnit::Duration(_))));
        assert!(matches!(parse_duration("999999999999w"), Err(BadUnit::TooLarge(_))));
        assert!(matches!(parse_duration("99999999999999999999999s"), Err(BadUnit::TooLarge(_))));
    }

    #[test]
    fn durations_are_written_for_reading() {
        for (milliseconds, exact, rough) in [
            (0, "0s", "0s"),
            (500, "500ms", "under 1s"),
            (1_500, "1s500ms", "1s"),
            (125_000, "2m5s", "2m05s"),
            (4_800_000, "1h20m", "1h20m"),
            (356_400_000, "4d3h", "4d03h"),
        ] {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(format_duration(duration), exact);
            assert_eq!(format_rough(duration), rough);
        }
    }

    #[test]
    fn counts_read_as_words() {
        assert_eq!(format_count(0, "task"), "no tasks");
        assert_eq!(format_count(1, "task"), "1 task");
        assert_eq!(format_count(999, "task"), "999 tasks");
        assert_eq!(format_count(1_234_567, "offer"), "1,234,567 offers");
    }

    proptest! {
        #[test]
        fn sizes_round_trip(thousandths in prop_oneof![0..10_000_000u64, 0..=1_000_000_000_000_000u64]) {
            let size = Milli::new(thousandths);
            prop_assert_eq!(parse_size(&format_size(size)), Ok(size));
        }

        #[test]
        fn durations_round_trip(nanoseconds in any::<u64>()) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in "[0-9a-zµ. -]{0,12}") {
            let _ = (parse_size(&text), parse_duration(&text));
        }
    }
}
