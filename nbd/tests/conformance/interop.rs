//! Our server parts with clients of other projects, and our client with their servers. A program
//! that is not installed is named on standard error and its test passes without it; in CI it fails.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command as Process, Stdio};

use twindisk_nbd::client::{Address, Client, ConnectOptions, Fua, Uri, Zeroing, list_exports};
use twindisk_nbd::{Errno, Export};

use crate::common::disk;
use crate::server::{Manner, serve_stream};

/// Whether a program can be run here, with whatever it needs itself.
fn installed(program: &str) -> bool {
    let found = process(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    assert!(
        found || std::env::var_os("CI").is_none(),
        "{program} is not installed, and this is CI"
    );
    if !found {
        eprintln!("{program} is not installed: not tested with it");
    }
    found
}

fn process(program: &str) -> Process {
    // The bindings of the distribution belong to the Python of the distribution.
    let path = format!("/usr/bin:{}", std::env::var("PATH").unwrap_or_default());
    let mut process = Process::new(program);
    process.env("PATH", path);
    process
}

/// Serves any number of connections, in memory, at a socket in `folder`; each has its own disk.
fn listen(folder: &Path, exports: Vec<Export>, manner: Manner) -> Uri {
    let path = folder.join("nbd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let exports = exports.clone();
            std::thread::spawn(move || serve_stream(stream.unwrap(), &exports, manner));
        }
    });
    Uri {
        address: Address::Unix(path),
        export: "disk0".to_owned(),
    }
}

/// What a successful program printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = process(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{errors}"
    );
    text
}

#[test]
fn nbdinfo_reads_our_handshake() {
    if !installed("nbdinfo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let uri = listen(folder.path(), disk(), Manner::Plain).to_string();
    let text = run("nbdinfo", &["--json", &uri]);
    for wanted in [
        "\"protocol\": \"newstyle-fixed\"",
        "\"structured\": true",
        "\"export-size\": 1048576",
        "\"description\": \"the test disk\"",
        "\"base:allocation\"",
        "\"can_multi_conn\": true",
        "\"can_fast_zero\": true",
        "\"can_fua\": true",
        "\"is_read_only\": false",
        "\"block_size_preferred\": 4096",
        "\"block_size_maximum\": 33554432",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in {text}");
    }
    let list = run("nbdinfo", &["--list", "--json", &uri]);
    assert!(list.contains("\"export-name\": \"disk0\""), "{list}");
    let map = run("nbdinfo", &["--map", &uri]);
    assert!(map.contains("1048576    3  hole,zero"), "{map}");
}

#[test]
fn qemu_io_reads_and_writes_through_our_parts() {
    if !installed("qemu-io") {
        return;
    }
    for manner in [Manner::Plain, Manner::InPieces] {
        let folder = tempfile::tempdir().unwrap();
        let uri = listen(folder.path(), disk(), manner).to_string();
        let commands = [
            "write -P 0xaa 0 64k",
            "write -f -P 0xbb 64k 4k",
            "flush",
            "write -z 4k 8k",
            "discard 128k 64k",
            "read -vP 0xaa 0 4k",
            "read -P 0 4k 8k",
            "read -P 0xbb 64k 4k",
            "read -P 0xaa 12k 52k",
        ];
        let mut arguments = vec!["-f", "raw", &uri];
        arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
        let text = run("qemu-io", &arguments);
        assert!(!text.contains("failed"), "{text}");
    }
}

#[test]
fn libnbd_gets_the_right_errors_for_illegal_requests() {
    if !installed("nbdsh") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let uri = listen(folder.path(), disk(), Manner::Plain).to_string();
    let script = r"
import errno
h.set_strict_mode(0)
def fails(wanted, call, *args):
    try:
        call(*args)
    except nbd.Error as error:
        assert error.errnum == wanted, (call, args, error.string, error.errnum)
    else:
        assert False, (call, args)
end = h.get_size()
fails(errno.ENOSPC, h.pwrite, b'x' * 512, end)
fails(errno.ENOSPC, h.zero, 512, end)
fails(errno.EINVAL, h.pread, 512, end)
fails(errno.EINVAL, h.trim, 512, end)
fails(errno.EINVAL, h.pread, 512, 0, 0x8000)
fails(errno.ENOTSUP, h.zero, 512, 0, nbd.CMD_FLAG_FAST_ZERO)
fails(errno.EINVAL, h.pwrite, b'x' * 512, 0, nbd.CMD_FLAG_REQ_ONE)
h.trim(0, 0)
h.pwrite(b'y' * 4096, 4096, nbd.CMD_FLAG_FUA)
assert h.pread(4096, 4096, nbd.CMD_FLAG_DF) == b'y' * 4096
h.flush()
h.shutdown()
";
    run("nbdsh", &["--uri", &uri, "--command", script]);
}

/// Another project's server on one end of a pair of sockets.
fn nbdkit(arguments: &[&str]) -> (UnixStream, std::process::Child) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let output = theirs.try_clone().unwrap();
    let child = process("nbdkit")
        .arg("--single")
        .args(arguments)
        .stdin(OwnedFd::from(theirs))
        .stdout(OwnedFd::from(output))
        .spawn()
        .unwrap();
    (ours, child)
}

#[test]
fn our_client_talks_to_nbdkit() {
    if !installed("nbdkit") {
        return;
    }
    for options in [ConnectOptions::default(), ConnectOptions::for_the_kernel()] {
        let (stream, mut child) = nbdkit(&["memory", "1M"]);
        let mut client = Client::negotiate(stream, "", &options).unwrap();
        assert_eq!(client.info().size_bytes, 1 << 20);
        client.write(4096, &[7; 4096], Fua::Yes).unwrap();
        client.write_zeroes(4096, 512, Zeroing::default()).unwrap();
        client.flush().unwrap();
        let mut block = [1; 4096];
        client.read(4096, &mut block).unwrap();
        assert!(block[..512].iter().all(|b| *b == 0) && block[512..].iter().all(|b| *b == 7));
        if client.info().base_allocation.is_some() {
            let extents = client.block_status(0, 1 << 20).unwrap();
            assert!(extents.iter().map(|e| e.length).sum::<u32>() >= 1 << 20);
        }
        let Err(twindisk_nbd::client::ClientError::Request(error)) =
            client.trim(1 << 20, 512, Fua::No)
        else {
            panic!("a trim beyond the end was accepted");
        };
        assert_eq!(error.errno, Errno::Invalid);
        client.disconnect().unwrap();
        child.wait().unwrap();
    }
    let (mut stream, mut child) = nbdkit(&["--exportname=", "memory", "1M"]);
    assert_eq!(list_exports(&mut stream).unwrap().len(), 1);
    drop(stream);
    child.wait().unwrap();
}
