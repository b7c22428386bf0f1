//! What nothing could do without: beside each figure, on the same machine in the same minute.

use std::collections::BTreeMap;
use std::hint::black_box;

use bourse_master_core::TaskInfo;
use bourse_types::{TaskId, TaskStatus};

use super::world::Chance;
use crate::figures::Figures;

/// Rounds of what goes over much, each of which is a long one.
const ROUNDS: usize = 5;

/// Records that are made at most: beyond that each takes as long.
const RECORDS_MAX: usize = 100_000;

/// So many agents put into an order, and a number added up for each look at one of them.
pub fn pass(agents: usize, looks: usize) {
    let what = format!("  floor: {agents} keys sorted, {looks} numbers added up");
    let (mut figures, mut chance) = (Figures::new(what), Chance::new());
    let keys: Vec<usize> = (0..agents).map(|_| chance.below(usize::MAX)).collect();
    let numbers: Vec<u64> = (0..looks as u64).collect();
    for _ in 0..ROUNDS {
        let mut keys = keys.clone();
        figures.clock(|| {
            black_box(&mut keys).sort_unstable();
            black_box(black_box(&numbers).iter().sum::<u64>());
        });
    }
    figures.spread();
}

/// A status copied, and three records found among as many as there are tasks.
pub fn update(tasks: usize, status: &TaskStatus, times: usize) {
    let (mut figures, mut chance) =
        (Figures::new(format!("  floor: a status copied, 3 numbers looked up among {tasks}")), Chance::new());
    let records: BTreeMap<u64, u64> = (0..tasks as u64).map(|number| (number, number)).collect();
    for _ in 0..times {
        let keys = [(); 3].map(|()| chance.below(tasks) as u64);
        figures.clock(|| {
            black_box(status.clone());
            black_box(keys.map(|key| records.get(&key).copied()));
        });
    }
    figures.spread();
}

/// So many descriptions of tasks copied, and put into a map by their ids.
pub fn records(count: usize, task: &TaskInfo) {
    let mut figures = Figures::new("  floor: a description of a task copied, and put into a map by its id");
    let mut records = BTreeMap::new();
    for number in 0..count.min(RECORDS_MAX) {
        let id = TaskId::new(format!("t{number}")).expect("a letter with a number is an id");
        figures.clock(|| _ = records.insert(id, task.clone()));
    }
    figures.spread();
}
