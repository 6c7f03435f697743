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
    /// Files themselves: `io_uring`, `O_DIRECT`. With several the load is on all of them at once, a job for each, and an
    /// operation is one on each of them, as it is for a mirror.
    Files(Vec<PathBuf>),
    /// An NBD server.
    Nbd(String),
}

impl Target {
    /// Over how many files an operation goes that a client sees.
    fn files(&self) -> u32 {
        match self {
            Self::Files(paths) => u32::try_from(paths.len()).unwrap_or(u32::MAX),
            Self::Nbd(_) => 1,
        }
    }
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

/// What came of it. Of several files: rate and operations are the mean of the files, latencies those of all requests
/// together (fio merges them), CPU time that of all.
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
    let mut options: Vec<String> = [
        "--time_based",
        "--randrepeat=0",
        "--group_reporting",
        // From the submission on: for some engines it contains half of the work.
        "--lat_percentiles=1",
        "--clat_percentiles=0",
        "--percentile_list=50:99:99.9",
    ]
    .map(str::to_owned)
    .to_vec();
    options.push(format!("--size={}M", plan.mib));
    options.push(format!("--runtime={}ms", plan.time.as_millis()));
    options.push(format!("--numjobs={}", plan.jobs));
    if plan.mib > MOST_MAPPED_MIB {
        options.push("--norandommap".to_owned());
    }
    let mut command = requests(plan.load, plan.target, &options);
    command
        .arg("--output-format=json")
        .arg(format!("--output={}", report.display()));
    to_the_end(&command, plan.dir, plan.time)?;
    let text = fs::read_to_string(&report).trying(report.display())?;
    let said: Value = serde_json::from_str(&text).trying("fio's report")?;
    understood(&said, plan.load, plan.target.files())
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
    let size = format!("--size={mib}M");
    let options = [
        "--randrepeat=0".to_owned(),
        "--end_fsync=1".to_owned(),
        size,
    ];
    let slowly = Duration::from_secs(mib / LEAST_MIB_PER_SECOND);
    to_the_end(&requests(&load, target, &options), dir, slowly)
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

/// Whoever writes less than that all the time stands still.
const LEAST_MIB_PER_SECOND: u64 = 2;

/// For its start, and for the last requests: a server that answers no more would hold up everything.
const PATIENCE: Duration = Duration::from_secs(120);

/// A job for each file, or for the server, all at once.
fn requests(load: &Load, target: &Target, options: &[String]) -> Command {
    let mut command = Command::new("fio");
    let mut job = |engine: &[&str], place: String| {
        command
            .arg("--name=load")
            .args(engine)
            .arg(place)
            .arg(format!("--rw={}", load.pattern))
            .arg(format!("--bs={}", load.block_bytes))
            .arg(format!("--iodepth={}", load.depth))
            .arg(format!("--fsync={}", u32::from(load.fsync)))
            .args(options);
    };
    match target {
        Target::Files(paths) => {
            for path in paths {
                job(
                    &["--ioengine=io_uring", "--direct=1"],
                    format!("--filename={}", path.display()),
                );
            }
        }
        Target::Nbd(uri) => job(&["--ioengine=nbd"], format!("--uri={uri}")),
    }
    command
}

/// `time` is how long it should take.
fn to_the_end(command: &Command, dir: &Path, time: Duration) -> Result<()> {
    let mut fio = Process::start("fio", command, &dir.join("fio.log"))?;
    let status = fio.end_within(time + PATIENCE)?;
    if status.success() {
        return Ok(());
    }
    Err(Failure(format!("fio: {status}\n{}", fio.last_words())))
}

/// `files` is over how many the jobs were spread that fio reports as one.
fn understood(said: &Value, load: &Load, files: u32) -> Option<Ran> {
    let [job] = said.get("jobs")?.as_array()?.as_slice() else {
        return None;
    };
    let side = job.get(if load.reads() { "read" } else { "write" })?;
    let timed = if load.fsync { job.get("sync")? } else { side };
    let percentiles = timed.get("lat_ns")?.get("percentile")?;
    let us = |name: &str| Some(percentiles.get(name)?.as_f64()? / 1e3);
    let number = |value: &Value, name: &str| value.get(name)?.as_f64();
    let cpu_percent = number(job, "usr_cpu")? + number(job, "sys_cpu")?;
    Some(Ran {
        rate: number(side, "iops")? / f64::from(files),
        operations: number(side, "total_ios")? / f64::from(files),
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
        assert_eq!(understood(&report(), &load, 1), Some(expected));
        let load = matching("write-4k-fsync").unwrap()[0];
        let p50_us = understood(&report(), &load, 1).map(|ran| ran.p50_us);
        assert_eq!(p50_us, Some(70.0), "with fsync its latency is what counts");
    }

    #[test]
    fn an_operation_on_two_files_is_one_on_each() {
        let load = matching("write-4k-d1").unwrap()[0];
        let [one, two] = [1, 2].map(|files| understood(&report(), &load, files).unwrap());
        let expected = Ran {
            rate: 125.0,
            operations: 250.0,
            ..one
        };
        assert_eq!(two, expected, "latencies and CPU are those of all requests");
        let mut apart = report();
        let jobs = apart["jobs"].as_array_mut().unwrap();
        jobs.extend(jobs.clone());
        let understood = understood(&apart, &load, 2);
        assert_eq!(understood, None, "half of one job would be too little");
    }

    #[test]
    fn each_file_has_a_job_with_all_of_the_load() {
        let load = matching("write-4k-fsync").unwrap()[0];
        let files = Target::Files(vec!["/a".into(), "/b".into()]);
        let command = requests(&load, &files, &["--size=1M".to_owned()]);
        let arguments: Vec<_> = command
            .get_args()
            .map(|one| one.to_string_lossy())
            .collect();
        let jobs: Vec<_> = arguments
            .split(|one| one == "--name=load")
            .skip(1)
            .collect();
        let [first, second] = jobs.as_slice() else {
            panic!("{arguments:?}");
        };
        assert!(first.contains(&"--filename=/a".into()), "{first:?}");
        assert!(second.contains(&"--filename=/b".into()), "{second:?}");
        for option in ["--direct=1", "--bs=4096", "--fsync=1", "--size=1M"] {
            assert!(
                jobs.iter().all(|job| job.contains(&option.into())),
                "{arguments:?}"
            );
        }
    }

    #[test]
    fn a_report_without_numbers_is_none() {
        let load = matching("read-4k-d1").unwrap()[0];
        assert_eq!(understood(&report(), &load, 1), None);
        assert_eq!(understood(&json!({}), &load, 1), None);
    }
}
