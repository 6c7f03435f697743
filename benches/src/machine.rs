//! On what, with what and beside how much else something was measured. Without that a figure says nothing.

use std::{fs, path::Path, process::Command};

use serde::{Deserialize, Serialize};

use crate::{failure::Result, house::output};

/// The conditions of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// When it began, UTC.
    pub date: String,
    /// Model of the processors.
    pub processor: String,
    /// How many.
    pub processors: usize,
    /// Memory.
    pub memory_mib: u64,
    /// Kernel.
    pub kernel: String,
    /// File system and device of the data.
    pub storage: String,
    /// Programs and their versions.
    pub programs: Vec<String>,
    /// Load average of the last minute at the beginning.
    pub load_at_start: f64,
    /// The same at the end.
    pub load_at_end: f64,
}

impl Machine {
    /// Looks around; `programs` are other programs with their versions.
    ///
    /// # Errors
    /// When one of the two usual programs does not run.
    pub fn look(dir: &Path, programs: Vec<String>) -> Result<Self> {
        let cpus = read("/proc/cpuinfo");
        let date = output(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?;
        let kernel = output(Command::new("uname").args(["-s", "-r"]))?;
        Ok(Self {
            date: date.trim().to_owned(),
            processor: field(&cpus, "model name").unwrap_or("unknown").to_owned(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory_mib("MemTotal"),
            kernel: kernel.trim().to_owned(),
            storage: storage(dir, &read("/proc/self/mounts")),
            programs,
            load_at_start: load(),
            load_at_end: f64::NAN,
        })
    }

    /// In two sentences.
    #[must_use]
    pub fn words(&self) -> String {
        format!(
            "{}; {} × {}, {} MiB, {}, {}; load average {:.2} at the start, {:.2} at the end; {}",
            self.date,
            self.processors,
            self.processor,
            self.memory_mib,
            self.kernel,
            self.storage,
            self.load_at_start,
            self.load_at_end,
            self.programs.join(", "),
        )
    }
}

/// Load average of the last minute.
#[must_use]
pub fn load() -> f64 {
    let text = read("/proc/loadavg");
    let first = text.split_whitespace().next();
    first.and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}

/// Memory that could be had.
#[must_use]
pub fn available_mib() -> u64 {
    memory_mib("MemAvailable")
}

fn memory_mib(name: &str) -> u64 {
    let memory = read("/proc/meminfo");
    field(&memory, name).and_then(kib).unwrap_or_default() / 1024
}

fn kib(size: &str) -> Option<u64> {
    size.trim_end_matches("kB").trim().parse().ok()
}

/// Resident memory of a process.
#[must_use]
pub fn resident_kib(pid: nix::unistd::Pid) -> Option<u64> {
    let status = read(&format!("/proc/{pid}/status"));
    field(&status, "VmRSS").and_then(kib)
}

/// The first line of a program's answer to `--version`, or that it is missing.
#[must_use]
pub fn version(program: &str) -> Option<String> {
    let said = output(Command::new(program).arg("--version")).ok()?;
    let line = said.lines().next()?;
    Some(
        line.split(" (")
            .next()
            .unwrap_or(line)
            .replace(" version", ""),
    )
}

/// Of the mount that holds a directory: the longest one that it is below.
fn storage(dir: &Path, mounts: &str) -> String {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?, words.next()?))
    });
    let above = mounts.filter(|(_, place, _)| dir.starts_with(place));
    let nearest = above.max_by_key(|(_, place, _)| place.len());
    nearest.map_or_else(String::new, |(device, _, kind)| {
        format!("{kind} on {device}")
    })
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_is_found() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\ntmpfs /tm tmpfs rw 0 0\n";
        assert_eq!(storage(Path::new("/tmp/x"), mounts), "tmpfs on tmpfs");
        assert_eq!(storage(Path::new("/tmpx"), mounts), "ext4 on /dev/vda");
    }

    #[test]
    fn this_machine_can_be_described() {
        let machine = Machine::look(Path::new("/"), Vec::new()).unwrap();
        assert!(
            machine.processors > 0 && machine.memory_mib > 0,
            "{machine:?}"
        );
        assert!(machine.kernel.starts_with("Linux "), "{machine:?}");
        assert!(resident_kib(nix::unistd::Pid::this()).unwrap() > 0);
    }
}
