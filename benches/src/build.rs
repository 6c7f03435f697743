//! The binary that is measured: built from this tree as it is shipped, unless another one is named.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    failure::{Failure, Result, Trying},
    house::output,
};

/// Cargo's target directory: this program is in `release` or `debug` of it.
///
/// # Errors
/// When this program's own path is not known.
pub fn target_directory() -> Result<PathBuf> {
    let program = std::env::current_exe().trying("this program's path")?;
    let target = program.ancestors().nth(2).map(Path::to_owned);
    target.ok_or_else(|| Failure(format!("{} is in no target directory", program.display())))
}

/// A build of Twindisk.
#[derive(Clone, Debug)]
pub struct Build {
    /// Behind an `@` in names; empty for the one that is measured.
    pub label: String,
    /// The binary.
    pub program: PathBuf,
    /// Where it comes from: a commit, a path, or what the operator calls it.
    pub origin: String,
}

impl Build {
    /// The one that is measured: this program, or what this tree gives.
    ///
    /// # Errors
    /// When it is not there, or does not compile.
    pub fn measured(program: Option<&Path>) -> Result<Self> {
        let (program, origin) = match program {
            Some(program) => {
                let program = fs::canonicalize(program).trying(program.display())?;
                let origin = program.display().to_string();
                (program, origin)
            }
            None => (compiled()?, commit()),
        };
        Ok(Self {
            label: String::new(),
            program,
            origin,
        })
    }

    /// Another one, by `NAME=PROGRAM`.
    ///
    /// # Errors
    /// When that is not how it is written, or it is not there.
    pub fn other(text: &str) -> Result<Self> {
        let parts = text.split_once('=');
        let (label, program) =
            parts.ok_or_else(|| Failure(format!("{text}: it is written NAME=TWINDISK")))?;
        Ok(Self {
            label: label.to_owned(),
            program: fs::canonicalize(program).trying(program)?,
            origin: label.to_owned(),
        })
    }

    /// Its version, and where it comes from.
    ///
    /// # Errors
    /// When it does not run.
    pub fn describe(&self) -> Result<String> {
        let said = output(Command::new(&self.program).arg("--version"))?;
        Ok(format!("{} ({})", said.trim(), self.origin))
    }
}

/// Of this tree.
fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"])
        .current_dir(top());
    output(&mut git).map_or_else(
        |_| "this tree".to_owned(),
        |commit| commit.trim().to_owned(),
    )
}

fn compiled() -> Result<PathBuf> {
    let target = target_directory()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("building twindisk …");
    let mut build = Command::new(cargo);
    build
        .args([
            "build",
            "--release",
            "--quiet",
            "--package",
            "twindisk",
            "--target-dir",
        ])
        .arg(&target)
        .current_dir(top());
    output(&mut build)?;
    Ok(target.join("release/twindisk"))
}

fn top() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
