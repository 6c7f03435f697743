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
}

impl Build {
    /// The one that is measured: this program, or what this tree gives.
    ///
    /// # Errors
    /// When it is not there, or does not compile.
    pub fn measured(program: Option<&Path>) -> Result<Self> {
        let program = match program {
            Some(program) => fs::canonicalize(program).trying(program.display())?,
            None => compiled()?,
        };
        Ok(Self {
            label: String::new(),
            program,
        })
    }

    /// Its version, and for what was built from this tree its commit.
    ///
    /// # Errors
    /// When it does not run.
    pub fn describe(&self) -> Result<String> {
        let said = output(Command::new(&self.program).arg("--version"))?;
        let version = said.trim();
        if !self.label.is_empty() {
            return Ok(format!("{version} ({})", self.label));
        }
        if !self.program.starts_with(target_directory()?) {
            return Ok(format!("{version} ({})", self.program.display()));
        }
        let mut git = Command::new("git");
        git.args(["describe", "--always", "--dirty"])
            .current_dir(top());
        Ok(match output(&mut git) {
            Ok(commit) => format!("{version} ({})", commit.trim()),
            Err(_) => version.to_owned(),
        })
    }
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
