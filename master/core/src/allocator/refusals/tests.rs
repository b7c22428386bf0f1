//! Refusals, also beside a list that is kept as it comes.

use super::*;
use proptest::prelude::*;

fn resources(text: &str) -> Resources {
    text.parse().expect("a literal of the test")
}

const CLAIM: ClaimId = ClaimId(1);

#[test]
fn a_refusal_is_of_a_part_of_what_it_holds_too_and_lets_more_pass() {
    let mut refusals = Refusals::default();
    refusals.add(CLAIM, resources("cpus:2;mem:64"), Mono(10), Mono(0));
    let refuses = |claim, text| refusals.refuses(claim, &resources(text), Mono(5)).is_some();
    assert!(refuses(CLAIM, "cpus:2;mem:64") && refuses(CLAIM, "cpus:1"));
    assert!(!refuses(CLAIM, "cpus:3;mem:64") && !refuses(CLAIM, "cpus:1;disk:1"));
    assert!(!refuses(ClaimId(0), "cpus:1") && !refuses(ClaimId(2), "cpus:1"));
}

#[test]
fn a_refusal_is_over_at_its_end() {
    let mut refusals = Refusals::default();
    refusals.add(CLAIM, resources("cpus:2"), Mono(10), Mono(0));
    assert_eq!(refusals.refuses(CLAIM, &resources("cpus:1"), Mono(9)), Some(Mono(10)));
    assert_eq!(refusals.refuses(CLAIM, &resources("cpus:1"), Mono(10)), None);
}

#[test]
fn a_refusal_that_another_covers_is_not_kept() {
    let mut refusals = Refusals::default();
    let added = [("cpus:1", 10), ("cpus:2", 20), ("cpus:1", 15)]
        .map(|(text, until)| refusals.add(CLAIM, resources(text), Mono(until), Mono(0)));
    assert_eq!((added, refusals.all.len()), ([true, true, false], 1));
    assert!(refusals.add(CLAIM, resources("cpus:1"), Mono(30), Mono(0)));
    assert_eq!(refusals.all.len(), 2);
}

#[test]
fn ever_larger_refusals_are_bounded() {
    let mut refusals = Refusals::default();
    for i in 1..100u64 {
        refusals.add(CLAIM, resources(&format!("cpus:{i}")), Mono(1_000 - i), Mono(0));
    }
    assert_eq!(refusals.all.len(), REFUSALS_MAX);
    assert_eq!(refusals.refuses(CLAIM, &resources("cpus:99"), Mono(0)), Some(Mono(901)));
    assert_eq!(refusals.refuses(CLAIM, &resources("cpus:1"), Mono(0)), Some(Mono(999)));
}

#[test]
fn a_thousand_refusals_of_one_agent_keep_its_resources_once() {
    let mut refusals = Refusals::default();
    for claim in 0..1_000 {
        refusals.add(ClaimId(claim), resources("cpus:24;mem:4096;ports:[31000-32000]"), Mono(10), Mono(0));
    }
    assert_eq!((refusals.all.len(), refusals.shapes.len()), (1_000, 1));
    assert_eq!(size_of::<Refusal>(), 24);

    // What says nothing any more goes, with what only it refused.
    refusals.add(ClaimId(7), resources("cpus:25"), Mono(20), Mono(0));
    refusals.drop_all_but(|_, until| until > Mono(10));
    assert_eq!((refusals.all.len(), refusals.shapes), (1, vec![resources("cpus:25")]));
}

#[test]
fn who_declines_ever_other_resources_leaves_no_more_than_what_is_refused() {
    let mut refusals = Refusals::default();
    for i in 1..10_000 {
        // Each takes the place of the one before it.
        refusals.add(CLAIM, resources(&format!("cpus:{i}")), Mono(i), Mono(0));
        if refusals.is_long() {
            refusals.drop_all_but(|_, _| true);
        }
        assert!(refusals.all.len() == 1 && refusals.shapes.len() <= 66);
    }
}

/// One claim's refusals as they came, without any order, numbers or sharing.
#[derive(Default)]
struct Naive(Vec<(Resources, Mono)>);

impl Naive {
    fn refuses(&self, offered: &Resources, now: Mono) -> Option<Mono> {
        let refuses = |(refused, until): &&(Resources, Mono)| *until > now && refused.contains(offered);
        self.0.iter().filter(refuses).map(|(_, until)| *until).max()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add { claim: usize, cpus: u64, mem: u64, lasts: u64 },
    Revive { claim: usize },
    Passes { time: u64 },
    Dropped,
}

fn step() -> impl Strategy<Value = Step> {
    let claim = 0..4usize;
    prop_oneof![
        8 => (claim.clone(), 1..4u64, 1..4u64, 1..30u64)
            .prop_map(|(claim, cpus, mem, lasts)| Step::Add { claim, cpus, mem, lasts }),
        1 => claim.prop_map(|claim| Step::Revive { claim }),
        3 => (1..10u64).prop_map(|time| Step::Passes { time }),
        1 => Just(Step::Dropped),
    ]
}

proptest! {
    #[test]
    fn whatever_is_refused_revived_and_over_the_answers_are_those_of_a_plain_list(
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        let mut refusals = Refusals::default();
        let mut naive: [Naive; 4] = Default::default();
        let mut ids = [0, 1, 2, 3].map(ClaimId);
        let mut now = Mono(0);
        for step in steps {
            match step {
                Step::Add { claim, cpus, mem, lasts } => {
                    let refused = resources(&format!("cpus:{cpus};mem:{mem}"));
                    let until = Mono(now.as_nanos() + lasts);
                    refusals.add(ids[claim], refused.clone(), until, now);
                    naive[claim].0.push((refused, until));
                }
                Step::Revive { claim } => {
                    ids[claim] = ClaimId(ids[claim].0 + 4);
                    naive[claim].0.clear();
                }
                Step::Passes { time } => now = Mono(now.as_nanos() + time),
                Step::Dropped => refusals.drop_all_but(|claim, until| ids.contains(&claim) && until > now),
            }
            prop_assert!(refusals.all.is_sorted_by_key(|refusal| refusal.claim));
            for (id, naive) in ids.iter().zip(&naive) {
                for (cpus, mem) in [(1, 1), (1, 3), (2, 2), (3, 1), (3, 3)] {
                    let offered = resources(&format!("cpus:{cpus};mem:{mem}"));
                    prop_assert_eq!(refusals.refuses(*id, &offered, now), naive.refuses(&offered, now));
                }
            }
        }
    }
}
