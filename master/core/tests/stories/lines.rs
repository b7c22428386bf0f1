//! What a trace shows.

use bourse_master_core::effect::{Effect, ToAgent};
use bourse_master_core::event::{LinkId, StreamId};
use bourse_master_core::text::Line;
use bourse_types::{FrameworkInfo, Role, TaskState};
use bytes::Bytes;

use crate::world::*;

#[test]
fn a_line_tells_what_happened_and_shows_nothing_of_what_a_task_is_given() {
    let (agent, framework) = (agent_id("m-S0"), framework_id("m-0000"));
    let mut task = task_info("t1", &agent, "cpus:1");
    task.command = "login --password=secret".to_owned();
    task.message = Bytes::from_static(b"secret");
    let sub = Sub { id: framework.clone(), stream: StreamId(2) };
    let accepted = sub.accept(&[&offer_id("m-O0")], vec![task.clone()]);
    assert_eq!(Line(&accepted).to_string(), "Call m-0000 #2 Accept [m-O0] for 5s, t1 on m-S0 with cpus:1");
    let info = FrameworkInfo { id: Some(framework.clone()), ..framework_info(&["*"]) };
    let run = ToAgent::Run { framework: info, role: Role::any(), task: Box::new(task.clone()) };
    let run = Effect::ToAgent { agent: agent.clone(), link: LinkId(3), message: run };
    assert_eq!(Line(&run).to_string(), "m-S0 #3 Run Some(m-0000)/t1 with cpus:1");
    let mut known = report(&framework, "t1", &agent, "cpus:1", TaskState::Running);
    known.task = task;
    let back = registers_with(LinkId(4), Some(&agent), MACHINE, vec![known], vec![]);
    assert_eq!(Line(&back).to_string(), "AgentRegisters #4 Some(m-S0) epoch 1, t1 TASK_RUNNING");
}
