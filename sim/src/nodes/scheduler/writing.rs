//! What a scheduler's driver makes durable, and what it lets out after that.

use std::time::Duration;

use bourse_sdk_core::{Attempt, Call, Output};

use super::{Kept, Running, SchedulerNode};
use crate::coverage;
use crate::letter::Letter;
use crate::net::{ConnId, Side};
use crate::nodes::standstill::{Held, Stoppable};
use crate::plant::{self, Plant};
use crate::workload::Craft;
use crate::world::Outside;

impl SchedulerNode {
    /// What must be durable first; the rest when it is.
    pub(super) fn commit(&mut self, mut outputs: Vec<Output>, outside: &mut Outside) {
        let process = self.process();
        let services = self.is_services();
        let Some(running) = &mut self.running else { return };
        if services && outside.garden.has(Plant::TwoAtATime) {
            let alive = running.session.scheduler().author().alive();
            outputs.extend(plant::another_kill(&outputs, alive.into_keys()));
        }
        let mut tagged = Vec::new();
        let before = running.decided;
        for output in outputs {
            outside.say(process, format_args!("-> {output}"));
            outside.coverage.note(coverage::output(&output));
            if is_record(&output) {
                running.decided += 1;
            }
            if let Output::Call(Call::Kill { task, .. }) = &output {
                outside.checks.service_killed(self.index, self.life, task);
            }
            tagged.push((running.decided, output));
        }
        if running.decided == before {
            return self.carry_out(tagged, outside);
        }
        if outside.garden.grows(Plant::AcknowledgedBeforeDurable) {
            let (writes, calls) = tagged.into_iter().partition(|(_, output)| is_record(output));
            self.carry_out(calls, outside);
            tagged = writes;
        }
        let takes: Duration = outside.sync_time(process.node);
        if let Some(running) = &mut self.running {
            running.writing = Some(tagged);
            outside.begins_to_write(process, takes);
        }
    }

    fn carry_out(&mut self, outputs: Vec<(u64, Output)>, outside: &mut Outside) {
        let process = self.process();
        let written = self.disk.written() as u64;
        for (after, output) in outputs {
            let Some(running) = &mut self.running else { return };
            match output {
                Output::Subscribe { attempt, info, suppressed } => {
                    let conn = outside.dial(process);
                    running.attempts.insert(conn, attempt);
                    running.opening.insert(conn, Letter::Subscribe { info, suppressed });
                }
                Output::Unsubscribe(attempt) => {
                    if let Some(conn) = conn_of(running, attempt) {
                        outside.net.close(outside.now, conn, Side::Client, &mut outside.agenda);
                    }
                }
                Output::Call(call) => {
                    outside.checks.spoke(process, after, written);
                    if let (Call::Accept { tasks, .. }, Craft::Services) = (&call, &self.craft) {
                        tasks.iter().for_each(|spec| outside.checks.service_launched(self.index, spec));
                    }
                    let newest = running.attempts.keys().next_back().copied();
                    if let Some(conn) = newest {
                        let letter = running.vintage.says(Letter::Call(call));
                        outside.send(conn, Side::Client, letter);
                    }
                }
                Output::Persist(_) | Output::Write(_) | Output::Note(_) => {}
                Output::End(end) => return self.ends(end, outside),
            }
        }
    }

    /// The write is over. On a full disk it has failed, and the process ends with nothing said: a supervisor starts it
    /// until there is room.
    pub fn has_written(&mut self, outside: &mut Outside) {
        if let Some(held) = self.held() {
            return held.push(Held::Written);
        }
        let process = self.process();
        let Some(outputs) = self.running.as_mut().and_then(|running| running.writing.take()) else { return };
        if outside.disks.is_full(process.node) {
            outside.coverage.note("disk.scheduler's write refused");
            return self.stops(outside.random.millis(1_000, 5_000), outside);
        }
        self.write(&outputs);
        self.carry_out(outputs, outside);
        self.works(outside);
    }

    pub(super) fn write(&mut self, outputs: &[(u64, Output)]) {
        for (_, output) in outputs {
            match output {
                Output::Persist(id) => self.disk.write(Kept::Framework(id.clone())),
                Output::Write(write) => self.disk.write(Kept::Write(write.clone())),
                _ => {}
            }
        }
        self.disk.sync();
    }
}

fn is_record(output: &Output) -> bool {
    matches!(output, Output::Persist(_) | Output::Write(_))
}

fn conn_of(running: &Running, attempt: Attempt) -> Option<ConnId> {
    running.attempts.iter().find(|(_, known)| **known == attempt).map(|(conn, _)| *conn)
}
