//! The binary that is measured: built from this tree as it is shipped, unless another one is named.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    contestants::Build,
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

/// Builds `twindisk` and says where it is.
///
/// # Errors
/// When it does not compile.
pub fn twindisk() -> Result<PathBuf> {
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

/// Its version, and for what was built from this tree its commit.
///
/// # Errors
/// When it does not run.
pub fn describe(build: &Build) -> Result<String> {
    let said = output(Command::new(&build.program).arg("--version"))?;
    let version = said.trim();
    if !build.label.is_empty() {
        return Ok(format!("{version} ({})", build.label));
    }
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"])
        .current_dir(top());
    Ok(match output(&mut git) {
        Ok(commit) => format!("{version} ({})", commit.trim()),
        Err(_) => version.to_owned(),
    })
}

fn top() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
