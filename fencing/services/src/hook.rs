//! A program that is told of a new primary. Nothing depends on what comes of it.

use std::time::Duration;

use serde::Deserialize;

use crate::{
    config::{ConfigError, runnable},
    error::Problem,
    limits,
    process::{self, Environment},
    stack::{Host, Role, environment},
};

/// What is run once the services are up on a new primary: a program with arguments, no shell.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Hook(Vec<String>);

impl Hook {
    /// Runs it to its end, at most [`limits::HOOK`]. Whatever is left of its process group is killed when it fails, when its time is
    /// over, and when the future is dropped.
    ///
    /// # Errors
    /// When it cannot be run, fails, or takes too long.
    pub async fn run(&self, host: &Host, peers: &[&str]) -> Result<(), Problem> {
        self.run_within(host, peers, limits::HOOK).await
    }

    async fn run_within(
        &self,
        host: &Host,
        peers: &[&str],
        within: Duration,
    ) -> Result<(), Problem> {
        let Environment(mut words) = environment(host, NAME, Role::Primary);
        words.push(("TWINDISK_PEERS", peers.join(" ")));
        process::succeed(&self.0, &Environment(words), within).await?;
        Ok(())
    }

    /// What this host lacks to run it, in words.
    #[must_use]
    pub fn lacks(&self) -> Option<String> {
        let program = self.0.first().map(std::path::Path::new)?;
        let lacks = program.is_absolute() && !program.is_file();
        lacks.then(|| {
            format!(
                "after-promote: there is no {} on this node: put it there",
                program.display()
            )
        })
    }
}

impl TryFrom<Vec<String>> for Hook {
    type Error = ConfigError;

    fn try_from(words: Vec<String>) -> Result<Self, ConfigError> {
        runnable(NAME, &words)?;
        Ok(Self(words))
    }
}

/// As the configuration calls it; `TWINDISK_SERVICE` of its processes.
const NAME: &str = "after-promote";

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::stack::Programs;

    fn host() -> Host {
        Host {
            cluster: "c".to_owned(),
            resource: "r0".to_owned(),
            node: "alpha".to_owned(),
            run_dir: PathBuf::new(),
            term: 7,
            programs: Programs::new(Vec::new()),
        }
    }

    fn shell(script: &str) -> Hook {
        Hook(["/bin/sh", "-c", script].map(str::to_owned).to_vec())
    }

    fn run(hook: &Hook, within: Duration) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let peers = ["beta", "gamma"];
        let host = host();
        let result = runtime.block_on(hook.run_within(&host, &peers, within));
        result.map_err(|problem| problem.to_string())
    }

    #[test]
    fn it_is_told_which_resource_is_primary_where_and_in_which_term() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("told");
        let words = "$TWINDISK_CLUSTER $TWINDISK_RESOURCE $TWINDISK_NODE $TWINDISK_TERM $TWINDISK_ROLE $TWINDISK_PEERS";
        run(
            &shell(&format!("echo {words} >{}", file.display())),
            limits::HOOK,
        )
        .unwrap();
        let told = fs::read_to_string(file).unwrap();
        assert_eq!(told, "c r0 alpha 7 primary beta gamma\n");
    }

    #[test]
    fn it_says_how_it_failed_and_has_its_time() {
        let failed = run(&shell("echo no proxy; exit 3"), limits::HOOK).unwrap_err();
        assert!(failed.contains("no proxy"), "{failed}");
        let late = run(&shell("sleep 1000"), Duration::from_millis(200)).unwrap_err();
        assert!(late.contains("did not end within"), "{late}");
    }

    #[test]
    fn what_makes_no_sense_or_is_not_there_is_said() {
        let empty = Hook::try_from(Vec::new()).unwrap_err().to_string();
        assert_eq!(empty, "after-promote: a command without a program");
        let missing = Hook(vec!["/no/such/hook".to_owned()]);
        assert!(
            missing
                .lacks()
                .unwrap()
                .contains("there is no /no/such/hook")
        );
        assert_eq!(shell("true").lacks(), None);
    }
}
