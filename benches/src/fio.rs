//! One run of fio, and what it says of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{
    failure::{Failure, Result, Trying},
    house::{Process, output},
    loads::Load,
};

/// Where the requests go.
#[derive(Clone, Debug)]
pub enum Target {
    /// A file itself: `io_uring`, `O_DIRECT`.
    File(PathBuf),
    /// An NBD server.
    Nbd(String),
}

/// How one is run.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// What is done.
    pub load: &'a Load,
    /// Where.
    pub target: &'a Target,
    /// Over so much of it.
    pub mib: u64,
    /// For how long.
    pub time: Duration,
    /// Connections or open files, each with the load's depth.
    pub jobs: u32,
    /// For its output.
    pub dir: &'a Path,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ran {
    /// Reads and writes per second.
    pub rate: f64,
    /// How many there were.
    pub operations: f64,
    /// Latency of a request in microseconds from its submission on; of the fsync where the load has them: fio keeps
    /// no sum of the two.
    pub p50_us: f64,
    /// As above.
    pub p99_us: f64,
    /// As above.
    pub p999_us: f64,
    /// CPU seconds of the clients.
    pub cpu_seconds: f64,
}

/// Runs it to its end.
///
/// # Errors
/// When fio fails, or says what is not understood.
pub fn run(plan: &Plan<'_>) -> Result<Ran> {
    let report = plan.dir.join("fio.json");
    let mut command = requests(plan.load, plan.target);
    command
        .args(["--time_based", "--randrepeat=0", "--group_reporting"])
        .arg(format!("--size={}M", plan.mib))
        .arg(format!("--runtime={}ms", plan.time.as_millis()))
        .arg(format!("--numjobs={}", plan.jobs))
        // From the submission on: for some engines it contains half of the work.
        .args(["--lat_percentiles=1", "--clat_percentiles=0"])
        .arg("--percentile_list=50:99:99.9")
        .arg("--output-format=json")
        .arg(format!("--output={}", report.display()));
    if plan.mib > MOST_MAPPED_MIB {
        command.arg("--norandommap");
    }
    to_the_end(&command, plan.dir)?;
    let text = fs::read_to_string(&report).trying(report.display())?;
    let said: Value = serde_json::from_str(&text).trying("fio's report")?;
    understood(&said, plan.load)
        .ok_or_else(|| Failure(format!("fio's report lacks numbers: {text}")))
}

/// Writes all of a target once.
///
/// # Errors
/// When fio fails.
pub fn overwrite(target: &Target, mib: u64, dir: &Path) -> Result<()> {
    let load = Load {
        name: "overwrite",
        words: "everything, once",
        pattern: "write",
        block_bytes: 1 << 20,
        depth: 8,
        fsync: false,
    };
    let mut command = requests(&load, target);
    command.args(["--randrepeat=0", "--end_fsync=1"]);
    command.arg(format!("--size={mib}M"));
    to_the_end(&command, dir)
}

/// # Errors
/// When fio is missing, or can't speak NBD. Otherwise its version.
pub fn version() -> Result<String> {
    let engines = output(Command::new("fio").arg("--enghelp"))?;
    if !engines.split_whitespace().any(|engine| engine == "nbd") {
        return Err(Failure("this fio has no nbd engine".to_owned()));
    }
    let version = output(Command::new("fio").arg("--version"))?;
    Ok(version.trim().replace('-', " "))
}

/// On larger devices fio keeps no map of the blocks it has been at: that would take long, and much memory.
const MOST_MAPPED_MIB: u64 = 64 << 10;

fn requests(load: &Load, target: &Target) -> Command {
    let mut command = Command::new("fio");
    command.arg("--name=load");
    match target {
        Target::File(path) => command
            .args(["--ioengine=io_uring", "--direct=1"])
            .arg(format!("--filename={}", path.display())),
        Target::Nbd(uri) => command.arg("--ioengine=nbd").arg(format!("--uri={uri}")),
    };
    command
        .arg(format!("--rw={}", load.pattern))
        .arg(format!("--bs={}", load.block_bytes))
        .arg(format!("--iodepth={}", load.depth))
        .arg(format!("--fsync={}", u32::from(load.fsync)));
    command
}

fn to_the_end(command: &Command, dir: &Path) -> Result<()> {
    let mut fio = Process::start("fio", command, &dir.join("fio.log"))?;
    let status = fio.wait()?;
    if status.success() {
        return Ok(());
    }
    Err(Failure(format!("fio: {status}\n{}", fio.last_words())))
}

fn understood(said: &Value, load: &Load) -> Option<Ran> {
    let job = said.get("jobs")?.get(0)?;
    let side = job.get(if load.pattern.contains("read") {
        "read"
    } else {
        "write"
    })?;
    let timed = if load.fsync { job.get("sync")? } else { side };
    let percentiles = timed.get("lat_ns")?.get("percentile")?;
    let us = |name: &str| Some(percentiles.get(name)?.as_f64()? / 1e3);
    let number = |value: &Value, name: &str| value.get(name)?.as_f64();
    let cpu_percent = number(job, "usr_cpu")? + number(job, "sys_cpu")?;
    Some(Ran {
        rate: number(side, "iops")?,
        operations: number(side, "total_ios")?,
        p50_us: us("50.000000")?,
        p99_us: us("99.000000")?,
        p999_us: us("99.900000")?,
        cpu_seconds: cpu_percent / 100.0 * number(job, "job_runtime")? / 1e3,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::loads::matching;

    fn report() -> Value {
        let percentile =
            |p50: u64| json!({"50.000000": p50, "99.000000": 2 * p50, "99.900000": 3 * p50});
        json!({"jobs": [{
            "write": {"iops": 250.0, "total_ios": 500, "lat_ns": {"percentile": percentile(10_000)}},
            "read": {"iops": 0.0, "total_ios": 0, "lat_ns": {}},
            "sync": {"total_ios": 500, "lat_ns": {"percentile": percentile(70_000)}},
            "usr_cpu": 1.0, "sys_cpu": 4.0, "job_runtime": 2000,
        }]})
    }

    #[test]
    fn a_report_is_understood() {
        let load = matching("write-4k-d1").unwrap()[0];
        let expected = Ran {
            rate: 250.0,
            operations: 500.0,
            p50_us: 10.0,
            p99_us: 20.0,
            p999_us: 30.0,
            cpu_seconds: 0.1,
        };
        assert_eq!(understood(&report(), &load), Some(expected));
        let load = matching("write-4k-fsync").unwrap()[0];
        let p50_us = understood(&report(), &load).map(|ran| ran.p50_us);
        assert_eq!(p50_us, Some(70.0), "with fsync its latency is what counts");
    }

    #[test]
    fn a_report_without_numbers_is_none() {
        let load = matching("read-4k-d1").unwrap()[0];
        assert_eq!(understood(&report(), &load), None);
        assert_eq!(understood(&json!({}), &load), None);
    }
}
