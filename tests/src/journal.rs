//! What a framework of a test did and was told, in a file that outlives it.
//!
//! A line a fact. A launch is written before the call leaves, so that what the framework launched is always a part of
//! what is written, however it ends. What was written and did not leave is told by the next life: it does not know it.
//! A line that was cut short by the kill is no fact: what it was about was not yet saved or acknowledged either.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bourse_types::{Exit, TaskId, TaskStatus};

/// Ends a line that the writer's last life did not end.
const CUT: &str = " (cut)";

/// The writing end.
#[derive(Debug)]
pub struct Pen {
    file: File,
}

/// The reading end.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
}

/// What is known of one task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// The exit code that it must have when it comes to its end by itself.
    pub code: i32,
    /// The framework was killed before the launch was durable, and so before it left.
    pub unsent: bool,
    /// All states that were told, in this order, each with its exit code: a signal counts as 128 and its number.
    pub told: Vec<(String, Option<i32>)>,
}

impl Pen {
    /// Goes on with the file, or begins it.
    pub fn open(path: &Path) -> std::io::Result<Pen> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            let mut last = [0];
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(CUT.as_bytes())?;
                file.write_all(b"\n")?;
            }
        }
        Ok(Pen { file })
    }

    /// This task is about to be launched, and will exit with `code`.
    pub fn launch(&mut self, task: &TaskId, code: i32) {
        self.line(&format!("launch {task} {code}"));
    }

    /// A life begins, in which these tasks are known to have been launched and not to have ended.
    pub fn life(&mut self, alive: &[TaskId]) {
        let alive: String = alive.iter().map(|task| format!(" {task}")).collect();
        self.line(&format!("life{alive}"));
    }

    /// This was told.
    pub fn update(&mut self, status: &TaskStatus) {
        let exit = status.exit.map_or("-".to_owned(), |exit: Exit| exit.status().to_string());
        self.line(&format!("update {} {} {exit}", status.task_id, status.state.as_str()));
    }

    /// Anything else that a person who reads the journal of a failure wants to know.
    pub fn note(&mut self, text: &str) {
        self.line(&format!("note {text}"));
    }

    /// A line is written at once, so that it is there whatever comes next.
    fn line(&mut self, text: &str) {
        self.file.write_all(format!("{text}\n").as_bytes()).expect("the journal can be written");
    }
}

impl Journal {
    /// Reads what is or will be there.
    pub fn at(path: impl Into<PathBuf>) -> Journal {
        Journal { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tasks so far.
    ///
    /// # Panics
    /// When a line is none that a [`Pen`] writes.
    pub fn read(&self) -> BTreeMap<String, Story> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let mut stories: BTreeMap<String, Story> = BTreeMap::new();
        for line in whole_lines(&text).filter(|line| !line.ends_with(CUT)) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["launch", task, code] => {
                    let code = code.parse().unwrap_or_else(|_| panic!("the journal holds {line:?}"));
                    stories.entry(task.to_owned()).or_default().code = code;
                }
                ["update", task, state, exit] => {
                    let told = (state.to_owned(), exit.parse().ok());
                    stories.entry(task.to_owned()).or_default().told.push(told);
                }
                ["life", ref alive @ ..] => {
                    for (task, story) in &mut stories {
                        story.unsent |= story.told.is_empty() && !alive.contains(&task.as_str());
                    }
                }
                ["note", ..] => {}
                _ => panic!("the journal holds {line:?}"),
            }
        }
        stories
    }

    /// The notes so far.
    pub fn notes(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        whole_lines(&text).filter_map(|line| line.strip_prefix("note ")).map(str::to_owned).collect()
    }
}

/// All lines but one that is just being written: a file grows in steps of pages, and not of writes.
pub(crate) fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text.rfind('\n').map_or("", |end| &text[..end]).lines()
}

impl Story {
    /// The last state, if it is an end: what the framework believes for good.
    pub fn end(&self) -> Option<&(String, Option<i32>)> {
        self.told.last().filter(|(state, _)| {
            let state: Result<bourse_types::TaskState, _> = state.parse();
            state.is_ok_and(|state| state.is_terminal())
        })
    }
}
