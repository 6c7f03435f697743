//! One node alone: scratch disks for programs that want any NBD server.

use std::{
    os::unix::net::UnixStream,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use twindisk_nbd::client::{Client, ConnectOptions, Fua};

use crate::harness::process::clean_command;

/// A process that is ended with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_scratch_disk_on_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let child = clean_command()
        .args(["serve", "--ephemeral", "16MiB", "--unix"])
        .arg(&socket)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let deadline = Instant::now() + Duration::from_secs(30);
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < deadline, "it does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    // The empty name means the only export.
    let uri = format!("nbd+unix:///?socket={}", socket.display())
        .parse()
        .unwrap();
    let mut client = Client::connect(&uri, &ConnectOptions::default()).unwrap();
    assert_eq!(client.info().size_bytes, 16 << 20);
    client.write(0, &[1; 4096], Fua::Yes).unwrap();
    client.disconnect().unwrap();
    let pid = nix::unistd::Pid::from_raw(child.0.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(child.0.wait().unwrap().success());
    assert!(!socket.exists(), "it takes its socket with it");
}

#[test]
fn a_file_on_standard_input_and_output() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image");
    std::fs::write(&file, vec![7; 1 << 20]).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let output = theirs.try_clone().unwrap();
    let child = clean_command()
        .args(["serve", "--stdio", "--ephemeral"])
        .arg(&file)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::from(std::os::fd::OwnedFd::from(output)))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let mut client = Client::negotiate(ours, "", &ConnectOptions::default()).unwrap();
    let mut data = vec![0; 4096];
    client.read(8192, &mut data).unwrap();
    assert_eq!(data, [7; 4096]);
    client.write(8192, &[8; 4096], Fua::No).unwrap();
    client.flush().unwrap();
    client.disconnect().unwrap();
    assert!(child.0.wait().unwrap().success(), "it ends with its client");
    assert_eq!(std::fs::read(&file).unwrap()[8192..12288], [8; 4096]);
}
