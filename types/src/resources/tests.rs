//! Stories and laws of the algebra.

use super::*;
use crate::{Labels, Milli, Principal, Ranges, Role, Volume, VolumeMode};
use expect_test::expect;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn resources(text: &str) -> Resources {
    text.parse().expect("resources in the test")
}

fn role(name: &str) -> Role {
    Role::new(name).expect("a role in the test")
}

fn dynamic(name: &str, labels: Labels) -> Reservation {
    Reservation {
        kind: ReservationKind::Dynamic,
        role: role(name),
        principal: Some(Principal::new("alice").expect("valid")),
        labels,
    }
}

/// A persistent volume of so many MiB.
fn volume(id: &str, path: &str, mebibytes: u64) -> Resource {
    let mut resource = Resource::scalar(Name::disk(), Milli::whole(mebibytes));
    resource.key.reservations.push(dynamic("eng", Labels::new()));
    resource.key.disk = Some(Disk {
        persistence: Some(Persistence { id: id.into(), principal: None }),
        volume: Some(Volume { container_path: path.into(), host_path: None, mode: VolumeMode::ReadWrite }),
        source: None,
    });
    resource
}

fn mount(root: &str, mebibytes: u64) -> Resource {
    let mut resource = Resource::scalar(Name::disk(), Milli::whole(mebibytes));
    let source = DiskSource {
        kind: DiskSourceKind::Mount,
        root: Some(root.into()),
        id: None,
        vendor: None,
        profile: None,
        metadata: Labels::new(),
    };
    resource.key.disk = Some(Disk { persistence: None, volume: None, source: Some(Box::new(source)) });
    resource
}

#[test]
fn the_text_form_is_mesos_and_sizes_may_have_units() {
    let all =
        resources("ports:[31000-32000];mem:4GiB; cpus:4;disk(eng):512KiB;licences:{b,a};gpus:1;cpus:0.5;");
    assert_eq!(
        all.to_string(),
        "cpus:4.5; gpus:1; mem:4096; disk(eng):0.5; ports:[31000-32000]; licences:{a, b}"
    );
    assert_eq!(resources("mem(*):1e3"), resources("mem:1000"));
    assert_eq!(resources(""), Resources::new());
}

#[test]
fn a_text_that_is_not_resources_is_refused_with_what_to_write() {
    let mut refusals = String::new();
    for text in [
        "cpus",
        "cpus:",
        ":4",
        "cpus(eng:4",
        "c pus:4",
        "cpus(/eng):4",
        "cpus:4GiB",
        "mem:4XB",
        "ports:[2-1]",
        "cpus:-1",
    ] {
        refusals.push_str(&format!("{}\n", text.parse::<Resources>().expect_err(text)));
    }
    expect![[r#"
        "cpus" is not name:value; write resources as cpus:4;mem:1024;ports:[31000-32000]
        "cpus:" is not name:value; write resources as cpus:4;mem:1024;ports:[31000-32000]
        ":4" is not name:value; write resources as cpus:4;mem:1024;ports:[31000-32000]
        "cpus(eng:4" is not name:value; write resources as cpus:4;mem:1024;ports:[31000-32000]
        the resource name "c pus" is empty, too long, or holds a character that the text form needs; write a plain word such as cpus
        in "cpus(/eng):4", role "/eng" has an empty level: a '/' at its start, its end, or twice in a row; write it as eng or eng/web
        in "cpus:4GiB", "4GiB" is not a number; write an amount such as 4 or 0.5
        in "mem:4XB", "4XB" is not a size; write a number and a unit such as 256MiB or 4GiB
        in "ports:[2-1]", the range 2-1 ends before it begins; write the smaller number first
        in "cpus:-1", the amount is -1; it must be a number from 0 to 1e12
    "#]]
    .assert_eq(&refusals);
}

#[test]
fn what_the_text_form_cannot_say_is_still_shown() {
    let mut all = Resources::new();
    let mut revocable = Resource::scalar(Name::cpus(), Milli::whole(1));
    revocable.key.revocable = true;
    all.insert(revocable);
    all.insert(volume("data", "db", 64));
    all.insert(mount("/mnt/d1", 100));
    let labels = Labels::from_iter([("team", Some("web"))]);
    all.add(
        &resources("mem:64").with_reservations(&[dynamic("eng", Labels::new()), dynamic("eng/web", labels)]),
    );
    expect![[r#"
        cpus{REV}:1
        mem(eng dynamic by alice, eng/web dynamic by alice {team: web}):64
        disk[MOUNT:/mnt/d1]:100
        disk(eng dynamic by alice)[data:db]:64
    "#]]
    .assert_eq(&all.iter().map(|resource| format!("{resource}\n")).collect::<String>());
}

#[test]
fn reservations_that_differ_in_labels_do_not_serve_for_each_other() {
    let labelled = |value| Labels::from_iter([("team", Some(value))]);
    let web = resources("cpus:2").with_reservations(&[dynamic("eng", labelled("web"))]);
    let ads = resources("cpus:2").with_reservations(&[dynamic("eng", labelled("ads"))]);
    let mut both = web.clone();
    both.add(&ads);
    assert_eq!(both.iter().len(), 2);
    assert_eq!(both.cpus(), Milli::whole(4));
    assert_eq!(both.checked_sub(&web), Some(ads.clone()));
    assert!(!web.contains(&ads));
    assert!(!web.intersects(&ads));
}

#[test]
fn a_volume_is_taken_whole_or_not_at_all() {
    let all = Resources::from_iter([volume("data", "db", 64), volume("logs", "log", 64)]);
    assert_eq!(all.iter().len(), 2);
    assert_eq!(all.checked_sub(&Resources::from_iter([volume("data", "db", 32)])), None);
    assert_eq!(
        all.checked_sub(&Resources::from_iter([volume("data", "db", 64)])),
        Some(Resources::from_iter([volume("logs", "log", 64)]))
    );
    assert_eq!(all.disk(), Milli::whole(128));
}

#[test]
fn where_a_task_mounts_a_volume_does_not_make_it_another_volume() {
    let offered = Resources::from_iter([volume("data", "db", 64)]);
    assert!(offered.contains(&Resources::from_iter([volume("data", "elsewhere", 64)])));
    assert!(!offered.contains(&Resources::from_iter([volume("other", "db", 64)])));
}

#[test]
fn two_equal_mounted_disks_are_two_disks() {
    let two = Resources::from_iter([mount("/mnt", 100), mount("/mnt", 100)]);
    assert_eq!(two.iter().len(), 2);
    assert_eq!(two.disk(), Milli::whole(200));
    assert_eq!(
        two.checked_sub(&Resources::from_iter([mount("/mnt", 100)])).map(|left| left.iter().len()),
        Some(1)
    );
    assert_eq!(two.checked_sub(&Resources::from_iter([mount("/mnt", 200)])), None);
}

#[test]
fn a_shared_volume_counts_once_however_many_use_it() {
    let mut shared = volume("data", "db", 64);
    shared.key.shared = true;
    let used = Resources::from_iter([shared.clone(), shared.clone(), shared.clone()]);
    assert_eq!(used.iter().len(), 3);
    assert_eq!(used.disk(), Milli::whole(64));
    assert_eq!(used.quantities().get("disk"), Milli::whole(64));
    assert_eq!(used.checked_sub(&Resources::from_iter([shared])).map(|left| left.iter().len()), Some(2));
    assert!(used.non_shared().is_empty());
}

#[test]
fn quantities_count_the_elements_of_ranges_and_sets() {
    let all = resources("cpus:1;cpus(eng):2;ports:[1-10];ports(eng):[20-24];licences:{a,b}");
    assert_eq!(all.quantities().to_string(), "cpus:3; ports:15; licences:2");
    assert_eq!(all.ports(), "[1-10, 20-24]".parse::<Ranges>().expect("valid"));
}

#[test]
fn a_role_is_offered_what_is_unreserved_its_own_and_that_of_the_roles_above_it() {
    let all = resources("cpus:1;cpus(eng):2;cpus(eng/web):4;cpus(ops):8");
    assert_eq!(all.allocatable_to(&role("eng/web")).cpus(), Milli::whole(7));
    assert_eq!(all.allocatable_to(&role("eng")).cpus(), Milli::whole(3));
    assert_eq!(all.allocatable_to(&Role::any()).cpus(), Milli::whole(1));
    assert_eq!(all.unreserved().cpus(), Milli::whole(1));
    assert_eq!(all.reserved_to(&role("eng")).cpus(), Milli::whole(2));
    let by_role: Vec<String> =
        all.reserved().map(|(role, reserved)| format!("{role}={}", reserved.cpus())).collect();
    assert_eq!(by_role, ["eng=2", "eng/web=4", "ops=8"]);
    assert_eq!(all.flatten(), resources("cpus:15"));
    assert_eq!(all.with_role(&role("x")), resources("cpus(x):15"));
    assert_eq!(all.with_role(&Role::any()), resources("cpus:15"));
}

#[test]
fn a_task_is_cut_from_its_roles_reservations_first_and_then_from_what_is_free() {
    let offer = resources("cpus:1;cpus(eng):2;cpus(eng/web):0.5;mem:64;ports:[1-5];ports(eng):[8-9]");
    let wanted = resources("cpus:3.25;mem:32;ports:[5-5, 8-8]");
    let found = offer.find(&wanted, &role("eng/web")).expect("enough");
    assert_eq!(
        found.to_string(),
        "cpus:0.75; cpus(eng):2; cpus(eng/web):0.5; mem:32; ports:[5-5]; ports(eng):[8-8]"
    );
    assert_eq!(offer.find(&wanted, &role("eng")), None, "eng/web's half cpu is not for eng");
    assert_eq!(offer.find(&wanted, &Role::any()), None);
    assert_eq!(offer.find(&Resources::new(), &Role::any()), Some(Resources::new()));
}

#[test]
fn a_volume_is_never_cut_up_for_plain_disk_and_is_found_when_named() {
    let offer =
        Resources::from_iter([volume("data", "db", 64), Resource::scalar(Name::cpus(), Milli::whole(1))]);
    assert_eq!(offer.find(&resources("disk:1"), &role("eng")), None);
    let named = Resources::from_iter([volume("data", "db", 64)]);
    assert_eq!(offer.find(&named, &role("eng")), Some(named));
}

#[test]
fn revocable_cpus_serve_only_who_asks_for_them() {
    let mut revocable = Resource::scalar(Name::cpus(), Milli::whole(4));
    revocable.key.revocable = true;
    let offer = Resources::from_iter([revocable.clone()]);
    assert_eq!(offer.find(&resources("cpus:1"), &Role::any()), None);
    assert_eq!(offer.find(&offer, &Role::any()), Some(offer.clone()));
    assert!(offer.non_revocable().is_empty());
    assert_eq!(offer.revocable(), offer);
}

#[test]
fn values_of_different_kinds_under_one_name_stay_apart() {
    let mixed = resources("ports:[1-2];ports:5");
    assert_eq!(mixed.iter().len(), 2);
    assert_eq!(mixed.checked_sub(&resources("ports:5")), Some(resources("ports:[1-2]")));
    assert_eq!(mixed.find(&resources("ports:3"), &Role::any()), Some(resources("ports:3")));
}

#[test]
fn adding_a_hundred_thousand_entries_is_quick() {
    let many: Resources = (0..100_000)
        .map(|i| Resource::scalar(Name::new(format!("r{i}")).expect("valid"), Milli::whole(1)))
        .collect();
    let mut sum = many.clone();
    sum.add(&many);
    assert_eq!(sum.checked_sub(&many), Some(many));
}

#[test]
fn a_clone_and_a_filter_that_keeps_everything_share_what_they_have() {
    let machine = resources("cpus:4;mem:1024;ports:[31000-32000]");
    let mut other = machine.clone();
    assert!(machine.shares_with(&other));
    assert!(machine.shares_with(&machine.allocatable_to(&Role::any())));
    assert!(machine.shares_with(&sum(&[&machine, &Resources::new()])));
    assert_eq!(machine.checked_sub(&Resources::new()).map(|left| left.shares_with(&machine)), Some(true));
    assert!(machine.saturating_sub(&Resources::new()).shares_with(&machine));

    // Whoever changes one of them leaves the others as they are.
    other.add(&resources("cpus:1"));
    assert!(!machine.shares_with(&other));
    assert_eq!(machine, resources("cpus:4;mem:1024;ports:[31000-32000]"));
    assert_eq!(other, resources("cpus:5;mem:1024;ports:[31000-32000]"));
    assert_eq!(machine.filter(|key| key.name == Name::mem()), resources("mem:1024"));
    assert_eq!(std::mem::size_of::<Resources>(), 8);
}

#[test]
fn nothing_is_one_value_however_it_came_about() {
    let some = resources("cpus:4;mem:1024");
    let ways = [
        some.checked_sub(&some).expect("all of it is there"),
        some.saturating_sub(&some),
        some.filter(|_| false),
        Resources::from_iter([Resource::scalar(Name::cpus(), Milli::ZERO)]),
        sum(&[]),
    ];
    for nothing in ways {
        assert_eq!(nothing, Resources::new());
        assert!(nothing.is_empty());
    }
}

#[test]
fn plain_amounts_need_no_room_of_their_own() {
    assert!(std::mem::size_of::<Quantities>() <= 56);
    for (at, name) in super::name::PLAIN.iter().enumerate() {
        assert_eq!(name.plain(), Some(at));
        assert_eq!(Quantities::from_iter([(name.clone(), Milli::new(1))]).get(name.as_str()), Milli::new(1));
    }
    // They are the first in order, so that those behind them are sorted as well.
    assert!(super::name::PLAIN.is_sorted());
    assert!(super::name::PLAIN.iter().all(|plain| *plain < Name::ports()));
}

// ---- laws

/// Few identities and small values, so that entries meet often; whole ones among them.
fn entry() -> impl Strategy<Value = Resource> {
    let reservations = prop_oneof![
        3 => Just(vec![]),
        1 => Just(vec![dynamic("eng", Labels::new())]),
        1 => Just(resources("cpus(eng):1").iter().next().expect("one").key.reservations.clone()),
        1 => Just(vec![dynamic("eng", Labels::new()), dynamic("eng/web", Labels::new())]),
    ];
    let scalar = (prop_oneof![Just("cpus"), Just("mem"), Just("x")], 0..5_000u64)
        .prop_map(|(name, amount)| Resource::scalar(Name::new(name).expect("valid"), Milli::new(amount)));
    let ports = (0..20u64, 0..6u64)
        .prop_map(|(begin, length)| Resource::ranges(Name::ports(), Ranges::from(begin..=begin + length)));
    let set = proptest::collection::btree_set("[a-d]", 0..3).prop_map(|items| Resource {
        key: ResourceKey::plain(Name::new("licences").expect("valid")),
        value: ResourceValue::Set(crate::ItemSet::of(items).expect("plain items")),
    });
    let divisible =
        (prop_oneof![4 => scalar, 2 => ports, 1 => set], reservations, proptest::bool::weighted(0.2))
            .prop_map(|(mut resource, reservations, revocable)| {
                resource.key.reservations = reservations;
                resource.key.revocable = revocable;
                resource
            });
    let whole = prop_oneof![
        (prop_oneof![Just("v1"), Just("v2")], 1..3u64, any::<bool>()).prop_map(|(id, size, shared)| {
            let mut resource = volume(id, "path", size);
            resource.key.shared = shared;
            resource
        }),
        (1..3u64).prop_map(|size| mount("/mnt", size)),
    ];
    prop_oneof![5 => divisible, 1 => whole]
}

fn entries() -> impl Strategy<Value = Vec<Resource>> {
    proptest::collection::vec(entry(), 0..8)
}

fn any_resources() -> impl Strategy<Value = Resources> {
    entries().prop_map(Resources::from_iter)
}

/// Resources that the text form can say.
fn plain_resources() -> impl Strategy<Value = Resources> {
    let parts = (any_resources(), any_resources(), any_resources());
    parts.prop_map(|(free, eng, web)| {
        let plain = |part: &Resources| part.non_revocable().filter(|key| !key.is_whole());
        let mut all = plain(&free).flatten();
        all.add(&plain(&eng).with_role(&role("eng")));
        all.add(&plain(&web).with_role(&role("eng/web")));
        all
    })
}

fn sum(parts: &[&Resources]) -> Resources {
    parts.iter().copied().sum()
}

fn is_canonical(all: &Resources) -> bool {
    let entries: Vec<&Resource> = all.iter().collect();
    entries.iter().all(|entry| !entry.value.is_empty())
        && entries.windows(2).all(|pair| {
            let same_slot = pair[0].key == pair[1].key && pair[0].value.kind_cmp(&pair[1].value).is_eq();
            pair[0] <= pair[1] && (pair[0].key.is_whole() || !same_slot)
        })
}

proptest! {
    #[test]
    fn the_order_of_summands_does_not_matter(list in entries(), seed in any::<u64>()) {
        let all = Resources::from_iter(list.clone());
        prop_assert!(is_canonical(&all), "{all}");
        let mut shuffled = list.clone();
        let mut state = seed;
        for i in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            shuffled.swap(i, (state >> 33) as usize % (i + 1));
        }
        prop_assert_eq!(&Resources::from_iter(shuffled.clone()), &all);
        let mut inserted = Resources::new();
        for resource in shuffled {
            inserted.insert(resource);
            prop_assert!(is_canonical(&inserted), "{inserted}");
        }
        prop_assert_eq!(inserted, all);
    }

    #[test]
    fn sums_commute_and_associate(a in any_resources(), b in any_resources(), c in any_resources()) {
        prop_assert_eq!(sum(&[&a, &b]), sum(&[&b, &a]));
        prop_assert_eq!(sum(&[&sum(&[&a, &b]), &c]), sum(&[&a, &sum(&[&b, &c])]));
        prop_assert_eq!(sum(&[&a, &Resources::new()]), a);
    }

    #[test]
    fn a_sum_contains_its_parts_and_what_is_taken_can_be_put_back(
        a in any_resources(), b in any_resources(),
    ) {
        let all = sum(&[&a, &b]);
        prop_assert!(all.contains(&a) && all.contains(&b));
        let left = all.checked_sub(&b).expect("contained");
        prop_assert!(is_canonical(&left), "{left}");
        prop_assert_eq!(sum(&[&left, &b]), all);
    }

    #[test]
    fn what_is_more_than_the_other_and_what_covers_both_add_up(a in any_resources(), b in any_resources()) {
        let (more, all) = (a.saturating_sub(&b), a.covering(&b));
        prop_assert!(is_canonical(&more) && is_canonical(&all), "{more} {all}");
        prop_assert!(a.contains(&more) && all.contains(&a) && all.contains(&b));
        prop_assert_eq!(&all, &b.covering(&a));
        prop_assert_eq!(sum(&[&b, &more]), all.clone());
        prop_assert_eq!(all.checked_sub(&b), Some(more));
        prop_assert!(a.saturating_sub(&a).is_empty());
    }

    #[test]
    fn adding_then_taking_gives_back_the_same_where_no_number_or_item_is_in_both(
        a in any_resources(), b in any_resources(),
    ) {
        let numbered = |key: &ResourceKey| key.name == Name::ports() || key.name == *"licences";
        if !a.filter(numbered).intersects(&b.filter(numbered)) {
            prop_assert_eq!(sum(&[&a, &b]).checked_sub(&b), Some(a));
        }
    }

    #[test]
    fn containing_and_being_able_to_take_agree(a in any_resources(), b in any_resources()) {
        prop_assert_eq!(a.contains(&b), a.checked_sub(&b).is_some());
        prop_assert!(a.contains(&a) && a.contains(&Resources::new()));
        if a.contains(&b) && b.contains(&a) {
            prop_assert_eq!(&a, &b);
        }
        if a.contains(&b) && !b.is_empty() {
            prop_assert!(a.intersects(&b));
        }
        prop_assert_eq!(a.intersects(&b), b.intersects(&a));
    }

    #[test]
    fn a_collection_is_what_is_unreserved_and_what_is_reserved_role_by_role(a in any_resources()) {
        let mut parts = a.unreserved();
        for (role, reserved) in a.reserved() {
            prop_assert_eq!(&reserved, &a.reserved_to(&role));
            prop_assert!(is_canonical(&reserved));
            parts.add(&reserved);
        }
        prop_assert_eq!(&parts, &a);
        prop_assert_eq!(sum(&[&a.revocable(), &a.non_revocable()]), a.clone());
        prop_assert_eq!(sum(&[&a.shared(), &a.non_shared()]), a);
    }

    #[test]
    fn quantities_of_scalars_add_up(a in any_resources(), b in any_resources()) {
        let names = ["cpus", "mem", "disk"];
        let scalars = |all: &Resources| all.filter(|key| !key.shared && names.contains(&key.name.as_str()));
        let (a, b) = (scalars(&a), scalars(&b));
        let mut both = a.quantities();
        both.add_all(&b.quantities());
        prop_assert_eq!(sum(&[&a, &b]).quantities(), both.clone());
        prop_assert_eq!(both.checked_sub(&b.quantities()), Some(a.quantities()));
        let (some, others) = (a.quantities(), b.quantities());
        prop_assert_eq!(some.contains(&others), some.checked_sub(&others).is_some());
        if a.contains(&b) {
            prop_assert!(a.quantities().contains(&b.quantities()));
        }
    }

    #[test]
    fn quantities_of_any_order_of_additions_are_equal(
        list in proptest::collection::vec(("cpus|gpus|mem|disk|ports|x|y", 0..5_000u64), 0..12),
        taken in proptest::collection::vec(("cpus|gpus|mem|disk|ports|x|y", 0..5_000u64), 0..12),
    ) {
        let named = |list: &[(String, u64)]| -> Vec<(Name, Milli)> {
            let one = |(name, amount): &(String, u64)| (Name::new(name).expect("valid"), Milli::new(*amount));
            list.iter().map(one).collect()
        };
        let (list, taken) = (named(&list), named(&taken));
        let all = Quantities::from_iter(list.iter().cloned());
        prop_assert_eq!(&Quantities::from_iter(list.iter().rev().cloned()), &all);

        // As sums by name have it.
        let mut sums: BTreeMap<Name, Milli> = BTreeMap::new();
        for (name, amount) in list {
            let sum = sums.entry(name).or_default();
            *sum = sum.saturating_add(amount);
        }
        sums.retain(|_, amount| !amount.is_zero());
        prop_assert!(all.iter().eq(sums.iter().map(|(name, amount)| (name, *amount))));
        prop_assert_eq!(all.is_empty(), sums.is_empty());

        let taken = Quantities::from_iter(taken);
        let left = all.saturating_sub(&taken);
        for name in ["cpus", "gpus", "mem", "disk", "ports", "x", "y"] {
            prop_assert_eq!(left.get(name), all.get(name).saturating_sub(taken.get(name)));
        }
        prop_assert!(left.iter().all(|(_, amount)| !amount.is_zero()));
        let mut both = left;
        both.add_all(&taken);
        prop_assert_eq!(all.contains(&taken), both == all);
    }

    #[test]
    fn flattening_keeps_every_scalar(a in any_resources()) {
        for name in ["cpus", "mem", "x"] {
            prop_assert_eq!(a.flatten().scalar(name), a.scalar(name));
        }
        prop_assert!(a.flatten().reserved().next().is_none());
    }

    #[test]
    fn what_is_found_is_there_and_is_what_was_wanted(have in plain_resources(), want in plain_resources()) {
        let web = role("eng/web");
        let wanted = want.flatten();
        match have.find(&wanted, &web) {
            Some(found) => {
                prop_assert!(have.allocatable_to(&web).contains(&found));
                prop_assert_eq!(found.flatten(), wanted);
            }
            None => prop_assert!(!have.allocatable_to(&web).flatten().contains(&wanted)),
        }
    }

    #[test]
    fn the_text_form_round_trips(a in plain_resources()) {
        prop_assert_eq!(a.to_string().parse::<Resources>(), Ok(a));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in r"[a-c0-9:;()\[\]{}.*/ -]{0,16}") {
        if let Ok(all) = text.parse::<Resources>() {
            prop_assert!(is_canonical(&all));
        }
    }
}
