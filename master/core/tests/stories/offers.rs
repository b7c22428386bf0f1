//! Offers are made, answered, and end exactly once.

use bourse_master_core::Config;
use bourse_master_core::event::{Call, Event};
use bourse_master_core::state::{Due, Part};
use bourse_types::{Mono, TaskState};
use expect_test::expect;
use std::time::Duration;

use crate::world::*;

#[test]
fn one_offer_holds_all_that_is_free_of_one_agent_for_one_role_of_one_framework() {
    let mut w = World::new();
    w.agent(MACHINE);
    w.agent("cpus:2;mem:512");
    let stream = w.stream();
    w.apply(subscribes(stream, framework_info(&["a", "b"])));
    w.settle();
    w.expect(expect![[r#"
        persist framework m-0000 subscribed
        m-0000@1 <- Subscribed m-0000 heartbeat 15s
        m-0000@1 <- Offers m-O0 (m-S1 a cpus:2; mem:512), m-O1 (m-S0 b cpus:4; mem:1024; ports:[31000-31009])
    "#]]);
}

#[test]
fn a_freed_resource_is_offered_again_within_50_milliseconds() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    let uuid = w.uuid();
    // What was left of the accepted offer is filtered for 5 s; with the task's part it is more, and passes.
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Finished, uuid));
    let due = w.master.next_deadline().expect("a pass is due");
    assert!(due.since(w.now().mono) <= Duration::from_millis(50));
    w.settle();
    w.expect(expect![[r#"
        m-0000@1 <- Update t1 TASK_FINISHED SOURCE_EXECUTOR m-S0 #2
        m-0000@1 <- Offers m-O1 (m-S0 * cpus:4; mem:1024; ports:[31000-31009])
    "#]]);
}

#[test]
fn a_declined_offer_is_not_made_again_while_its_filter_lasts() {
    let mut w = World::new();
    let (_, _) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    w.apply(framework.decline(&[&offer], secs(5)));
    w.pass(Duration::from_millis(4_900));
    w.expect(expect![[""]]);
    w.pass(Duration::from_millis(200));
    w.expect(expect![[r#"
        m-0000@1 <- Offers m-O1 (m-S0 * cpus:4; mem:1024; ports:[31000-31009])
    "#]]);
}

#[test]
fn a_part_of_what_was_declined_is_not_offered_while_its_filter_lasts() {
    let mut w = World::new();
    let (agent, link) = w.agent(MACHINE);
    let picky = w.framework(&["*"]);
    let offer = w.offer_of(&picky);
    w.apply(picky.decline(&[&offer], secs(10)));
    // Another takes some of it and leaves the rest.
    let other = w.framework(&["*"]);
    w.launch(&other, "t1", "cpus:1;mem:64");
    w.report(&agent, link, &other, "t1", TaskState::Running);
    w.apply(other.suppress(&[]));
    w.pass(secs(9));
    assert!(w.offers_of(&picky).is_empty());
    w.pass(secs(2));
    w.expect(expect![[r#"
        m-0000@1 <- Offers m-O2 (m-S0 * cpus:3; mem:960; ports:[31000-31009])
    "#]]);
}

#[test]
fn a_larger_offer_passes_the_filter() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    let other = w.framework(&["*"]);
    w.settle();
    w.expect(expect![[r#"
        persist framework m-0001 subscribed
        m-0001@2 <- Subscribed m-0001 heartbeat 15s
        m-0001@2 <- Offers m-O1 (m-S0 * cpus:3; mem:960; ports:[31000-31009])
    "#]]);
    let offer = w.offer_of(&other);
    w.apply(other.decline(&[&offer], secs(3600)));
    let uuid = w.uuid();
    w.apply(framework.suppress(&[]));
    w.apply(update(&agent, link, &framework.id, "t1", TaskState::Finished, uuid));
    w.settle();
    w.expect(expect![[r#"
        m-0000@1 <- Update t1 TASK_FINISHED SOURCE_EXECUTOR m-S0 #2
        m-0001@2 <- Offers m-O2 (m-S0 * cpus:4; mem:1024; ports:[31000-31009])
    "#]]);
}

#[test]
fn refuse_seconds_zero_sets_no_lasting_filter() {
    let mut w = World::new();
    w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    w.apply(framework.decline(&[&offer], secs(0)));
    w.pass(Duration::from_millis(300));
    w.expect(expect![[r#"
        m-0000@1 <- Offers m-O1 (m-S0 * cpus:4; mem:1024; ports:[31000-31009])
    "#]]);
}

#[test]
fn a_filter_lasts_365_days_at_most() {
    let day = secs(24 * 3600);
    // The master is ticked twice a heartbeat, and a year is long.
    let mut w =
        World::with(Config { agent_timeout: 500 * day, heartbeat_interval: day, ..Config::default() });
    w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    w.apply(framework.decline(&[&offer], Duration::MAX));
    w.pass(364 * day);
    assert_eq!(w.offers_of(&framework).len(), 0);
    w.pass(day);
    w.settle();
    assert_eq!(w.offers_of(&framework).len(), 1);
}

#[test]
fn revive_forgets_the_filters_of_its_role() {
    let mut w = World::new();
    w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    w.apply(framework.decline(&[&offer], secs(3600)));
    w.apply(framework.revive(&[]));
    w.settle();
    w.expect(expect![[r#"
        m-0000@1 <- Offers m-O1 (m-S0 * cpus:4; mem:1024; ports:[31000-31009])
    "#]]);
}

#[test]
fn an_update_of_a_framework_forgets_what_it_declined_without_a_look_at_any_agent() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    w.apply(framework.decline(&[&offer], secs(3600)));
    w.settle();
    let before = w.view();
    let info = Box::new(framework_info(&["*"]));
    w.apply(framework.call(Call::UpdateFramework { info, suppressed: vec![role("*")] }));
    w.settle();
    let after = w.view();
    assert!(std::ptr::eq(
        before.agent(&agent).expect("registered"),
        after.agent(&agent).expect("registered")
    ));
    w.apply(framework.revive(&[]));
    w.settle();
    assert_eq!(w.offers_of(&framework).len(), 1);
}

#[test]
fn filters_that_end_one_after_another_wake_their_agent_at_most_ten_times_a_second() {
    let mut w = World::new();
    w.agent(MACHINE);
    // Each is offered the agent 50 ms after the one before it declined.
    for _ in 0..3 {
        let framework = w.framework(&["*"]);
        let offer = w.offer_of(&framework);
        w.apply(framework.decline(&[&offer], secs(60)));
        w.apply(framework.suppress(&[]));
    }
    let looks = |w: &World| -> Vec<Mono> {
        let look = |part| match part {
            Part::Deadline { at, due: Due::Refusals(_) } => Some(at),
            _ => None,
        };
        w.master.parts().filter_map(look).collect()
    };
    let found = looks(&w);
    assert_eq!(found.len(), 1, "an agent has one entry: {found:?}");
    let first = found[0];
    // The first end is seen in time, and the two after it together.
    w.pass(first.since(w.now().mono));
    assert_eq!(looks(&w), [first + Duration::from_millis(100)]);
    w.pass(Duration::from_millis(100));
    assert!(looks(&w).is_empty());
}

#[test]
fn a_suppressed_role_gets_no_offers_until_it_is_revived() {
    let mut w = World::new();
    let framework = w.framework(&["a", "b"]);
    w.apply(framework.suppress(&["a"]));
    w.agent(MACHINE);
    w.settle();
    let offer = w.offer_of(&framework);
    assert_eq!(w.view().offer(&offer).expect("outstanding").role, role("b"));
    w.apply(framework.suppress(&[]));
    w.apply(framework.decline(&[&offer], secs(0)));
    w.pass(secs(2));
    assert!(w.offers_of(&framework).is_empty());
    w.apply(framework.revive(&["a"]));
    w.settle();
    w.expect(expect![[r#"
        m-0000@1 <- Offers m-O1 (m-S0 a cpus:4; mem:1024; ports:[31000-31009])
    "#]]);
}

#[test]
fn roles_can_be_suppressed_from_the_subscription_on() {
    let mut w = World::new();
    w.agent(MACHINE);
    let stream = w.stream();
    let subscription = bourse_master_core::Subscription {
        info: framework_info(&["a"]),
        suppressed: vec![role("a")],
        principal: None,
    };
    w.apply(Event::Subscribes { stream, subscription: Box::new(subscription) });
    w.settle();
    w.expect(expect![[r#"
        persist framework m-0000 subscribed
        m-0000@1 <- Subscribed m-0000 heartbeat 15s
    "#]]);
}

#[test]
fn an_offer_that_is_not_answered_in_time_is_rescinded_and_may_be_made_to_others() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let hangs = w.framework(&["*"]);
    let waits = w.framework(&["*"]);
    w.pass_hearing(secs(119), &[agent.as_str()]);
    w.expect(expect![""]);
    w.pass_hearing(secs(2), &[agent.as_str()]);
    w.expect(expect![[r#"
        m-0000@1 <- Rescind m-O0
        m-0001@2 <- Offers m-O1 (m-S0 * cpus:4; mem:1024; ports:[31000-31009])
    "#]]);
    assert_eq!((w.offers_of(&hangs).len(), w.offers_of(&waits).len()), (0, 1));
}

#[test]
fn somebody_elses_offer_is_neither_declined_nor_accepted() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let holder = w.framework(&["*"]);
    let thief = w.framework(&["*"]);
    let offer = w.offer_of(&holder);
    w.check(thief.decline(&[&offer], secs(5)), expect![[""]]);
    w.check(thief.accept(&[&offer], vec![task_info("t1", &agent, "cpus:1;mem:64")]), expect![[r#"
        m-0001@2 <- Update t1 TASK_DROPPED REASON_INVALID_OFFERS SOURCE_MASTER m-S0 "offer m-O0 is no longer valid: it was rescinded, expired, or answered before; wait for the next one"
    "#]]);
    assert_eq!(w.offers_of(&holder), [offer]);
}

#[test]
fn crumbs_are_not_offered() {
    let mut w = World::new();
    w.agent("cpus:0.005;mem:31;disk:4096");
    let framework = w.framework(&["*"]);
    w.settle();
    assert!(w.offers_of(&framework).is_empty());
    w.agent("cpus:0.005;mem:32");
    w.settle();
    w.expect(expect![[r#"
        persist agent m-S1 admitted
        m-S1@2 <- Registered m-S1 heartbeat 15s known []
        m-0000@1 <- Offers m-O0 (m-S1 * cpus:0.005; mem:32)
    "#]]);
}

#[test]
fn a_framework_may_ask_for_larger_offers_than_the_masters_least() {
    let mut w = World::new();
    w.agent("cpus:2;mem:64");
    let mut info = framework_info(&["*"]);
    info.min_allocatable
        .insert(role("*"), vec![resources("cpus:3").quantities(), resources("mem:512").quantities()]);
    let framework = w.subscribe(info);
    w.settle();
    assert!(w.offers_of(&framework).is_empty());
    w.agent("cpus:1;mem:512");
    w.settle();
    w.expect(expect![[r#"
        persist agent m-S1 admitted
        m-S1@2 <- Registered m-S1 heartbeat 15s known []
        m-0000@1 <- Offers m-O0 (m-S1 * cpus:1; mem:512)
    "#]]);
}

#[test]
fn reserved_resources_are_offered_to_their_role_and_below_only() {
    let mut w = World::new();
    w.agent("cpus(eng):2;mem(eng):512;cpus:1;mem:64");
    let other = w.framework(&["ops"]);
    w.settle();
    w.expect(expect![[r#"
        persist framework m-0000 subscribed
        m-0000@1 <- Subscribed m-0000 heartbeat 15s
        m-0000@1 <- Offers m-O0 (m-S0 ops cpus:1; mem:64)
    "#]]);
    let stream = w.stream();
    w.apply(subscribes(stream, framework_info(&["eng/web"])));
    w.settle();
    w.expect(expect![[r#"
        persist framework m-0001 subscribed
        m-0001@2 <- Subscribed m-0001 heartbeat 15s
        m-0001@2 <- Offers m-O1 (m-S0 eng/web cpus(eng):2; mem(eng):512)
    "#]]);
    assert_eq!(w.offers_of(&other).len(), 1);
}

#[test]
fn agents_with_gpus_are_kept_for_frameworks_that_can_use_them() {
    let mut w = World::new();
    w.agent("cpus:2;mem:512;gpus:1");
    let plain = w.framework(&["*"]);
    w.settle();
    assert!(w.offers_of(&plain).is_empty());
    let mut info = framework_info(&["*"]);
    info.capabilities.gpu = true;
    w.subscribe(info);
    w.settle();
    w.expect(expect![[r#"
        persist framework m-0001 subscribed
        m-0001@2 <- Subscribed m-0001 heartbeat 15s
        m-0001@2 <- Offers m-O0 (m-S0 * cpus:2; gpus:1; mem:512)
    "#]]);
}

#[test]
fn a_framework_that_declines_everything_does_not_keep_another_from_its_turn() {
    let mut w = World::new();
    let (agent, _) = w.agent(MACHINE);
    let (first, second) = (w.framework(&["*"]), w.framework(&["*"]));
    for _ in 0..10 {
        for framework in [&first, &second] {
            for offer in w.offers_of(framework) {
                w.apply(framework.decline(&[&offer], secs(0)));
            }
        }
        w.pass(Duration::from_millis(300));
        w.apply(Event::AgentsHeard { agents: vec![agent.clone()] });
    }
    let served = |sub: &Sub| w.view().framework(&sub.id).expect("subscribed").holdings[&role("*")].served;
    let (a, b) = (served(&first), served(&second));
    assert!(a.abs_diff(b) <= 1, "{a} offers to one and {b} to the other");
}

#[test]
fn no_more_offers_of_an_agent_are_made_than_its_bound_while_none_is_answered() {
    let mut w = World::with(Config { offers_per_agent_max: 2, ..Config::default() });
    let (agent, link) = w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    let tasks = ["a", "b", "c"].map(|id| task_info(id, &agent, "cpus:1;mem:64"));
    w.apply(framework.accept(&[&offer], tasks.to_vec()));
    w.pass(secs(6));
    for task in ["a", "b", "c"] {
        w.report(&agent, link, &framework, task, TaskState::Finished);
        w.settle();
    }
    assert_eq!(w.offers_of(&framework).len(), 2);
}

#[test]
fn a_pass_stops_after_its_slice_and_the_next_one_follows_at_once() {
    let mut w = World::with(Config { allocation_slice: 3, ..Config::default() });
    for _ in 0..7 {
        w.agent("cpus:1;mem:64");
    }
    w.settle();
    let stream = w.stream();
    w.apply(subscribes(stream, framework_info(&["*"])));
    let framework = Sub { id: framework_id("m-0000"), stream };
    assert_eq!(w.offers_of(&framework).len(), 3);
    assert_eq!(w.master.next_deadline(), Some(w.now().mono));
    w.apply(Event::Tick);
    assert_eq!(w.offers_of(&framework).len(), 6);
    w.apply(Event::Tick);
    assert_eq!(w.offers_of(&framework).len(), 7);
}

#[test]
fn a_repeated_decline_changes_nothing() {
    let mut w = World::new();
    w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    w.apply(framework.decline(&[&offer], secs(0)));
    w.check(framework.decline(&[&offer], secs(3600)), expect![[""]]);
    w.pass(secs(1));
    assert_eq!(w.offers_of(&framework).len(), 1);
}

#[test]
fn accepting_without_a_launch_declines() {
    let mut w = World::new();
    w.agent(MACHINE);
    let framework = w.framework(&["*"]);
    let offer = w.offer_of(&framework);
    w.check(framework.accept(&[&offer], vec![]), expect![[""]]);
    w.pass(Duration::from_millis(4_900));
    assert!(w.offers_of(&framework).is_empty());
}
