use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::pin::pin;

use bourse_frames::HEAD;
use bourse_hostile::{damaged, judged};
use bourse_master_core::{Call, Config, FrameworkState, LinkId, Subscription};
use bourse_types::{AgentId, Epoch, FrameworkInfo, MasterId, Mono, Role, Wall};
use proptest::prelude::*;

use super::segment::MAGIC;
use super::*;
use crate::driver::tests::{driver_with, registration, settle};
use crate::metrics::event_kind;

/// A master that is told things, and its recording, which is written when the test says so.
struct Desk {
    master: Master,
    recorder: Recorder,
    inbox: mpsc::Receiver<Work>,
    writer: Writer,
    now: Now,
}

impl Desk {
    fn new(folder: &Path, max_bytes: u64) -> Desk {
        let now = Now { mono: Mono(0), wall: Wall(1_000_000) };
        let id = MasterId::new("m").expect("an id");
        let master = Master::new(Config::default(), Epoch(7), id, 0, Default::default(), now);
        let metrics = Metrics::default();
        let (mut recorder, inbox, _) = Recorder::new(&metrics);
        let writer = Writer::new(folder, max_bytes, recorder.wish.clone(), metrics);
        recorder.send(Vec::new(), Some(&master), false);
        Desk { master, recorder, inbox, writer, now }
    }

    /// One event, in a batch of its own.
    fn tell(&mut self, event: Event) {
        self.now.mono = self.now.mono + Duration::from_millis(10);
        self.now.wall = self.now.wall.saturating_add(Duration::from_millis(10));
        let mut effects = Vec::new();
        self.recorder.input(self.now, &event);
        self.master.apply(self.now, event, &mut effects);
        self.recorder.effects(&effects);
        self.recorder.batch(&self.master);
    }

    /// An agent with a long name registers.
    fn agent(&mut self, n: u64) {
        let registration = Box::new(registration(&format!("{}-{n}", "host".repeat(30))));
        self.tell(Event::AgentRegisters { link: LinkId(n), registration });
    }

    fn write(&mut self) {
        while let Ok(work) = self.inbox.try_recv() {
            self.writer.take(work);
        }
    }

    /// The end of it, and where its last segment is.
    fn end(mut self) -> PathBuf {
        self.write();
        self.writer.close(false).expect("writable");
        segment::list(&self.writer.folder).expect("readable").pop().expect("there is a segment").1
    }
}

fn replayed(folder: &Path, epoch: u64) -> Result<(Outcome, Vec<Event>), BadRecording> {
    let mut events = Vec::new();
    let outcome = Recording::open(folder)?.replay(Epoch(epoch), |step| {
        assert!(matches!(step.verdict, Verdict::Same | Verdict::Unknown), "{step:?}");
        assert_eq!(step.master.violations(), Vec::<String>::new());
        events.push(step.event.clone());
        ControlFlow::Continue(())
    })?;
    Ok((outcome, events))
}

/// The same numbers each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

#[tokio::test]
async fn what_is_recorded_is_replayed_to_the_same_effects_and_the_same_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writing = None;
    let (driver, handle, _registry) = driver_with(Config::default(), |master, metrics| {
        let (mut recorder, inbox, _) = Recorder::new(metrics);
        let writer = Writer::new(folder.path(), 64 << 20, recorder.wish.clone(), metrics.clone());
        recorder.send(Vec::new(), Some(master), false);
        writing = Some((recorder.wish.clone(), inbox, writer));
        recorder
    });
    // Written here and not by a thread, so that it never falls behind.
    let (wish, inbox, mut writer) = writing.expect("there is a recorder");
    {
        let mut driving = pin!(driver.run(std::future::pending()));
        let (mut chance, mut links, mut streams) = (Chance(0x5eed), Vec::new(), Vec::new());
        for n in 0..240 {
            let picture = handle.picture();
            let agents = || picture.view.agents().map(|agent| agent.id.clone());
            let offer = picture.view.offers().nth(chance.below(picture.view.offers().count()));
            let framework = picture.view.frameworks().nth(chance.below(streams.len()));
            match (chance.below(6), offer, framework) {
                (0 | 1, ..) if links.len() > 4 => {
                    let (link, _) = links.swap_remove(chance.below(links.len()));
                    handle.close_link(link).await.expect("it is there");
                }
                (2, ..) => {
                    let mut info = FrameworkInfo::new(format!("f{n}"));
                    info.roles = vec![Role::any()];
                    info.capabilities.multi_role = true;
                    let subscription = Subscription { info, suppressed: Vec::new(), principal: None };
                    streams.push(handle.open_stream(subscription).await.expect("it is there"));
                }
                (3, Some(offer), _) => {
                    let framework = picture.view.framework(&offer.framework).expect("it holds an offer");
                    let call =
                        Call::Decline { offers: vec![offer.id.clone()], refuse: Duration::from_millis(300) };
                    if let FrameworkState::Active { stream } = framework.state {
                        let framework = framework.id.clone();
                        handle.tell(Event::Call { framework, stream, call }).await.expect("it is there");
                    }
                }
                (4, _, Some(framework)) => {
                    if let FrameworkState::Active { stream } = framework.state {
                        let (framework, call) = (framework.id.clone(), Call::Revive { roles: Vec::new() });
                        handle.tell(Event::Call { framework, stream, call }).await.expect("it is there");
                    }
                }
                (5, ..) => {
                    handle.tell(Event::AgentsHeard { agents: agents().collect() }).await.expect("it is there")
                }
                _ => {
                    let registration = registration(&format!("host-{n}"));
                    links.push(handle.open_link(registration).await.expect("it is there"));
                }
            }
            if n % 4 == 0 {
                settle(&mut driving, &handle).await;
                inbox.try_iter().for_each(|work| writer.take(work));
            }
            // Offers are made when the pause between two passes is over, and by then there are agents and frameworks.
            while n == 60 && handle.picture().view.offers().next().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
                settle(&mut driving, &handle).await;
            }
            if n % 80 == 79 {
                settle(&mut driving, &handle).await;
                wish.store(SNAPSHOT, Ordering::Release);
                settle(&mut driving, &handle).await;
            }
        }
    }
    inbox.try_iter().for_each(|work| writer.take(work));
    writer.close(false).expect("writable");
    let mut kinds = BTreeSet::new();
    let recording = Recording::open(folder.path()).expect("it is there");
    assert_eq!(recording.epochs().collect::<Vec<_>>(), [Epoch(1)]);
    let outcome = recording.replay(Epoch(1), |step| {
        assert_eq!(step.verdict, Verdict::Same, "{:?}", step.event);
        kinds.insert(event_kind(step.event));
        ControlFlow::Continue(())
    });
    let outcome = outcome.expect("it is whole");
    assert!(outcome.is_same(), "{outcome:?}");
    assert_eq!((outcome.segments, outcome.gaps, outcome.unknown), (4, 0, 0), "{outcome:?}");
    assert!(outcome.inputs >= 200 && outcome.effects >= outcome.inputs, "{outcome:?}");
    let told = ["agent_registers", "agents_heard", "agent_link_closed", "subscribes", "decline", "revive"];
    assert!(told.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
}

#[test]
fn a_flipped_bit_is_told_with_its_place_and_never_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(folder.path(), 64 << 20);
    (0..5).for_each(|n| desk.agent(n));
    let path = desk.end();
    let whole = fs::read(&path).expect("readable");
    assert_eq!(replayed(folder.path(), 7).expect("it is whole").0.inputs, 5);

    for flipped in [MAGIC.len() + 1, MAGIC.len() + HEAD + 2, whole.len() / 2] {
        let mut bytes = whole.clone();
        bytes[flipped] ^= 4;
        fs::write(&path, &bytes).expect("writable");
        match replayed(folder.path(), 7) {
            Err(BadRecording::Damaged { path: told, at, .. }) => {
                assert_eq!(told, path);
                assert!(at <= flipped as u64 && flipped as u64 - at < 1_000, "byte {flipped}, told {at}");
            }
            other => panic!("byte {flipped}: {other:?}"),
        }
    }
}

/// A segment with five agents.
fn segment_of_five() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(folder.path(), 64 << 20);
    (0..5).for_each(|n| desk.agent(n));
    fs::read(desk.end()).expect("readable")
}

proptest! {
    /// Frames have their own checksums, so what is taken was written.
    #[test]
    fn a_damaged_segment_is_refused_in_words_or_has_only_what_was_told(bytes in damaged(Just(segment_of_five()))) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("7-000001.segment"), bytes).expect("writable");
        let recording = Recording::open(folder.path()).expect("there is a segment");
        let mut events = Vec::new();
        judged(|| recording.replay(Epoch(7), |step| {
            events.push(step.event.clone());
            ControlFlow::Continue(())
        }));
        for event in events {
            prop_assert!(matches!(event, Event::AgentRegisters { link: LinkId(0..5), .. }), "{:?}", event);
        }
    }
}

#[test]
fn a_torn_end_is_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(folder.path(), 64 << 20);
    (0..5).for_each(|n| desk.agent(n));
    let path = desk.end();
    let whole = fs::read(&path).expect("readable");
    let mut inputs = BTreeSet::new();
    for length in (0..=whole.len()).rev() {
        fs::write(&path, &whole[..length]).expect("writable");
        let (outcome, events) = replayed(folder.path(), 7).expect("a torn end is no damage");
        assert_eq!(outcome.inputs, events.len() as u64);
        inputs.insert(outcome.inputs);
    }
    assert_eq!(inputs, (0..=5).collect::<BTreeSet<u64>>());
}

#[test]
fn the_oldest_segments_go_and_the_newest_can_be_replayed() {
    const MOST: u64 = 1 << 20;
    let folder = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(folder.path(), MOST);
    desk.agent(0);
    let stranger = AgentId::new("a".repeat(200)).expect("an id");
    for _ in 0..60 {
        // Some 100 KiB that change nothing.
        desk.tell(Event::AgentsHeard { agents: vec![stranger.clone(); 500] });
        desk.write();
        let bytes: u64 =
            segment::list(folder.path()).expect("readable").into_iter().map(|(_, path)| size(&path)).sum();
        assert!(bytes <= MOST, "{bytes}");
    }
    desk.end();
    let segments = segment::list(folder.path()).expect("readable");
    assert!(segments.len() >= 2 && segments[0].0.number > 2, "{segments:?}");
    let (outcome, _) = replayed(folder.path(), 7).expect("it is whole");
    assert!(outcome.is_same() && outcome.unknown == 0 && outcome.gaps == 0, "{outcome:?}");
    assert_eq!(outcome.segments, segments.len() as u64);
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).expect("it is there").len()
}

#[test]
fn a_recorder_that_falls_behind_leaves_a_gap_and_never_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(folder.path(), 64 << 20);
    // Nobody takes anything: it would stand here for ever if it waited.
    (0..3 * QUEUE_MAX as u64).for_each(|n| desk.agent(n));
    assert!(!desk.recorder.following);
    desk.write();
    (100..105).for_each(|n| desk.agent(n));
    desk.end();

    let (outcome, events) = replayed(folder.path(), 7).expect("it is whole");
    assert!(outcome.is_same() && outcome.unknown == 0, "{outcome:?}");
    assert_eq!((outcome.segments, outcome.gaps), (2, 1));
    // Of the queue one place was for the first master; the first event behind the gap goes into the second one.
    assert_eq!(events.len(), QUEUE_MAX - 1 + 4);
}

#[test]
fn a_master_that_is_too_large_for_the_bound_is_not_recorded_until_it_is_smaller_or_the_bound_larger() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::new(folder.path(), 1 << 20);
    for n in 0..1_500 {
        desk.agent(n);
        desk.write();
    }
    assert_eq!(desk.recorder.wish.load(Ordering::Acquire), REST);
    assert!(!desk.recorder.following);
    // What was recorded before it grew is still there, and whole.
    let before = replayed(folder.path(), 7).expect("it is whole").0;
    assert!(before.is_same() && before.inputs > 0, "{before:?}");

    desk.writer.max_bytes = 64 << 20;
    desk.recorder.wish.store(SNAPSHOT, Ordering::Release);
    desk.agent(2_000);
    desk.agent(2_001);
    desk.end();
    let after = replayed(folder.path(), 7).expect("it is whole").0;
    assert!(after.is_same(), "{after:?}");
    assert_eq!((after.inputs, after.gaps), (before.inputs + 1, 1));
}

#[test]
fn a_folder_that_can_not_be_written_is_tried_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("recording");
    fs::write(&place, "somebody's file").expect("writable");
    let mut desk = Desk::new(&place, 64 << 20);
    desk.agent(1);
    desk.write();
    desk.agent(2);
    assert_eq!(desk.recorder.wish.load(Ordering::Acquire), REST);
    fs::remove_file(&place).expect("ours");
    desk.recorder.wish.store(SNAPSHOT, Ordering::Release);
    desk.agent(3);
    desk.agent(4);
    desk.end();
    let (outcome, events) = replayed(&place, 7).expect("it is whole");
    assert!(outcome.is_same() && outcome.gaps == 1, "{outcome:?}");
    assert_eq!(events.len(), 1);
}

#[tokio::test]
async fn a_panic_leaves_a_recording_that_ends_with_the_input_that_caused_it() {
    let work_dir = tempfile::tempdir().expect("a folder");
    let (mut driver, handle, _registry) = driver_with(Config::default(), |master, metrics| {
        let folder = work_dir.path().join(FOLDER);
        Recorder::start(&folder, 64 << 20, master, metrics).expect("a thread")
    });
    driver.trip = Some(|event| matches!(event, Event::AgentsHeard { .. }));
    let running = tokio::spawn(driver.run(std::future::pending()));
    let _link = handle.open_link(registration("host")).await.expect("it is there");
    handle.tell(Event::AgentsHeard { agents: Vec::new() }).await.expect("it is there");
    assert!(running.await.expect_err("it panics").is_panic());

    let crash = fs::read_dir(work_dir.path())
        .expect("readable")
        .map(|entry| entry.expect("readable").path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("crash-")));
    let (outcome, events) = replayed(&crash.expect("it was kept"), 1).expect("it is whole");
    assert!(outcome.crashed && outcome.unknown == 1, "{outcome:?}");
    assert!(
        matches!(&events[..], [Event::AgentRegisters { .. }, .., Event::AgentsHeard { .. }]),
        "{events:?}"
    );
}

/// Who may do what with it.
fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o7777
}

#[test]
fn a_recording_and_what_is_kept_of_a_panic_are_for_the_masters_user_alone() {
    let work_dir = tempfile::tempdir().expect("a folder");
    let folder = work_dir.path().join(FOLDER);
    let mut desk = Desk::new(&folder, 64 << 20);
    desk.agent(1);
    desk.write();
    let (reply, answer) = mpsc::sync_channel(1);
    desk.writer.take(Work::Crashed { inputs: Vec::new(), reply });
    let crash = answer.recv().expect("answered").expect("writable");
    for folder in [&folder, &crash] {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
        let files: Vec<_> = fs::read_dir(folder).expect("readable").flatten().map(|it| it.path()).collect();
        assert!(!files.is_empty(), "{}", folder.display());
        for file in files {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    }
}

#[test]
fn the_segments_are_closed_to_others_also_in_a_folder_that_is_open() {
    let work_dir = tempfile::tempdir().expect("a folder");
    let folder = work_dir.path().join(FOLDER);
    fs::create_dir(&folder).expect("writable");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("ours");
    let mut desk = Desk::new(&folder, 64 << 20);
    desk.write();
    let files = fs::read_dir(&folder).expect("readable").flatten();
    let modes: Vec<u32> = files.map(|file| mode(&file.path())).collect();
    assert_eq!(modes, [0o600]);
}
