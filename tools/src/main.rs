//! The one binary: serve, status, promote, demo and the rest. Each subcommand is a file of [`commands`].
#![forbid(unsafe_code)]

mod ask;
mod cli;
mod commands;
mod exit;
mod input;
mod log;
mod table;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
