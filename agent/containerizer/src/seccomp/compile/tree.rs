//! A program that finds the answer to a call by halves, and not by asking for each number in a row.
//!
//! The kernel checks and translates a program anew for each process that it is given to, so that every step of it is part of
//! what the start of a task takes, and of each call whose answer the kernel does not remember. Calls that are answered
//! alike have numbers side by side, mostly: what is kept are the ranges, and what they answer is found in as many steps as
//! they can be halved.

use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, TargetArch, sock_filter};

use super::{ARCH, Calls};

/// The most steps that the kernel takes (`BPF_MAXINSNS` in linux/bpf_common.h).
const STEPS_MAX: usize = 4096;

/// The furthest that a step which decides leads.
const REACH: usize = u8::MAX as usize;

/// What calls have in their number that come by x32 (`__X32_SYSCALL_BIT` in asm/unistd.h). They come under the machine's own
/// architecture, so that a profile that allows what it does not name would allow them all, those that it forbids among
/// them. They are killed, as libseccomp does where a profile does not ask for that architecture.
const X32_BIT: u32 = 0x4000_0000;

/// No call: so a tracer has one skipped, and the programs are asked again after it (seccomp(2)).
const SKIPPED: u32 = u32::MAX;

/// All numbers from one on, up to the next range, and the steps with which they are answered. Each way through these ends
/// in an answer.
type Range = (u32, BpfProgram);

/// A program that answers `those` to these calls and `others` to all others, and kills what is not the machine's own.
pub fn program(
    calls: Calls,
    others: &SeccompAction,
    those: &SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let conditional = |calls: Calls| -> Result<BpfProgram, BackendError> {
        SeccompFilter::new(calls, others.clone(), those.clone(), ARCH.0)?.try_into()
    };
    // Asks for the architecture, and then answers.
    let mut program: BpfProgram = conditional(Calls::new())?;
    program.pop();
    program.push(step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0));

    let mut ranges: Vec<Range> = Vec::new();
    let mut from = 0;
    for (number, alternatives) in calls {
        // Those of the kernel are all below the bit of x32.
        let Ok(number @ 0..X32_BIT) = u32::try_from(number) else { continue };
        if from < number {
            add(&mut ranges, from, vec![answer(others)]);
        }
        let steps = match alternatives.is_empty() {
            true => vec![answer(those)],
            // Asks once more what is known by then: what is right by itself is right here.
            false => conditional(Calls::from([(i64::from(number), alternatives)]))?,
        };
        add(&mut ranges, number, steps);
        from = number + 1;
    }
    add(&mut ranges, from, vec![answer(others)]);
    if ARCH.0 == TargetArch::x86_64 {
        add(&mut ranges, X32_BIT, vec![answer(&SeccompAction::KillProcess)]);
        add(&mut ranges, SKIPPED, vec![answer(others)]);
    }

    program.extend(halved(&ranges));
    match program.len() {
        0..STEPS_MAX => Ok(program),
        steps => Err(BackendError::FilterTooLarge(steps)),
    }
}

fn add(ranges: &mut Vec<Range>, from: u32, steps: BpfProgram) {
    if ranges.last().is_none_or(|(_, last)| *last != steps) {
        ranges.push((from, steps));
    }
}

/// Steps that find the range of the number that was loaded, and do what is to be done there.
fn halved(ranges: &[Range]) -> BpfProgram {
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let [(from, steps), ..] = upper else { return BpfProgram::new() };
    if lower.is_empty() {
        return steps.clone();
    }
    let lower = halved(lower);
    let is_upper = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    let mut all = match lower.len() {
        near @ 0..=REACH => vec![step(is_upper, near as u8, 0, *from)],
        far => vec![step(is_upper, 0, 1, *from), step(libc::BPF_JMP | libc::BPF_JA, 0, 0, far as u32)],
    };
    all.extend(lower);
    all.extend(halved(upper));
    all
}

fn answer(action: &SeccompAction) -> sock_filter {
    step(libc::BPF_RET | libc::BPF_K, 0, 0, action.clone().into())
}

fn step(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}
