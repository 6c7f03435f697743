//! The CPU time of a process: the kernel's own clock of it, in nanoseconds, with the threads that have ended since.
//! (`/proc/PID/stat` counts in ticks of 10 ms, `/proc/PID/task/*/schedstat` forgets a ring's worker threads.)

use nix::{
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use crate::failure::{Result, Trying};

/// Seconds that it has used since its start.
///
/// # Errors
/// When it is gone.
pub fn seconds(pid: Pid) -> Result<f64> {
    let clock = clock_getcpuclockid(pid).trying(format_args!("the clock of process {pid}"))?;
    let time = clock_gettime(clock).trying(format_args!("the clock of process {pid}"))?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_a_thread_used_that_has_ended_counts() {
        let before = seconds(Pid::this()).unwrap();
        let spun = std::thread::spawn(|| {
            let begin = Instant::now();
            let mut turns = 0_u64;
            while begin.elapsed() < Duration::from_millis(300) {
                turns = std::hint::black_box(turns + 1);
            }
        });
        spun.join().unwrap();
        let used = seconds(Pid::this()).unwrap() - before;
        // On a busy machine it does not get all of that time.
        assert!(used > 0.01, "{used}");
    }
}
