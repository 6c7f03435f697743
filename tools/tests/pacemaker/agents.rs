//! The agents alone: what they say of themselves, and to whom.

use std::path::{Path, PathBuf};

use crate::harness::programs::{command, have, run, told};

fn ours(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pacemaker").join(name)
}

#[test]
fn the_scripts_are_good_shell() {
    if have(&["shellcheck"]) {
        run("shellcheck", &[ours("twindisk"), ours("fence_twindisk")]);
    }
}

/// A level of fencing devices must not fail by the one that only tells.
#[test]
fn the_fence_agent_never_fails() {
    let agent = ours("fence_twindisk");
    for action in ["off", "on", "reboot", "status", "monitor", "list", "metadata"] {
        let script = format!(
            "printf 'action={action}\\nplug=alpha\\nconfig=/nonexistent\\n' | '{}'",
            agent.display()
        );
        let output = command("sh").args(["-c", &script]).output().expect("sh runs");
        assert!(output.status.success(), "{action}: {}", told(&output));
        let metadata = String::from_utf8_lossy(&output.stdout).contains("<resource-agent");
        assert_eq!(metadata, action == "metadata", "{}", told(&output));
    }
}
