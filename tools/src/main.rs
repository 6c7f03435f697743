//! The one binary: serve, status, promote, demo and the rest. Each subcommand is a file of [`commands`].
#![forbid(unsafe_code)]
// They panic when the reader has gone away: see `out`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod ask;
mod cli;
mod commands;
mod exit;
mod input;
mod log;
mod out;
mod table;
mod top;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli).and_then(|()| out::end()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
