//! Texts of strangers: each reader refuses them in words or takes them, and reads what it took again as it writes it.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use bourse_hostile::{judged, text};
use proptest::prelude::*;
use proptest::sample::select;

use crate::controls::parse_huge_pages;
use crate::units::{format_duration, format_size, parse_duration, parse_size};
use crate::*;

fn one_of(samples: &'static [&'static str]) -> impl Strategy<Value = String> {
    text(select(samples).prop_map(str::to_owned))
}

fn comes_back<T>(given: &str)
where
    T: FromStr + Display + PartialEq + Debug,
    T::Err: Display,
{
    comes_back_by(given, str::parse::<T>, T::to_string);
}

fn comes_back_by<T: PartialEq + Debug, E: Display>(
    given: &str,
    read: impl Fn(&str) -> Result<T, E>,
    write: impl Fn(&T) -> String,
) {
    let Some(value) = judged(|| read(given)) else { return };
    let written = write(&value);
    match read(&written) {
        Ok(again) => assert_eq!(again, value, "it was written as {written:?}"),
        Err(refused) => panic!("it was taken, and as it is written, {written:?}, refused: {refused}"),
    }
}

macro_rules! texts {
    ($($name:ident: $type:ty, $samples:expr;)*) => {
        proptest! {$(
            #[test]
            fn $name(given in one_of($samples)) {
                comes_back::<$type>(&given);
            }
        )*}
    };
}

texts! {
    resources_come_back_or_are_refused: Resources, &["cpus:4; mem:1.5GiB; ports:[31000-32000, 80]", "disk(eng/web):100;x:{a, b}"];
    attributes_come_back_or_are_refused: Attributes, &["rack:a;zone:b;cores:4.5;open:[80-90]\nimage:http://x:1;set:{a,b}"];
    ranges_come_back_or_are_refused: Ranges, &["[31000-31999, 32005-32005, 80]"];
    items_come_back_or_are_refused: ItemSet, &["{a, b c, d}"];
    amounts_come_back_or_are_refused: Milli, &["4", "0.5", "1e3"];
    names_come_back_or_are_refused: Name, &["cpus", "licences"];
    roles_come_back_or_are_refused: Role, &["*", "eng/web/eu-1"];
    ids_come_back_or_are_refused: TaskId, &["web.0 1"];
    principals_come_back_or_are_refused: Principal, &["spiffe://example/web"];
    states_come_back_or_are_refused: TaskState, &["TASK_RUNNING"];
    reasons_come_back_or_are_refused: Reason, &["REASON_RECONCILIATION"];
    sizes_of_pages_come_back_or_are_refused: PageSize, &["2MiB", "1 GB"];
    volumes_come_back_or_are_refused: Volume, &["/srv/data:/data", "cache:/var/cache:ro"];
    roots_come_back_or_are_refused: Rootfs, &["/srv/images/web.tar"];
    networks_come_back_or_are_refused: Network, &["host", "none"];
}

proptest! {
    #[test]
    fn sizes_come_back_or_are_refused_in_words(given in one_of(&["64MiB", "1.5 GiB", "64"])) {
        comes_back_by(&given, parse_size, |size| format_size(*size));
    }

    #[test]
    fn durations_come_back_or_are_refused_in_words(given in one_of(&["1m30s", "500ms", "1.5 weeks", "0"])) {
        comes_back_by(&given, parse_duration, |span| format_duration(*span));
    }

    #[test]
    fn controls_come_back_or_are_refused_in_words(given in one_of(&["100", " 1", "2MiB=64MiB"])) {
        comes_back_by(&given, str::parse::<Pids>, |pids| pids.get().to_string());
        comes_back_by(&given, str::parse::<IoWeight>, |weight| weight.get().to_string());
        comes_back_by(&given, str::parse::<OomScore>, |score| score.get().to_string());
        comes_back_by(&given, parse_huge_pages, |(size, amount)| format!("{size}={}", format_size(*amount)));
    }
}

/// Whoever took it in would write down an amount that nobody takes, itself included.
#[test]
fn amounts_that_are_too_large_together_are_refused() {
    let refused = "cpus:1e12;cpus:0.001".parse::<Resources>().expect_err("more than 1e12");
    assert_eq!(refused.to_string(), "all cpus together are more than 1e12; give less of it");
    let apart: Resources = "cpus:1e12;cpus(eng):1e12".parse().expect("each is another resource");
    assert_eq!(apart.to_string().parse(), Ok(apart));
}

/// A list of ranges that is joined to the others by itself moves all of them.
#[test]
fn a_great_many_entries_of_one_resource_are_added_up_in_no_time() {
    let entries =
        |value: fn(u64) -> String| (0..50_000).map(|n| format!("x:{};", value(n))).collect::<String>();
    for text in [entries(|n| format!("[{0}-{0}]", 2 * n)), entries(|n| format!("{{i{n}}}"))] {
        let all = judged(|| text.parse::<Resources>()).expect("all of them are fine");
        let only = all.iter().next().expect("one entry");
        assert_eq!((all.iter().len(), only.value.quantity()), (1, Milli::whole(50_000)));
    }
}
