//! A reader of a story that goes away (`--trace | head`) ends the program, and is no panic.

use std::process::{Command, Stdio};

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for told in ["--draw", "--trace"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_twindisk-simulator"))
            .args(["--seed", "42", told])
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{told}: {said}");
    }
}
