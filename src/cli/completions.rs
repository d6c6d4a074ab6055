//! `etl completions`: what a shell needs to complete our command line.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output};
use crate::error::Result;

/// Print a script that makes a shell complete commands and options
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  etl completions bash > ~/.local/share/bash-completion/completions/etl
  etl completions zsh > ~/.zfunc/_etl     where `fpath` has ~/.zfunc
  etl completions fish > ~/.config/fish/completions/etl.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the script.
pub fn run(args: &CompletionsArgs) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "etl", &mut script);
    output::print_script(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
