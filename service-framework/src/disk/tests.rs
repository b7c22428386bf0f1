use std::collections::BTreeSet;

use super::*;
use bourse_hostile::{damaged, judged, text as damaged_text};
use bourse_types::{Now, Source, TaskStatus};
use proptest::prelude::*;
use proptest::sample::select;

fn state() -> (Wanted, Seen) {
    let mut wanted = Wanted::new(vec![]);
    let text = "# as written\nname = \"web\"\ncommand = \"serve\"\nports = [\"http\"]\n";
    wanted.deploy(text, "web.toml").expect("right");
    wanted.scale("web", 2).expect("it is there");
    let mut seen = Seen::default();
    seen.next_task = 7;
    let web = ServiceName::new("web").expect("a name");
    for index in 0..2 {
        let instance = Instance {
            task: TaskId::new(format!("web.{index}.{}", 5 + index)).expect("an id"),
            agent: AgentId::new("a1").expect("an id"),
            hostname: "host-1".into(),
            ports: vec![31_000],
            version: 2,
            size: Some(Size {
                resources: "cpus:0.1; cpus(web):0.2; mem:128; ports:[31000-31000]".parse().expect("valid"),
                limits: [(Name::cpus(), None), (Name::mem(), Some(Milli::whole(256)))].into(),
            }),
            resize: None,
            checked: true,
            state: TaskState::Staging,
            healthy: None,
            message: None,
            launched: Wall(1_000),
            running: Some(Wall(2_000)),
            since: Mono::ZERO,
            since_wall: Wall(2_000),
            heard: Mono::ZERO,
            told: false,
            kill: Some(KillSent { why: KillReason::Updated, sent: false }),
        };
        seen.enter(SlotName { service: web.clone(), index }, instance);
    }
    let mut end =
        TaskStatus::new(TaskId::new("web.1.6").expect("an id"), TaskState::Failed, Source::Agent, Wall(9));
    end.exit = Some(bourse_types::Exit::Code(3));
    let now = Now { mono: Mono::ZERO, wall: Wall(9_000) };
    if let Some(instance) = seen.instance_mut(&end.task_id) {
        instance.kill = None;
    }
    seen.hear(&wanted, now, &end);
    for slot in seen.slots.values_mut() {
        if let Some(retry) = &mut slot.retry {
            retry.at = Mono::ZERO;
        }
    }
    (wanted, seen)
}

fn written(wanted: &Wanted, seen: &Seen) -> Vec<(String, Vec<u8>)> {
    let services = wanted.services.iter().map(|(name, service)| (service_key(name), service_value(service)));
    let groups: BTreeSet<_> = seen.slots.keys().map(group_of).collect();
    let slots =
        groups.into_iter().map(|group| (group_key(&group), group_value(seen, &group).expect("not empty")));
    services.chain(slots).chain([(next_key(), next_value(seen.next_task))]).collect()
}

fn read_all(values: &[(String, Vec<u8>)]) -> Result<(Wanted, Seen), BadState> {
    read(vec![], values.iter().map(|(key, value)| (key.as_str(), value.as_slice())))
}

#[test]
fn what_was_written_is_read_back_the_same() {
    let (wanted, seen) = state();
    let (wanted_again, seen_again) = read_all(&written(&wanted, &seen)).expect("just written");
    assert_eq!(wanted_again, wanted);
    assert_eq!(seen_again, seen);
    seen_again.check().expect("the index agrees");
}

/// Key and JSON of each value.
fn values() -> Vec<(String, String)> {
    let (wanted, seen) = state();
    let json = |value: Vec<u8>| String::from_utf8(value[9..].to_vec()).expect("JSON is text");
    written(&wanted, &seen).into_iter().map(|(key, value)| (key, json(value))).collect()
}

fn damaged_values() -> impl Strategy<Value = (String, Vec<u8>)> {
    select(values()).prop_flat_map(|(key, json)| {
        // What is only damaged comes no further than its checksum.
        let (plain, forged) = (damaged(Just(whole(&json))), damaged_text(Just(json)));
        (Just(key), prop_oneof![plain, forged.prop_map(|json| whole(&json))])
    })
}

proptest! {
    #[test]
    fn a_damaged_value_is_refused_in_words_or_comes_back((key, value) in damaged_values()) {
        let values = [(key, value)];
        if let Some((wanted, seen)) = judged(|| read_all(&values)) {
            let (wanted_again, seen_again) = read_all(&written(&wanted, &seen)).expect("it was taken as it was");
            prop_assert_eq!(wanted_again, wanted);
            prop_assert_eq!(seen_again, seen);
        }
    }
}

#[test]
fn no_task_id_is_given_twice_though_the_counter_was_lost() {
    let (wanted, seen) = state();
    let mut values = written(&wanted, &seen);
    values.retain(|(key, _)| key != NEXT);
    let (_, again) = read_all(&values).expect("just written");
    assert_eq!(again.next_task, 6, "web.0.5 is in flight");
}

/// A value as it is written, with its checksum.
fn whole(json: &str) -> Vec<u8> {
    format!("{:08x} {json}", crc32fast::hash(json.as_bytes())).into_bytes()
}

#[test]
fn a_value_of_a_later_format_or_another_program_is_refused_and_says_what_to_do() {
    for (key, value, expected) in [
        (
            "service/web",
            "{",
            "the value under \"service/web\" cannot be read; was it written by another program?",
        ),
        (
            "slots/web.0",
            "{\"format\": 2, \"what\": 1}",
            "the value under \"slots/web.0\" has format 2, and this version reads up to 1; run the later version",
        ),
        (
            "other",
            "{}",
            "the key \"other\" is not one of this framework; give it a state directory of its own",
        ),
        (
            "service/web",
            "{\"format\":1,\"text\":\"name = 1\",\"file\":\"\",\"count\":1,\"version\":1,\"template_version\":1}",
            "service web has a definition that this version does not take; deploy a corrected file with the version \
             that took it",
        ),
    ] {
        let bad = read_all(&[(key.to_owned(), whole(value))]).expect_err(key);
        assert_eq!(bad.to_string(), expected);
    }
}

#[test]
fn a_bit_that_flipped_and_a_value_that_was_cut_are_refused() {
    let (wanted, seen) = state();
    for (at, (key, value)) in written(&wanted, &seen).into_iter().enumerate() {
        let damaged = |value: Vec<u8>| {
            let mut values = written(&wanted, &seen);
            values[at].1 = value;
            matches!(read_all(&values), Err(BadState::Damaged(_)))
        };
        for byte in 0..value.len() {
            let mut flipped = value.clone();
            flipped[byte] ^= 1;
            assert!(damaged(flipped) || byte == 8, "byte {byte} of {key}");
            assert!(damaged(value[..byte].to_vec()), "{key} cut to {byte}");
        }
    }
}

#[test]
fn fields_of_a_later_version_are_left_alone() {
    let value =
        whole("{\"format\": 1, \"slots\": {\"3\": {\"ends\": 3, \"colour\": \"blue\"}}, \"mood\": 1}");
    let (_, seen) = read_all(&[("slots/web.0".to_owned(), value)]).expect("readable");
    let slots: Vec<_> = seen.slots.iter().map(|(name, slot)| (name.to_string(), slot.ends)).collect();
    assert_eq!(slots, [("web.3".to_owned(), 3)]);
}

#[test]
fn slots_are_written_in_groups() {
    let service = ServiceName::new("web").expect("a name");
    let mut seen = Seen::default();
    for index in [0, 63, 64, 9_999] {
        seen.slots.insert(SlotName { service: service.clone(), index }, Slot::default());
    }
    let groups: BTreeSet<_> = seen.slots.keys().map(group_of).collect();
    let keys: Vec<_> = groups.iter().map(group_key).collect();
    assert_eq!(keys, ["slots/web.0", "slots/web.1", "slots/web.156"]);
    assert_eq!(group_value(&seen, &(service, 2)), None);
}

#[test]
fn a_wait_goes_on_with_what_was_left_of_it_by_the_wall_clock() {
    let (wanted, mut seen) = state();
    let left = |seen: &Seen, now: Now| {
        let retry = seen.slots.values().find_map(|slot| slot.retry).expect("one backs off");
        retry.at.since(now.mono)
    };
    let half_later = Now { mono: Mono(5_000_000_000), wall: Wall(9_500) };
    seen.wake(&wanted, half_later);
    assert_eq!(left(&seen, half_later).as_millis(), 500);
    // Somebody set the clock back by a day: a wait is never longer than the definition allows.
    let yesterday = Now { mono: Mono(0), wall: Wall(0) };
    let mut seen = state().1;
    seen.slots
        .values_mut()
        .filter_map(|slot| slot.retry.as_mut())
        .for_each(|retry| retry.wall = Wall(86_400_000));
    seen.wake(&wanted, yesterday);
    assert_eq!(left(&seen, yesterday).as_secs(), 60);
}
