//! Whether clients can reach this node, guessed from hosts on their way.

use std::{process::Stdio, time::Duration};

use tokio::process::Command;

/// Whether any of them answers in time.
pub(crate) async fn any_answers(targets: &[String], within: Duration) -> bool {
    let within = within.as_secs_f64().to_string();
    let mut running: Vec<_> = targets
        .iter()
        .filter_map(|target| {
            Command::new("ping")
                .args(["-n", "-q", "-c", "1", "-W", &within, target])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .ok()
        })
        .collect();
    for child in &mut running {
        if child.wait().await.is_ok_and(|status| status.success()) {
            return true;
        }
    }
    false
}
