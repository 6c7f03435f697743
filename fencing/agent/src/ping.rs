//! Whether clients can reach this node, guessed from hosts on their way.

use std::{process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

/// Whether any of them answers in time.
pub(crate) async fn any_answers(targets: &[String], within: Duration) -> bool {
    let wait = within.as_secs_f64().to_string();
    let mut running: Vec<_> = targets
        .iter()
        .filter_map(|target| {
            Command::new("ping")
                .args(["-n", "-q", "-c", "1", "-W", &wait, target])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .ok()
        })
        .collect();
    let first = async {
        for child in &mut running {
            if child.wait().await.is_ok_and(|status| status.success()) {
                return true;
            }
        }
        false
    };
    // A name that is being looked up waits for longer than for an answer.
    timeout(2 * within, first).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn who_does_not_answer_costs_a_round_its_time_and_no_more() {
        let start = Instant::now();
        let nobody = ["nobody.invalid".into()];
        assert!(!any_answers(&nobody, Duration::from_millis(300)).await);
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}
