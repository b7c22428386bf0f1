//! `bourse`: the one binary.
//!
//! Four verbs run a part of the cluster (`dev master agent services`), `replay` reads what a master left on its disk; the
//! others are clients of a master. One file a
//! verb in `verbs/`; what they print is made in `render/`; how they end is in `exit.rs`.

mod dev;
mod exit;
mod inherited;
mod logging;
mod print;
mod render;
mod session;
mod shutdown;
mod verbs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::verbs::*;

/// A cluster manager with resource offers.
///
/// Try it on this machine:
///   bourse dev                              a whole cluster: master, three agents, services
///   bourse run -- echo hello                one isolated task
///   bourse service deploy web.toml          a service that is kept running
///   bourse why web                          why something waits
#[derive(Parser)]
#[command(name = "bourse", version, verbatim_doc_comment, after_help = exit::HELP, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Dev(dev::Args),
    Master(Box<master::Args>),
    Agent(Box<agent::Args>),
    Services(Box<services::Args>),
    Run(Box<run::Args>),
    Status(status::Args),
    Ps(ps::Args),
    Task(task::Args),
    Logs(logs::Args),
    Kill(kill::Args),
    Why(why::Args),
    Service(service::Args),
    Agents(agents::Args),
    Drain(drain::Args),
    Reactivate(reactivate::Args),
    Gone(gone::Args),
    Frameworks(frameworks::Args),
    Teardown(teardown::Args),
    Roles(roles::Args),
    Weight(weight::Args),
    Offers(offers::Args),
    Events(events::Args),
    Replay(replay::Args),
    Completion(completion::Args),
}

fn main() -> ExitCode {
    let verb = Cli::parse().verb;
    if let Err(error) = dev::children::heed_parent() {
        fail(format_args!("{error:#}"));
        return ExitCode::from(exit::Exit::Failed as u8);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            fail(format_args!("no threads to run on: {error}"));
            return ExitCode::from(exit::Exit::Failed as u8);
        }
    };
    let is_run = matches!(verb, Verb::Run(_));
    let ended = runtime.block_on(perform(verb));
    // What still reads standard input or a file in a blocking thread must not hold the process.
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(error) if shutdown::is_closed_pipe(&error) && is_run => ExitCode::from(shutdown::NOBODY_READS),
        Err(error) if shutdown::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            fail(format_args!("{error:#}"));
            if is_run { ExitCode::from(exit::RUN_FAILED) } else { exit::code_of(&error) }
        }
    }
}

/// The last word of a process.
fn fail(what: std::fmt::Arguments<'_>) {
    print::say(format_args!("bourse: {what}"));
}

async fn perform(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Run(args) => return run::run(*args).await,
        Verb::Master(args) => return master::run(*args).await,
        Verb::Dev(args) => dev::run(args).await,
        Verb::Agent(args) => return agent::run(*args).await,
        Verb::Services(args) => return services::run(*args).await,
        Verb::Status(args) => status::run(args).await,
        Verb::Ps(args) => ps::run(args).await,
        Verb::Task(args) => task::run(args).await,
        Verb::Logs(args) => logs::run(args).await,
        Verb::Kill(args) => kill::run(args).await,
        Verb::Why(args) => why::run(args).await,
        Verb::Service(args) => service::run(args).await,
        Verb::Agents(args) => agents::run(args).await,
        Verb::Drain(args) => drain::run(args).await,
        Verb::Reactivate(args) => reactivate::run(args).await,
        Verb::Gone(args) => gone::run(args).await,
        Verb::Frameworks(args) => frameworks::run(args).await,
        Verb::Teardown(args) => teardown::run(args).await,
        Verb::Roles(args) => roles::run(args).await,
        Verb::Weight(args) => weight::run(args).await,
        Verb::Offers(args) => offers::run(args).await,
        Verb::Events(args) => events::run(args).await,
        Verb::Replay(args) => replay::run(args),
        Verb::Completion(args) => completion::run(args),
    }
    .map(|()| ExitCode::SUCCESS)
}
