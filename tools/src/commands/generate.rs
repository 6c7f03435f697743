//! `twindisk completions` and `twindisk man`: made from the definition of the command line itself.

use std::{fs, path::PathBuf};

use clap::CommandFactory;

use crate::{cli::Cli, exit::Failure, out};

/// Print a completion script for a shell.
#[derive(clap::Args, Debug)]
pub(crate) struct CompletionArgs {
    /// Which shell
    shell: clap_complete::Shell,
}

/// Write the man pages.
#[derive(clap::Args, Debug)]
pub(crate) struct ManArgs {
    /// Where to [default: the page of `twindisk` to standard output]
    directory: Option<PathBuf>,
}

pub(crate) fn completions(args: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "twindisk", &mut script);
    out::bytes(&script);
    Ok(())
}

pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    let command = Cli::command();
    match &args.directory {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command)
                .render(&mut page)
                .map_err(Failure::error)?;
            out::bytes(&page);
            Ok(())
        }
        Some(directory) => {
            fs::create_dir_all(directory).map_err(Failure::at(directory))?;
            clap_mangen::generate_to(command, directory).map_err(Failure::at(directory))?;
            out::say!("man pages written to {}", directory.display());
            Ok(())
        }
    }
}
