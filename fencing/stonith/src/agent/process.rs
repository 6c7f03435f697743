//! An agent's process and all its children: started as a group of their own, and gone as a whole.

use std::{
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use super::output::Captured;
use crate::limits;

/// A process group whose leader is the agent.
///
/// The leader is not reaped before the group has been killed: until then its number belongs to no other group, so that
/// no stranger can be hit.
pub(super) struct Group {
    leader: Child,
    id: Pid,
    reaped: bool,
}

impl Group {
    pub(super) fn start(agent: &Path) -> io::Result<Self> {
        let leader = command(agent)
            .env_clear()
            .env("PATH", AGENT_PATH)
            // Agents read what their tools print.
            .env("LC_ALL", "C")
            .current_dir("/")
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let id = leader
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .ok_or_else(|| io::Error::other("a process without a number"))?;
        Ok(Self {
            leader,
            id: Pid::from_raw(id),
            reaped: false,
        })
    }

    /// Gives the agent its input, reads what it prints, and returns how it ended, with nothing of its group left.
    pub(super) async fn converse(
        &mut self,
        input: &str,
        captured: &mut Captured,
    ) -> io::Result<ExitStatus> {
        let stdin = self.leader.stdin.take();
        let stdout = self.leader.stdout.take();
        let stderr = self.leader.stderr.take();
        let talk = async {
            let give = async {
                if let Some(mut stdin) = stdin {
                    // An agent need not read to the end, nor at all.
                    let _ = stdin.write_all(input.as_bytes()).await;
                }
            };
            let hear = async {
                if let Some(stdout) = stdout {
                    captured.stdout.read(stdout).await;
                }
            };
            let hear_errors = async {
                if let Some(stderr) = stderr {
                    captured.stderr.read(stderr).await;
                }
            };
            tokio::join!(give, hear, hear_errors);
        };
        {
            let mut talk = std::pin::pin!(talk);
            let mut talking = true;
            let mut end = std::pin::pin!(ended(self.id));
            loop {
                tokio::select! {
                    ended = &mut end => break ended?,
                    () = &mut talk, if talking => talking = false,
                }
            }
            // A child may hold the pipes open after the agent has ended. The exit code is what counts.
            if talking {
                let _ = timeout(limits::LEFTOVER_GRACE, &mut talk).await;
            }
        }
        // Whatever the agent left behind might still shoot.
        self.kill_all();
        let status = self.leader.wait().await?;
        self.reaped = true;
        Ok(status)
    }

    /// Kills the whole group and waits for its leader to be gone.
    pub(super) async fn kill(mut self) {
        self.kill_all();
        // A leader that hangs in the kernel is reaped by tokio when it goes at last.
        self.reaped = timeout(limits::KILL_GRACE, self.leader.wait())
            .await
            .is_ok();
    }

    fn kill_all(&self) {
        if !self.reaped {
            // ESRCH would mean that the leader was reaped: `reaped` says that it was not.
            let _ = killpg(self.id, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// Waits until the leader has ended, and leaves it to be reaped.
async fn ended(leader: Pid) -> io::Result<()> {
    // Before the first look, so that no end falls between the two.
    let mut child_ends = signal(SignalKind::child())?;
    loop {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(leader), look) {
            Ok(WaitStatus::StillAlive) | Err(nix::Error::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        // Signals of children coalesce, and another runtime of this process may take one: look again now and then.
        let _ = timeout(LOOK_AGAIN, child_ends.recv()).await;
    }
}

/// R6: an agent must not outlive the daemon that asked for the shot. Dropping the future cannot help when the daemon is
/// killed; the kernel can, when the thread that started the agent ends. It kills the agent alone: what the agent has
/// started itself lives on, as the unit's `KillMode=process` lets services do, and may fire late.
fn command(agent: &Path) -> Command {
    let plain_file = Path::new(SETPRIV)
        .symlink_metadata()
        .is_ok_and(|found| found.is_file());
    if plain_file {
        let mut command = Command::new(SETPRIV);
        command.args(["--pdeathsig", "KILL", "--"]).arg(agent);
        command
    } else {
        // Missing, or a link to busybox, whose setpriv does not know `--pdeathsig`.
        Command::new(agent)
    }
}

const SETPRIV: &str = "/usr/bin/setpriv";

const AGENT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const LOOK_AGAIN: Duration = Duration::from_millis(500);
