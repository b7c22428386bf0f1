use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn ranges(text: &str) -> Ranges {
    text.parse().expect("ranges in the test")
}

#[test]
fn neighbours_and_overlaps_melt_into_one_range() {
    assert_eq!(ranges("[1-3, 4-6, 5-9, 20-20]").to_string(), "[1-9, 20-20]");
}

#[test]
fn the_ends_of_the_numbers_are_no_special_case() {
    let all = Ranges::from(0..=u64::MAX);
    assert_eq!(all.len(), u64::MAX);
    assert_eq!(all.checked_sub(&Ranges::from(5..=u64::MAX)), Some(Ranges::from(0..=4)));
    assert_eq!(all.union(&Ranges::from(7..=7)), all);
    assert_eq!(Ranges::from(u64::MAX..=u64::MAX).take(3), Ranges::from(u64::MAX..=u64::MAX));
    let mut inserted = Ranges::from(u64::MAX..=u64::MAX);
    inserted.insert(0..=0);
    assert_eq!(inserted.iter().len(), 2);
}

#[test]
fn a_text_that_is_not_ranges_is_refused_with_an_example() {
    let refused = |text: &str| text.parse::<Ranges>().expect_err("refused").to_string();
    assert_eq!(
        refused("1-2"),
        r#"the ranges "1-2" have no brackets; write them as [31000-31999, 32005-32005]"#
    );
    assert_eq!(
        refused("[1-x]"),
        r#""1-x" is not a range; write two whole numbers with a dash between, such as 31000-31999"#
    );
    assert_eq!(refused("[9-2]"), "the range 9-2 ends before it begins; write the smaller number first");
}

#[test]
fn a_lone_number_is_a_range_of_one() {
    assert_eq!(ranges("[80, 443]").to_string(), "[80-80, 443-443]");
}

/// Small numbers, so that ranges touch, overlap and nest often; the last values sit at the end of `u64`.
fn some_ranges() -> impl Strategy<Value = Vec<RangeInclusive<u64>>> {
    let low = (0..60u64, 0..8u64).prop_map(|(begin, length)| begin..=begin + length);
    let high = (0..20u64, 0..8u64).prop_map(|(back, length)| {
        let begin = u64::MAX - back;
        begin..=begin.saturating_add(length)
    });
    proptest::collection::vec(prop_oneof![4 => low, 1 => high], 0..8)
}

fn set(ranges: &[RangeInclusive<u64>]) -> BTreeSet<u64> {
    ranges.iter().cloned().flatten().collect()
}

fn values(ranges: &Ranges) -> BTreeSet<u64> {
    ranges.values().collect()
}

fn canonical(ranges: &Ranges) -> bool {
    ranges.0.iter().all(|(begin, end)| begin <= end)
        && ranges.0.windows(2).all(|pair| pair[0].1 < u64::MAX && pair[0].1 + 1 < pair[1].0)
}

proptest! {
    #[test]
    fn every_operation_agrees_with_a_plain_set(left in some_ranges(), right in some_ranges(), n in 0..30u64) {
        let (a, b) = (set(&left), set(&right));
        let (x, y) = (Ranges::from_iter(left.clone()), Ranges::from_iter(right.clone()));
        prop_assert_eq!(values(&x), a.clone());
        prop_assert_eq!(x.len(), a.len() as u64);
        prop_assert_eq!(x.is_empty(), a.is_empty());
        prop_assert_eq!(values(&x.union(&y)), a.union(&b).copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(values(&x.intersection(&y)), a.intersection(&b).copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(values(&x.difference(&y)), a.difference(&b).copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(x.contains_all(&y), b.is_subset(&a));
        prop_assert_eq!(x.intersects(&y), !a.is_disjoint(&b));
        prop_assert_eq!(x.checked_sub(&y).is_some(), b.is_subset(&a));
        prop_assert_eq!(values(&x.take(n)), a.iter().take(n as usize).copied().collect::<BTreeSet<_>>());
        for number in [0, 7, 30, u64::MAX - 3, u64::MAX] {
            prop_assert_eq!(x.contains(number), a.contains(&number));
        }
        for result in [&x, &x.union(&y), &x.intersection(&y), &x.difference(&y), &x.take(n)] {
            prop_assert!(canonical(result), "{result}");
        }
    }

    #[test]
    fn inserting_one_by_one_and_collecting_at_once_agree(list in some_ranges()) {
        let mut inserted = Ranges::new();
        for range in &list {
            inserted.insert(range.clone());
            prop_assert!(canonical(&inserted), "{inserted}");
        }
        prop_assert_eq!(inserted, Ranges::from_iter(list));
    }

    #[test]
    fn the_text_form_round_trips(list in some_ranges()) {
        let ranges = Ranges::from_iter(list);
        prop_assert_eq!(ranges.to_string().parse::<Ranges>(), Ok(ranges));
    }
}
