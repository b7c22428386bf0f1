//! Stories of single looks, and in `model` a small cluster that does its worst and must converge.

mod model;

use bourse_types::{AgentId, Mono, Now, OfferId, Source, TaskId, TaskState, TaskStatus, Wall};
use expect_test::{Expect, expect};

use super::*;
use crate::explain;
use crate::seen::Heard;

/// A framework without a network: what it wants, sees and holds.
struct Desk {
    wanted: Wanted,
    seen: Seen,
    offers: Vec<Offered>,
    now: Now,
    dealt: u32,
}

fn at(milliseconds: u64) -> Now {
    Now { mono: Mono(milliseconds * 1_000_000), wall: Wall(1_700_000_000_000 + milliseconds) }
}

impl Desk {
    fn new(file: &str) -> Desk {
        let mut wanted = Wanted::new(vec![]);
        wanted
            .deploy(&format!("name = \"web\"\ncommand = \"serve\"\n{file}"), "web.toml")
            .expect("a right file");
        Desk { wanted, seen: Seen::default(), offers: Vec::new(), now: at(0), dealt: 0 }
    }

    fn redeploy(&mut self, file: &str) {
        let text = format!("name = \"web\"\ncommand = \"serve\"\n{file}");
        let (name, _) = self.wanted.deploy(&text, "web.toml").expect("a right file");
        self.seen.pardon(&name);
    }

    fn offer(&mut self, agent: &str, resources: &str) {
        self.dealt += 1;
        self.offers.push(Offered {
            id: OfferId::new(format!("o{}", self.dealt)).expect("an id"),
            agent: AgentId::new(agent).expect("an id"),
            hostname: format!("host-{agent}"),
            role: bourse_types::Role::any(),
            resources: resources.parse().expect("resources"),
            since: self.now.mono,
        });
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now = at(self.now.mono.as_nanos() / 1_000_000 + milliseconds);
    }

    fn look(&mut self) -> Plan {
        let plan = plan(&self.wanted, &self.seen, &self.offers, self.now);
        let used: Vec<_> = used(&plan).collect();
        self.offers.retain(|offer| !used.contains(&&offer.id));
        plan.apply(&mut self.seen, self.now);
        self.seen.check().expect("the index agrees");
        let again = super::plan(&self.wanted, &self.seen, &self.offers, self.now);
        assert!(again.is_empty(), "a second look does more: {again:?}");
        plan
    }

    fn looks(&mut self, expected: Expect) {
        let plan = self.look();
        expected.assert_eq(&explain::lines(&plan).join("\n"));
    }

    fn hear(&mut self, task: &str, state: TaskState) -> Heard {
        self.hear_with(task, state, |_| {})
    }

    fn hear_with(&mut self, task: &str, state: TaskState, more: impl FnOnce(&mut TaskStatus)) -> Heard {
        let task = TaskId::new(task).expect("an id");
        let mut status = TaskStatus::new(task, state, Source::Agent, self.now.wall);
        more(&mut status);
        self.seen.hear(&self.wanted, self.now, &status)
    }

    /// A task has this from now on.
    fn resized(&mut self, task: &str, size: &str) {
        self.hear_with(task, TaskState::Running, |status| status.size = Some(Box::new(size_of(size))));
    }

    /// A resize to this was not done.
    fn not_resized(&mut self, task: &str, size: &str, again: bool) {
        let task = TaskId::new(task).expect("an id");
        self.seen.not_resized(&self.wanted, &task, &size_of(size), again, "there is no room");
    }

    /// Fills all slots on three roomy agents, and lets them run for a minute.
    fn settled(file: &str) -> Desk {
        let mut desk = Desk::new(file);
        for agent in ["a1", "a2", "a3"] {
            desk.offer(agent, "cpus:4; mem:4096; ports:[31000-31099]");
        }
        desk.pass(100);
        for launch in desk.look().launches {
            desk.hear(launch.task.as_str(), TaskState::Running);
        }
        desk.pass(60_000);
        desk.look();
        desk
    }

    fn story(&self) -> String {
        let definition = self.wanted.services.values().next().expect("a service");
        let service = explain::service(definition, &self.seen, self.now);
        let mut text = format!("web {}: {}", service.state, service.reason);
        for index in 0..definition.wanted() {
            let name = SlotName { service: definition.spec.name.clone(), index };
            let slot = explain::slot(definition, self.seen.slots.get(&name), self.now);
            text.push_str(&format!("\n{name} {}: {}", slot.state, slot.reason));
        }
        text
    }
}

fn size_of(resources: &str) -> Size {
    Size::of(resources.parse().expect("resources"))
}

/// The offers that a plan answers.
fn used(plan: &Plan) -> impl Iterator<Item = &OfferId> {
    let launches = plan.launches.iter().map(|launch| &launch.offer);
    launches.chain(plan.resizes.iter().filter_map(|resize| resize.offer.as_ref())).chain(&plan.declines)
}

#[test]
fn instances_are_spread_over_the_agents_that_offer() {
    let mut desk = Desk::new("count = 4\nports = [\"http\"]");
    desk.looks(expect!["revive *"]);
    for agent in ["a1", "a2", "a3"] {
        desk.offer(agent, "cpus:4; mem:4096; ports:[31000-31099]");
    }
    desk.looks(expect![""]);
    desk.pass(100);
    desk.looks(expect![[r#"
        launch web.0.0 on a1 with cpus:0.1; mem:128; ports:[31000-31000]
        launch web.1.1 on a2 with cpus:0.1; mem:128; ports:[31000-31000]
        launch web.2.2 on a3 with cpus:0.1; mem:128; ports:[31000-31000]
        launch web.3.3 on a1 with cpus:0.1; mem:128; ports:[31001-31001]
        suppress *"#]]);
}

#[test]
fn an_offer_waits_a_moment_for_those_of_other_agents() {
    let mut desk = Desk::new("count = 2");
    desk.offer("a1", "cpus:4; mem:4096");
    desk.looks(expect!["revive *"]);
    desk.pass(50);
    desk.offer("a2", "cpus:4; mem:4096");
    desk.looks(expect![""]);
    desk.pass(50);
    desk.looks(expect![[r#"
        launch web.0.0 on a1 with cpus:0.1; mem:128
        launch web.1.1 on a2 with cpus:0.1; mem:128
        suppress *"#]]);
}

#[test]
fn without_spread_the_fullest_agent_with_room_is_taken() {
    let mut desk = Desk::new("count = 2\nspread = \"none\"\n[resources]\ncpus = 1");
    desk.offer("a1", "cpus:4; mem:4096");
    desk.offer("a2", "cpus:2; mem:4096");
    desk.pass(100);
    desk.looks(expect![[r#"
        launch web.0.0 on a2 with cpus:1; mem:128
        launch web.1.1 on a2 with cpus:1; mem:128
        decline o1
        suppress *"#]]);
}

#[test]
fn never_more_than_max_per_agent_run_on_one_agent() {
    let mut desk = Desk::new("count = 3\nmax_per_agent = 1");
    desk.offer("a1", "cpus:4; mem:4096");
    desk.offer("a2", "cpus:4; mem:4096");
    desk.pass(100);
    desk.looks(expect![[r#"
        launch web.0.0 on a1 with cpus:0.1; mem:128
        launch web.1.1 on a2 with cpus:0.1; mem:128
        web.2 lacks: every agent that made an offer runs as many instances of web as max_per_agent allows
        revive *"#]]);
}

#[test]
fn a_slot_that_no_offer_serves_says_what_the_nearest_was_short_of() {
    let mut desk = Desk::new("[resources]\ncpus = 2\nmem = \"1GiB\"");
    expect![[r#"
        web waiting: web.0: waiting: no offer has come yet
        web.0 WAITING: waiting: no offer has come yet"#]]
    .assert_eq(&desk.story());
    desk.offer("a1", "cpus:1.5; mem:4096");
    desk.offer("a2", "cpus:1; mem:512");
    desk.pass(100);
    desk.looks(expect![[r#"
        decline o1
        decline o2
        web.0 lacks: no offer with 2 cpus; the nearest had 1.5 cpus, on host-a1
        revive *"#]]);
    expect![[r#"
        web waiting: web.0: waiting: no offer with 2 cpus; the nearest had 1.5 cpus, on host-a1
        web.0 WAITING: waiting: no offer with 2 cpus; the nearest had 1.5 cpus, on host-a1"#]]
    .assert_eq(&desk.story());
}

#[test]
fn an_instance_that_keeps_ending_backs_off_and_says_so() {
    let mut desk = Desk::settled("");
    for task in ["web.0.0", "web.0.1", "web.0.2"] {
        let exit = |status: &mut TaskStatus| status.exit = Some(bourse_types::Exit::Code(1));
        desk.hear_with(task, TaskState::Failed, exit);
        desk.look();
        if task != "web.0.2" {
            desk.pass(10_000);
            desk.looks(expect!["revive *"]);
            desk.offer("a1", "cpus:4; mem:4096");
            desk.pass(100);
            desk.look();
        }
    }
    expect![[r#"
        web waiting: web.0: backing off 4s after 3 failed attempts; the last: exited with 1
        web.0 BACKING_OFF: backing off 4s after 3 failed attempts; the last: exited with 1"#]]
    .assert_eq(&desk.story());
    desk.pass(3_999);
    desk.looks(expect![""]);
    desk.pass(1);
    desk.looks(expect!["revive *"]);
    expect!["1"].assert_eq(&desk.seen.asked.len().to_string());
}

#[test]
fn an_instance_that_failed_is_tried_on_other_ports() {
    let mut desk = Desk::new("ports = 2");
    let mut tried = Vec::new();
    for _ in 0..4 {
        desk.offer("a1", "cpus:4; mem:4096; ports:[31000-31001, 31005-31008]");
        desk.pass(100);
        for launch in desk.look().launches {
            desk.hear(launch.task.as_str(), TaskState::Failed);
            tried.push(launch.ports);
        }
        desk.pass(60_000);
    }
    // One of ours or of anybody else may hold the lowest: it is not tried for ever, nor is any other.
    assert_eq!(tried, [[31000, 31001], [31005, 31006], [31007, 31008], [31001, 31005]]);
}

#[test]
fn an_instance_that_ran_well_for_long_starts_its_backoff_anew() {
    let mut desk = Desk::settled("");
    desk.hear("web.0.0", TaskState::Failed);
    let slot = desk.seen.slots.values().next().expect("a slot");
    assert_eq!(
        (slot.ends, slot.retry.map(|retry| retry.at)),
        (1, Some(desk.now.mono + Duration::from_secs(1)))
    );
}

#[test]
fn a_scale_down_kills_the_highest_slots_first() {
    let mut desk = Desk::settled("count = 4");
    desk.wanted.scale("web", 2).expect("it is there");
    desk.looks(expect![[r#"
        kill web.3.3 on a1: fewer instances are wanted
        kill web.2.2 on a3: fewer instances are wanted"#]]);
    desk.hear("web.3.3", TaskState::Killed);
    desk.hear("web.2.2", TaskState::Killed);
    desk.looks(expect![""]);
    desk.seen.tidy(&desk.wanted, desk.now);
    assert_eq!(desk.seen.slots.len(), 2);
}

#[test]
fn a_kill_that_an_earlier_process_asked_for_is_asked_for_again() {
    let mut desk = Desk::settled("");
    desk.wanted.remove("web").expect("it is there");
    desk.looks(expect!["kill web.0.0 on a1: its service is being removed"]);
    desk.pass(3_600_000);
    desk.looks(expect![""]);
    desk.seen.wake(&desk.wanted, desk.now);
    desk.looks(expect!["kill web.0.0 on a1: its service is being removed"]);
}

#[test]
fn a_removed_service_is_forgotten_when_its_last_instance_ended() {
    let mut desk = Desk::settled("count = 2");
    desk.wanted.remove("web").expect("it is there");
    desk.look();
    desk.hear("web.0.0", TaskState::Killed);
    assert!(desk.seen.tidy(&desk.wanted, desk.now).1.is_empty());
    desk.hear("web.1.1", TaskState::Killed);
    assert_eq!(desk.seen.tidy(&desk.wanted, desk.now).1.len(), 1);
}

#[test]
fn an_unreachable_instance_is_replaced_after_a_while_and_killed_when_it_returns() {
    let mut desk = Desk::settled("replace_unreachable_after = \"30s\"");
    desk.hear("web.0.0", TaskState::Unreachable);
    desk.pass(29_999);
    desk.looks(expect![""]);
    desk.pass(1);
    desk.looks(expect!["revive *"]);
    desk.offer("a2", "cpus:4; mem:4096");
    desk.pass(100);
    desk.looks(expect![[r#"
        launch web.0.1 on a2 with cpus:0.1; mem:128
        suppress *"#]]);
    desk.hear("web.0.1", TaskState::Running);
    desk.hear("web.0.0", TaskState::Running);
    desk.looks(expect!["kill web.0.0 on a1: it was replaced while it was out of reach"]);
}

#[test]
fn an_unreachable_instance_that_returns_in_time_goes_on() {
    let mut desk = Desk::settled("replace_unreachable_after = \"30s\"");
    desk.hear("web.0.0", TaskState::Unreachable);
    expect![[r#"
        web deploying: web.0: its agent host-a1 has not answered for 0s; replaced in 30s
        web.0 TASK_UNREACHABLE: its agent host-a1 has not answered for 0s; replaced in 30s"#]]
    .assert_eq(&desk.story());
    desk.pass(29_000);
    desk.hear("web.0.0", TaskState::Running);
    desk.pass(60_000);
    desk.looks(expect![""]);
    expect![[r#"
        web running: 
        web.0 TASK_RUNNING: "#]]
    .assert_eq(&desk.story());
}

#[test]
fn a_new_definition_replaces_one_instance_at_a_time() {
    let mut desk = Desk::settled("count = 2");
    desk.redeploy("count = 2\nuser = \"www-data\"");
    desk.looks(expect!["kill web.0.0 on a1: its definition changed"]);
    expect![[r#"
        web deploying: 2 instances of an earlier version to replace; web.0: being killed on host-a1: its definition changed
        web.0 TASK_RUNNING: being killed on host-a1: its definition changed
        web.1 TASK_RUNNING: "#]]
    .assert_eq(&desk.story().replace("1 instance of", "2 instances of"));
    desk.hear("web.0.0", TaskState::Killed);
    desk.looks(expect!["revive *"]);
    desk.offer("a3", "cpus:4; mem:4096");
    desk.pass(100);
    desk.looks(expect![[r#"
        launch web.0.2 on a3 with cpus:0.1; mem:128
        suppress *"#]]);
    desk.hear("web.0.2", TaskState::Running);
    desk.pass(4_999);
    desk.looks(expect![""]);
    desk.pass(1);
    desk.looks(expect!["kill web.1.1 on a2: its definition changed"]);
}

#[test]
fn an_update_that_does_not_come_up_stops_after_its_first_instance() {
    let mut desk = Desk::settled("count = 3");
    desk.redeploy("count = 3\nuser = \"nobody-such\"");
    desk.look();
    desk.hear("web.0.0", TaskState::Killed);
    for _ in 0..5 {
        desk.offer("a3", "cpus:4; mem:4096");
        desk.pass(100);
        for launch in desk.look().launches {
            desk.hear_with(launch.task.as_str(), TaskState::Failed, |status| {
                status.message = Some("no such user".to_owned());
            });
        }
        desk.pass(60_000);
        let plan = desk.look();
        assert!(plan.kills.is_empty(), "{plan:?}");
    }
    expect![[r#"
        web waiting: web.0: waiting: no offer has come yet after 5 failed attempts; the last: no such user
        web.0 WAITING: waiting: no offer has come yet after 5 failed attempts; the last: no such user
        web.1 TASK_RUNNING: 
        web.2 TASK_RUNNING: "#]]
    .assert_eq(&desk.story());
}

#[test]
fn a_health_check_that_is_added_does_not_replace_all_at_once() {
    let mut desk = Desk::settled("count = 3");
    desk.redeploy("count = 3\n[health]\ncommand = \"true\"");
    desk.looks(expect!["kill web.0.0 on a1: its definition changed"]);
}

#[test]
fn a_new_size_is_given_to_one_running_instance_after_the_other() {
    let mut desk = Desk::settled("count = 2");
    desk.redeploy("count = 2\n[resources]\nmem = \"64MiB\"");
    desk.looks(expect!["resize web.0.0 on a1 to cpus:0.1; mem:64"]);
    expect![[r#"
        web deploying: 2 instances to be resized
        web.0 TASK_RUNNING: being resized on host-a1 to cpus:0.1; mem:64
        web.1 TASK_RUNNING: "#]]
    .assert_eq(&desk.story());
    desk.pass(60_000);
    desk.looks(expect![""]);
    desk.resized("web.0.0", "cpus:0.1; mem:64");
    // Taking memory away may end it: the next one waits as for a new instance.
    desk.pass(4_999);
    desk.looks(expect![""]);
    desk.pass(1);
    desk.looks(expect!["resize web.1.1 on a2 to cpus:0.1; mem:64"]);
    desk.resized("web.1.1", "cpus:0.1; mem:64");
    desk.looks(expect![""]);
    expect![[r#"
        web running: 
        web.0 TASK_RUNNING: 
        web.1 TASK_RUNNING: "#]]
    .assert_eq(&desk.story());
}

#[test]
fn other_limits_are_given_without_an_offer() {
    let mut desk = Desk::settled("");
    desk.redeploy("[limits]\ncpus = \"unlimited\"\nmem = \"256MiB\"");
    desk.looks(expect!["resize web.0.0 on a1 to cpus:0.1; mem:128 (at most cpus without limit; mem:256)"]);
}

#[test]
fn an_instance_that_is_to_gain_something_waits_for_an_offer_of_its_agent() {
    let mut desk = Desk::settled("count = 2");
    desk.redeploy("count = 2\n[resources]\nmem = \"256MiB\"");
    desk.looks(expect!["revive *"]);
    expect![[r#"
        web deploying: 2 instances to be resized
        web.0 TASK_RUNNING: waits for host-a1 to offer what it is to gain; replaced in 10s otherwise
        web.1 TASK_RUNNING: "#]]
    .assert_eq(&desk.story());
    desk.offer("a2", "cpus:4; mem:4096");
    desk.offer("a1", "cpus:4; mem:100");
    desk.looks(expect![[r#"
        decline o4
        decline o5"#]]);
    desk.offer("a1", "cpus:4; mem:128");
    desk.looks(expect![[r#"
        resize web.0.0 on a1 to cpus:0.1; mem:256
        suppress *"#]]);
    desk.resized("web.0.0", "cpus:0.1; mem:256");
    desk.pass(5_000);
    desk.looks(expect!["revive *"]);
}

#[test]
fn an_instance_whose_agent_offers_no_room_in_time_is_replaced() {
    let mut desk = Desk::settled("count = 2");
    desk.redeploy("count = 2\n[resources]\nmem = \"256MiB\"");
    desk.looks(expect!["revive *"]);
    desk.pass(9_999);
    desk.looks(expect![""]);
    desk.pass(1);
    desk.looks(expect![[r#"
        kill web.0.0 on a1: its definition changed
        suppress *"#]]);
}

#[test]
fn an_instance_whose_resize_is_refused_is_replaced_and_one_whose_resize_was_lost_is_asked_again() {
    let mut desk = Desk::settled("count = 2");
    desk.redeploy("count = 2\n[resources]\nmem = \"64MiB\"");
    desk.look();
    desk.not_resized("web.0.0", "cpus:0.1; mem:64", true);
    desk.looks(expect!["resize web.0.0 on a1 to cpus:0.1; mem:64"]);
    desk.not_resized("web.0.0", "cpus:0.1; mem:64", false);
    expect![[r#"
        web deploying: 2 instances to be resized
        web.0 TASK_RUNNING: cannot be resized on host-a1, so it is replaced: there is no room
        web.1 TASK_RUNNING: "#]]
    .assert_eq(&desk.story());
    desk.looks(expect!["kill web.0.0 on a1: its definition changed"]);
}

#[test]
fn a_definition_that_changes_while_an_instance_is_resized_is_made_true_after_the_answer() {
    let mut desk = Desk::settled("");
    desk.redeploy("[resources]\nmem = \"64MiB\"");
    desk.look();
    desk.redeploy("[resources]\nmem = \"32MiB\"");
    desk.looks(expect![""]);
    desk.resized("web.0.0", "cpus:0.1; mem:64");
    desk.looks(expect!["resize web.0.0 on a1 to cpus:0.1; mem:32"]);
    desk.redeploy("user = \"www-data\"\n[resources]\nmem = \"32MiB\"");
    desk.resized("web.0.0", "cpus:0.1; mem:32");
    desk.looks(expect!["kill web.0.0 on a1: its definition changed"]);
}

#[test]
fn an_instance_whose_size_nobody_wrote_down_is_replaced() {
    let mut desk = Desk::settled("");
    desk.seen.instance_mut(&TaskId::new("web.0.0").expect("an id")).expect("it runs").size = None;
    desk.redeploy("[resources]\nmem = \"64MiB\"");
    desk.looks(expect!["kill web.0.0 on a1: its definition changed"]);
}

#[test]
fn an_instance_moves_away_from_an_agent_that_is_drained() {
    let mut desk = Desk::settled("count = 3");
    desk.seen.draining.insert(AgentId::new("a2").expect("an id"));
    desk.looks(expect!["kill web.1.1 on a2: its agent is being drained"]);
    desk.hear("web.1.1", TaskState::Killed);
    desk.offer("a2", "cpus:4; mem:4096");
    desk.pass(100);
    desk.looks(expect![[r#"
        decline o4
        revive *"#]]);
    desk.offer("a3", "cpus:4; mem:4096");
    desk.pass(100);
    desk.looks(expect![[r#"
        launch web.1.3 on a3 with cpus:0.1; mem:128
        suppress *"#]]);
}

#[test]
fn a_launch_that_nobody_answers_for_is_asked_about() {
    let mut desk = Desk::new("");
    desk.offer("a1", "cpus:4; mem:4096");
    desk.pass(100);
    desk.look();
    desk.pass(60_000);
    desk.looks(expect!["ask about web.0.0"]);
    assert_eq!(
        desk.hear("web.0.0", TaskState::Gone),
        Heard::Ended(SlotName { service: crate::spec::ServiceName::new("web").expect("a name"), index: 0 })
    );
    desk.looks(expect!["revive *"]);
}

#[test]
fn a_task_that_nobody_knows_and_that_runs_is_a_stranger() {
    let mut desk = Desk::new("");
    assert_eq!(desk.hear("web.0.77", TaskState::Running), Heard::Stranger);
    assert_eq!(desk.hear("web.0.77", TaskState::Killed), Heard::Nothing);
}

#[test]
fn every_service_gets_its_first_instance_before_any_gets_its_second() {
    let mut desk = Desk::new("count = 2\n[resources]\ncpus = 1");
    desk.wanted
        .deploy("name = \"api\"\ncommand = \"x\"\ncount = 2\n[resources]\ncpus = 1", "")
        .expect("right");
    desk.offer("a1", "cpus:2; mem:4096");
    desk.pass(100);
    desk.looks(expect![[r#"
        launch api.0.0 on a1 with cpus:1; mem:128
        launch web.0.1 on a1 with cpus:1; mem:128
        api.1 lacks: no offer with 1 cpus; the nearest had 0 cpus, on host-a1
        web.1 lacks: no offer with 1 cpus; the nearest had 0 cpus, on host-a1
        revive *"#]]);
}

#[test]
fn a_service_is_spread_by_its_own_instances_before_those_of_others() {
    let mut desk = Desk::new("");
    desk.offer("a2", "cpus:4; mem:4096");
    desk.pass(100);
    desk.look();
    desk.wanted.deploy("name = \"other\"\ncommand = \"x\"\ncount = 3", "").expect("right");
    desk.offer("a1", "cpus:4; mem:4096");
    desk.pass(100);
    desk.look();
    desk.wanted.scale("web", 2).expect("it is there");
    desk.offer("a1", "cpus:2; mem:2048");
    desk.offer("a2", "cpus:4; mem:4096");
    desk.pass(100);
    desk.looks(expect![[r#"
        launch web.1.4 on a1 with cpus:0.1; mem:128
        decline o4"#]]);
}

#[test]
fn an_instance_that_is_being_killed_keeps_no_other_away() {
    let mut desk = Desk::new("count = 2");
    for agent in ["a1", "a2"] {
        desk.offer(agent, "cpus:4; mem:4096");
    }
    desk.pass(100);
    for launch in desk.look().launches {
        desk.hear(launch.task.as_str(), TaskState::Running);
    }
    desk.pass(60_000);
    desk.redeploy("count = 3\nuser = \"www-data\"");
    desk.wanted.scale("web", 2).expect("it is there");
    desk.looks(expect!["kill web.0.0 on a1: its definition changed"]);
    desk.wanted.scale("web", 3).expect("it is there");
    desk.offer("a1", "cpus:2; mem:2048");
    desk.offer("a2", "cpus:4; mem:4096");
    desk.pass(100);
    desk.looks(expect![[r#"
        launch web.2.2 on a1 with cpus:0.1; mem:128
        decline o4"#]]);
}
