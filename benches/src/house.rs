//! What a measurement makes on the machine (processes, a scratch directory, network namespaces) and that all of it is gone
//! afterwards: at a good end, at a failure, at a panic (which aborts, so that nothing is dropped), at Ctrl-C. If this
//! program is killed outright the kernel kills its processes, and only files stay.

use std::{
    fs,
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{SigSet, Signal, kill, killpg},
    unistd::Pid,
};

use crate::failure::{Failure, Result, Trying};

/// Runs a program's work and prints why it failed, if it does. Nothing that it made is left. Call it in `main`, before
/// there is a second thread.
pub fn run(work: impl FnOnce() -> Result<()>) -> ExitCode {
    let worded = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        worded(panic);
        clean_up();
    }));
    let signals = signals();
    if let Err(error) = signals.thread_block() {
        eprintln!("signals can't be blocked: {error}");
        return ExitCode::FAILURE;
    }
    thread::spawn(move || {
        let signal = signals.wait();
        clean_up();
        std::process::exit(signal.map_or(1, |signal| 128 + signal as i32));
    });
    let worked = work();
    clean_up();
    match worked {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Something that is undone at the end, the newest first.
#[derive(Debug, PartialEq, Eq)]
enum Undo {
    /// A process with all that it started.
    Kill(Pid),
    Remove(PathBuf),
    DeleteNamespace(String),
}

static LATER: Mutex<Vec<Undo>> = Mutex::new(Vec::new());

fn undo_later(undo: Undo) {
    let mut later = LATER.lock().unwrap_or_else(PoisonError::into_inner);
    later.push(undo);
}

fn clean_up() {
    // A panic may have come while somebody held it; then there is little to be done.
    for _ in 0..100 {
        let Ok(mut later) = LATER.try_lock() else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        for undo in later.drain(..).rev() {
            match undo {
                Undo::Kill(pid) => {
                    let _ = killpg(pid, Signal::SIGKILL);
                    let _ = nix::sys::wait::waitpid(pid, None);
                }
                Undo::Remove(path) => {
                    let _ = fs::remove_dir_all(path);
                }
                Undo::DeleteNamespace(name) => {
                    let _ = Command::new("ip").args(["netns", "del", &name]).output();
                }
            }
        }
        return;
    }
}

fn signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect()
}

/// Makes a scratch directory in `parent`.
///
/// # Errors
/// When it can't be made.
pub fn scratch(parent: &Path) -> Result<PathBuf> {
    fs::create_dir_all(parent).trying(parent.display())?;
    let dir = tempfile::Builder::new()
        .prefix("twindisk-bench.")
        .tempdir_in(parent)
        .trying(parent.display())?
        .keep();
    undo_later(Undo::Remove(dir.clone()));
    fs::canonicalize(&dir).trying(dir.display())
}

/// Makes a network namespace.
///
/// # Errors
/// When it can't be made: it needs root.
pub fn namespace(name: &str) -> Result<()> {
    undo_later(Undo::DeleteNamespace(name.to_owned()));
    output(Command::new("ip").args(["netns", "add", name])).map(|_| ())
}

/// Runs a short program to its end; what it printed.
///
/// # Errors
/// When it can't be run, or says that it failed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .trying(format_args!("{command:?}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure(format!(
        "{command:?}: {}: {}",
        output.status,
        said.trim()
    )))
}

/// A process of ours.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it prints goes to `log`. Only the first thread may: the process lives as long as the
    /// thread that started it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(name: &str, command: &Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.trying(log.display())?;
        // It becomes the program in the same process.
        let mut mortal = Command::new("setpriv");
        mortal
            .args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone().trying(log.display())?)
            .stderr(file);
        // A blocked signal would stay blocked in the program.
        let signals = signals();
        signals.thread_unblock().trying("signals")?;
        let child = mortal.spawn();
        signals.thread_block().trying("signals")?;
        let child = child.trying(format_args!("{name}: {mortal:?}"))?;
        let process = Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        };
        undo_later(Undo::Kill(process.pid()));
        Ok(process)
    }

    /// What it is called in tables.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Sends a signal to it alone.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).trying(format_args!("{signal} to {}", self.name))
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().trying(&self.name)
    }

    /// Waits for its end, for so long.
    ///
    /// # Errors
    /// When it goes on.
    pub fn end_within(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                let (name, words) = (&self.name, self.last_words());
                return Err(Failure(format!("{name}: no end within {limit:?}\n{words}")));
            }
            // Seldom: it is being measured.
            thread::sleep(5 * LOOK);
        }
    }

    /// The end of what it printed.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.len().saturating_sub(5);
        lines.get(first..).unwrap_or_default().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let undo = Undo::Kill(self.pid());
        let mut later = LATER.lock().unwrap_or_else(PoisonError::into_inner);
        later.retain(|other| *other != undo);
        drop(later);
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Waits until `look` finds something, while these processes live.
///
/// # Errors
/// When one of them ends, or nothing is found in time.
pub fn until<T>(
    what: &str,
    processes: &mut [&mut Process],
    mut look: impl FnMut() -> Option<T>,
) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        for process in processes.iter_mut() {
            if let Some(status) = process.ended()? {
                let (name, words) = (process.name(), process.last_words());
                return Err(Failure(format!("{what}: {name} ended: {status}\n{words}")));
            }
        }
        if Instant::now() > deadline {
            let words: Vec<String> = processes
                .iter()
                .map(|process| process.last_words())
                .collect();
            let words = words.join("\n");
            return Err(Failure(format!("{what}: not in {PATIENCE:?}\n{words}")));
        }
        thread::sleep(LOOK);
    }
}

/// What is waited for comes within this time or never.
const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
