//! From a profile to programs for the kernel.
//!
//! A program has one answer for the calls that it names and one for all others, so that a profile with several answers
//! becomes several programs. The kernel asks all of them and takes the strictest answer (seccomp(2)): for each answer but
//! "allow" there is a program that gives it to the calls of its rules and lets all others pass, and one program gives the
//! default to the calls that no rule names at all. No call is so refused in two ways with different errors.
//!
//! All of them are about the machine's own calls: those of other architectures, x32 among them, are killed by each program.

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use seccompiler::{
    BackendError, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule, TargetArch,
    sock_filter,
};
use syscalls::Sysno;

use super::Filters;
use super::profile::{Action, Argument, Comparison, Conditions, Profile, Rule};
use crate::user;

/// The error of a refusal that names none, as Docker has it: EPERM.
const ERRNO_DEFAULT: u32 = 1;

#[cfg(target_arch = "x86_64")]
const ARCH: (TargetArch, &str) = (TargetArch::x86_64, "amd64");
#[cfg(target_arch = "aarch64")]
const ARCH: (TargetArch, &str) = (TargetArch::aarch64, "arm64");

/// The calls that an answer is given to, each with the alternatives of what its arguments have to be; without one it is
/// given whatever they are.
type Calls = BTreeMap<i64, Vec<SeccompRule>>;

/// For a task as this agent makes them, on a machine with this version of the kernel.
pub fn compile(profile: &Profile, kernel: (u32, u32)) -> Result<Filters, BackendError> {
    let default = answer(profile.default_action, profile.default_errno_ret);
    let mut answers: Vec<(SeccompAction, Calls)> = Vec::new();
    let mut named = Calls::new();
    for rule in profile.syscalls.iter().filter(|rule| holds(rule, kernel)) {
        let answer = answer(rule.action, rule.errno_ret);
        // It says what is so without it, and a program of its own would refuse what another rule allows of the same
        // call. runc skips it, too (`matchCall` in its libcontainer/seccomp).
        if answer == default {
            continue;
        }
        if answers.iter().all(|(known, _)| *known != answer) {
            answers.push((answer.clone(), Calls::new()));
        }
        let answered = answers.iter_mut().filter(|(known, _)| *known == answer).map(|(_, calls)| calls);
        for calls in answered.chain([&mut named]) {
            for number in rule.names.iter().chain(&rule.name).filter_map(|name| number(name)) {
                add(calls, number, alternatives(rule)?);
            }
        }
    }
    let refusals = answers.into_iter().filter(|(answer, _)| *answer != SeccompAction::Allow);
    let mut programs = refusals
        .map(|(answer, calls)| program(calls, SeccompAction::Allow, answer))
        .collect::<Result<Vec<_>, _>>()?;
    // Last, as the others are installed by a call that it may refuse.
    if default != SeccompAction::Allow {
        programs.push(program(named, default, SeccompAction::Allow)?);
    }
    Ok(Filters(programs))
}

/// `None` for what this architecture does not have.
fn number(name: &str) -> Option<i64> {
    // The kernel's name where there is no older call to be told from; the crate has it without the "new" on aarch64.
    let names = [name, if name == "newfstatat" { "fstatat" } else { name }];
    names.iter().find_map(|name| Sysno::from_str(name).ok()).map(|number| i64::from(number.id()))
}

fn answer(action: Action, errno: Option<u32>) -> SeccompAction {
    match action {
        Action::Allow => SeccompAction::Allow,
        Action::Errno => SeccompAction::Errno(errno.unwrap_or(ERRNO_DEFAULT)),
        Action::KillThread => SeccompAction::KillThread,
        Action::KillProcess => SeccompAction::KillProcess,
        Action::Trap => SeccompAction::Trap,
        Action::Log => SeccompAction::Log,
    }
}

/// More alternatives for a call, or none for whatever its arguments are; one that is named so stays so.
fn add(calls: &mut Calls, number: i64, alternatives: Vec<SeccompRule>) {
    match calls.get_mut(&number) {
        None => drop(calls.insert(number, alternatives)),
        Some(known) if known.is_empty() => {}
        Some(known) if alternatives.is_empty() => known.clear(),
        Some(known) => known.extend(alternatives),
    }
}

/// What the arguments have to be: one of these, or anything if there is none.
///
/// All that a rule says has to hold. But where it says several things of one argument, each of all that it says is an
/// alternative: so runc reads profiles (`matchCall` in its libcontainer/seccomp), and who lists values of an argument
/// means any of them.
fn alternatives(rule: &Rule) -> Result<Vec<SeccompRule>, BackendError> {
    let arguments = rule.args.as_deref().unwrap_or_default();
    let conditions = arguments.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    let indexes: BTreeSet<u8> = arguments.iter().map(|argument| argument.index).collect();
    let alternatives: Vec<Vec<SeccompCondition>> = if indexes.len() < conditions.len() {
        conditions.into_iter().map(|condition| vec![condition]).collect()
    } else if conditions.is_empty() {
        Vec::new()
    } else {
        vec![conditions]
    };
    alternatives.into_iter().map(SeccompRule::new).collect()
}

fn condition(argument: &Argument) -> Result<SeccompCondition, BackendError> {
    let (operator, value) = match argument.op {
        Comparison::NotEqual => (SeccompCmpOp::Ne, argument.value),
        Comparison::Less => (SeccompCmpOp::Lt, argument.value),
        Comparison::LessOrEqual => (SeccompCmpOp::Le, argument.value),
        Comparison::Equal => (SeccompCmpOp::Eq, argument.value),
        Comparison::GreaterOrEqual => (SeccompCmpOp::Ge, argument.value),
        Comparison::Greater => (SeccompCmpOp::Gt, argument.value),
        Comparison::MaskedEqual => (SeccompCmpOp::MaskedEq(argument.value), argument.value_two),
    };
    SeccompCondition::new(argument.index, SeccompCmpArgLen::Qword, operator, value)
}

fn program(calls: Calls, others: SeccompAction, those: SeccompAction) -> Result<Vec<u8>, BackendError> {
    Ok(bytes(&tree::program(calls, &others, &those)?))
}

/// As `struct sock_filter` is laid out (linux/filter.h).
fn bytes(program: &[sock_filter]) -> Vec<u8> {
    let step = |step: &sock_filter| {
        let [c0, c1] = step.code.to_ne_bytes();
        let [k0, k1, k2, k3] = step.k.to_ne_bytes();
        [c0, c1, step.jt, step.jf, k0, k1, k2, k3]
    };
    program.iter().flat_map(step).collect()
}

/// Whether a rule's conditions hold.
fn holds(rule: &Rule, kernel: (u32, u32)) -> bool {
    let here = |conditions: &Conditions| conditions.arches.iter().any(|arch| arch == ARCH.1);
    let new_enough = |version: &String| kernel >= version_of(version);
    let included = rule.includes.as_ref().is_none_or(|conditions| {
        conditions.caps.iter().all(|name| user::keeps(name))
            && (conditions.arches.is_empty() || here(conditions))
            && conditions.min_kernel.as_ref().is_none_or(new_enough)
    });
    let excluded = rule.excludes.as_ref().is_some_and(|conditions| {
        conditions.caps.iter().any(|name| user::keeps(name))
            || here(conditions)
            || conditions.min_kernel.as_ref().is_some_and(new_enough)
    });
    included && !excluded
}

/// The first two numbers of a kernel's version; what cannot be read is the oldest.
pub fn version_of(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests;
