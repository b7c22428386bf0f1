//! `bourse completion`: what a shell needs to complete verbs and flags.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

/// Print a completion script
///
/// Examples:
///   bourse completion bash > /etc/bash_completion.d/bourse
///   bourse completion zsh > "${fpath[1]}/_bourse"
///   bourse completion fish > ~/.config/fish/completions/bourse.fish
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    shell: Shell,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    // Not straight to standard output: the generator panics when nobody reads.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "bourse", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}
