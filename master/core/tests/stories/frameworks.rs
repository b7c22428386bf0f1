//! Frameworks subscribe, fail over, and end.

use bourse_master_core::event::{Call, Command, Event, Subscription};
use bourse_types::{Principal, Role, TaskState};
use expect_test::expect;

use crate::text;
use crate::world::*;

#[test]
fn a_new_framework_is_written_down_before_it_is_told_its_id() {
    let mut w = World::new();
    let stream = w.stream();
    w.check(
        subscribes(stream, framework_info(&["*"])),
        expect![[r#"
        persist framework m-0000 subscribed
        m-0000@1 <- Subscribed m-0000 heartbeat 15s
    "#]],
    );
}

#[test]
fn a_framework_without_a_role_has_the_role_of_everybody() {
    let mut w = World::new();
    let framework = w.framework(&[]);
    assert_eq!(w.view().framework(&framework.id).expect("subscribed").info.roles, [Role::any()]);
}

#[test]
fn a_newer_subscription_takes_over_and_the_older_one_gets_an_error() {
    let mut w = World::new();
    w.agent(MACHINE);
    let old = w.framework(&["*"]);
    let stream = w.stream();
    w.check(
        old.again(stream, framework_info(&["*"])),
        expect![[r#"
        close stream 1: Framework failed over: a newer subscription took over
        m-0000@2 <- Subscribed m-0000 heartbeat 15s
        m-0000@2 <- Offers m-O1 (m-S0 * cpus:4; mem:1024; ports:[31000-31009])
    "#]],
    );
    w.settle();
    w.expect(expect![[r#"
        close stream 1: Framework failed over: a newer subscription took over
        m-0000@2 <- Subscribed m-0000 heartbeat 15s
        m-0000@2 <- Offers m-O1 (m-S0 * cpus:4; mem:1024; ports:[31000-31009])
    "#]]);
    // Stale: the older stream ends, and its calls do not count.
    w.check(old.closes(), expect![[""]]);
    w.check(old.call(Call::Teardown), expect![[""]]);
}

#[test]
fn a_framework_that_is_back_within_its_failover_timeout_keeps_its_tasks() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.check(
        framework.closes(),
        expect![[r#"
        persist framework m-0000 disconnected, 60s left
    "#]],
    );
    w.pass_hearing(secs(59), &[agent.as_str()]);
    w.expect(expect![[""]]);
    let stream = w.stream();
    w.check(
        framework.again(stream, framework_info(&["*"])),
        expect![[r#"
        persist framework m-0000 connected
        m-0000@2 <- Subscribed m-0000 heartbeat 15s
        m-0000@2 <- Offers m-O1 (m-S0 * cpus:3; mem:960; ports:[31000-31009])
    "#]],
    );
    w.pass_hearing(secs(59), &[agent.as_str()]);
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Running));
}

#[test]
fn a_framework_that_is_not_back_in_time_is_torn_down_and_its_tasks_are_killed() {
    let mut w = World::new();
    let (agent, _, framework) = w.running();
    w.apply(framework.closes());
    w.pass_hearing(secs(60), &[agent.as_str()]);
    w.expect(expect![[r#"
        persist framework m-0000 removed
        m-S0@1 <- ShutdownFramework m-0000
    "#]]);
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Killed));
}

#[test]
fn a_failover_timeout_of_zero_means_torn_down_at_once() {
    let mut w = World::new();
    w.agent(MACHINE);
    let mut info = framework_info(&["*"]);
    info.failover_timeout = secs(0);
    let framework = w.subscribe(info);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    w.check(
        framework.closes(),
        expect![[r#"
        persist framework m-0000 removed
        close stream 1: Framework has been removed
        m-S0@1 <- ShutdownFramework m-0000
    "#]],
    );
}

#[test]
fn a_torn_down_framework_kills_its_tasks_with_its_reason_and_is_kept_for_people() {
    let mut w = World::new();
    let (_, _, framework) = w.running();
    w.check(
        framework.call(Call::Teardown),
        expect![[r#"
        persist framework m-0000 removed
        close stream 1: Framework has been removed
        m-S0@1 <- ShutdownFramework m-0000
    "#]],
    );
    let view = w.view();
    let task = view.task(&framework.id, &task_id("t1")).expect("kept");
    let last = task.latest().expect("told");
    assert_eq!((last.state, last.reason), (TaskState::Killed, Some(bourse_types::Reason::FrameworkRemoved)));
}

#[test]
fn the_id_of_a_torn_down_framework_is_refused() {
    let mut w = World::new();
    let framework = w.framework(&["*"]);
    w.check(
        operate(Command::Teardown { framework: framework.id.clone() }),
        expect![[r#"
        persist framework m-0000 removed
        close stream 1: Framework has been removed
        reply TornDown { framework: m-0000 }
    "#]],
    );
    let stream = w.stream();
    w.check(
        framework.again(stream, framework_info(&["*"])),
        expect![[r#"
        close stream 2: Framework has been removed; subscribe without an id to start a new one
    "#]],
    );
    // A repeat is answered the same, and an id that never was is not found.
    w.check(
        operate(Command::Teardown { framework: framework.id }),
        expect![[r#"
        reply TornDown { framework: m-0000 }
    "#]],
    );
    w.check(
        operate(Command::Teardown { framework: framework_id("nobody") }),
        expect![[r#"
        refuse NotFound("there is no framework nobody; list them with `bourse frameworks`")
    "#]],
    );
}

#[test]
fn an_agent_that_was_away_shuts_a_torn_down_framework_down_when_it_is_back() {
    let mut w = World::new();
    let (agent, link, framework) = w.running();
    w.apply(Event::AgentLinkClosed { agent: agent.clone(), link });
    w.apply(framework.call(Call::Teardown));
    let back = w.link();
    let known = report(&framework.id, "t1", &agent, "cpus:1;mem:64", TaskState::Running);
    let mut info = framework_info(&["*"]);
    info.id = Some(framework.id.clone());
    w.check(
        registers_with(back, Some(&agent), MACHINE, vec![known], vec![info]),
        expect![[r#"
        m-S0@2 <- Registered m-S0 heartbeat 15s known []
        m-S0@2 <- ShutdownFramework m-0000
    "#]],
    );
}

#[test]
fn subscribing_again_changes_everything_but_user_checkpoint_and_principal() {
    let mut w = World::new();
    let framework = w.framework(&["*"]);
    let mut info = framework_info(&["*"]);
    (info.name, info.user, info.checkpoint) = ("api".to_owned(), "root".to_owned(), false);
    let stream = w.stream();
    w.check(
        framework.again(stream, info),
        expect![[r#"
        close stream 1: Framework failed over: a newer subscription took over
        persist framework m-0000 subscribed
        m-0000@2 <- Subscribed m-0000 heartbeat 15s
    "#]],
    );
    let view = w.view();
    let kept = &view.framework(&framework.id).expect("subscribed").info;
    assert_eq!((kept.name.as_str(), kept.user.as_str(), kept.checkpoint), ("api", "", true));
}

#[test]
fn somebody_else_can_not_take_a_framework_over() {
    let mut w = World::new();
    let stream = w.stream();
    w.apply(Event::Subscribes { stream, subscription: Box::new(of("alice", None)) });
    let stream = w.stream();
    let taken = of("mallory", Some("m-0000"));
    w.check(
        Event::Subscribes { stream, subscription: Box::new(taken) },
        expect![[r#"
        close stream 2: framework m-0000 belongs to principal alice; subscribe with that principal's token
    "#]],
    );
}

#[test]
fn roles_that_make_no_sense_are_refused_by_an_error_on_the_stream() {
    let mut w = World::new();
    let stream = w.stream();
    w.check(
        subscribes(stream, framework_info(&["a", "a"])),
        expect![[r#"
        close stream 1: role a is listed twice; list each role once
    "#]],
    );
    let subscription =
        Subscription { info: framework_info(&["a"]), suppressed: vec![role("b")], principal: None };
    w.check(Event::Subscribes { stream, subscription: Box::new(subscription) }, expect![[r#"
        close stream 1: suppressed role b is not among the framework's roles; add it to the roles or do not suppress it
    "#]]);
}

#[test]
fn offers_of_a_role_that_the_framework_leaves_are_rescinded_and_its_tasks_stay() {
    let mut w = World::new();
    w.agent(MACHINE);
    let framework = w.framework(&["a", "b"]);
    w.launch(&framework, "t1", "cpus:1;mem:64");
    w.pass(secs(6));
    w.expect(expect![[""]]);
    let held = w.view().offer(&w.offer_of(&framework)).expect("outstanding").role.clone();
    let stays = if held == role("a") { "b" } else { "a" };
    let info = Box::new(framework_info(&[stays]));
    w.check(
        framework.call(Call::UpdateFramework { info, suppressed: vec![] }),
        expect![[r#"
        persist framework m-0000 subscribed
        m-0000@1 <- Rescind m-O1
        m-0000@1 <- Offers m-O2 (m-S0 a cpus:3; mem:960; ports:[31000-31009])
    "#]],
    );
    assert_eq!(w.state_of(&framework, "t1"), Some(TaskState::Staging));
}

#[test]
fn an_update_that_makes_no_sense_changes_nothing() {
    let mut w = World::new();
    let framework = w.framework(&["a"]);
    let info = Box::new(framework_info(&["b"]));
    w.check(framework.call(Call::UpdateFramework { info, suppressed: vec![role("c")] }), expect![[""]]);
    assert_eq!(w.view().framework(&framework.id).expect("subscribed").info.roles, [role("a")]);
}

#[test]
fn offers_are_taken_back_when_the_scheduler_disconnects_and_no_filter_is_set() {
    let mut w = World::new();
    w.agent(MACHINE);
    let gone = w.framework(&["*"]);
    let other = w.framework(&["*"]);
    assert_eq!((w.offers_of(&gone).len(), w.offers_of(&other).len()), (1, 0));
    w.apply(gone.closes());
    w.settle();
    w.expect(expect![[r#"
        persist framework m-0000 disconnected, 60s left
        m-0001@2 <- Offers m-O1 (m-S0 * cpus:4; mem:1024; ports:[31000-31009])
    "#]]);
    let stream = w.stream();
    w.apply(gone.again(stream, framework_info(&["*"])));
    let offer = w.offer_of(&other);
    w.apply(other.decline(&[&offer], secs(60)));
    w.settle();
    w.expect(expect![[r#"
        m-0000@3 <- Offers m-O2 (m-S0 * cpus:4; mem:1024; ports:[31000-31009])
    "#]]);
}

/// A subscription of this principal, under this id if there is one.
fn of(principal: &str, id: Option<&str>) -> Subscription {
    Subscription {
        info: bourse_types::FrameworkInfo { id: id.map(framework_id), ..framework_info(&["*"]) },
        suppressed: vec![],
        principal: Some(Principal::new(principal).expect("a literal")),
    }
}

#[test]
fn an_id_that_this_master_has_yet_to_give_is_refused() {
    let mut w = World::new();
    let stream = w.stream();
    let foreseen = Box::new(of("mallory", Some("m-0000")));
    w.check(Event::Subscribes { stream, subscription: foreseen }, expect![[r#"
        close stream 1: framework id m-0000 is one that this master gives, and it has not given it; subscribe without an id to be given one
    "#]]);
    // One of an earlier master is adopted: the registry may have been lost.
    let stream = w.stream();
    let earlier = Box::new(of("bob", Some("old-0000")));
    w.check(
        Event::Subscribes { stream, subscription: earlier },
        expect![[r#"
        persist framework old-0000 subscribed
        old-0000@2 <- Subscribed old-0000 heartbeat 15s
    "#]],
    );
}

#[test]
fn a_new_framework_is_never_given_the_id_of_another_one() {
    let mut w = World::new();
    // An agent tells of a framework under an id that is to come.
    let link = w.link();
    let known =
        report(&framework_id("m-0000"), "t1", &agent_id("old-S0"), "cpus:1;mem:64", TaskState::Running);
    let foreseen = bourse_types::FrameworkInfo { id: Some(framework_id("m-0000")), ..framework_info(&["*"]) };
    w.apply(registers_with(link, Some(&agent_id("old-S0")), MACHINE, vec![known], vec![foreseen]));
    let framework = w.framework(&["*"]);
    assert_eq!(framework.id, framework_id("m-0001"));
}

#[test]
fn a_principal_has_a_thousand_frameworks_at_most_and_all_together_ten_thousand() {
    use bourse_master_core::frameworks::{FRAMEWORKS_MAX, FRAMEWORKS_PER_PRINCIPAL_MAX};
    let mut registry = bourse_master_core::Snapshot::default();
    let mut add = |principal: &str, count: usize| {
        for n in 0..count {
            let mut info = of(principal, Some(&format!("{principal}-{n}"))).info;
            info.principal = Some(Principal::new(principal).expect("a literal"));
            let id = info.id.clone().expect("just given");
            let at = START_WALL;
            registry.apply(&bourse_master_core::Change::FrameworkSubscribed { id, info, at });
        }
        registry.clone()
    };
    let mut w = World::remembering(add("mallory", FRAMEWORKS_PER_PRINCIPAL_MAX));
    let stream = w.stream();
    let subscription = Box::new(of("mallory", None));
    w.check(Event::Subscribes { stream, subscription }, expect![[r#"
        close stream 1: principal mallory has 1000 frameworks, and may not have more; subscribe with the id of one of them, or tear down those that nobody needs: `bourse frameworks` lists them
    "#]]);
    // A known one may come back, and somebody else is not in the way.
    for subscription in [of("mallory", Some("mallory-7")), of("alice", None)] {
        let stream = w.stream();
        w.apply(Event::Subscribes { stream, subscription: Box::new(subscription) });
        assert!(text::effects(&w.last).contains("Subscribed"), "{}", text::effects(&w.last));
    }
    let others = FRAMEWORKS_MAX - FRAMEWORKS_PER_PRINCIPAL_MAX;
    let mut w = World::remembering(add("others", others));
    let stream = w.stream();
    let subscription = Box::new(of("alice", None));
    w.check(Event::Subscribes { stream, subscription }, expect![[r#"
        close stream 1: there are 10000 frameworks, and there may not be more; subscribe with the id of a known one, or let an operator tear down those that nobody needs: `bourse frameworks` lists them
    "#]]);
}
