//! The contestants of other projects, as their manuals start them.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Contestant, Kind, Place, free_ports, listens};
use crate::{
    failure::{Failure, Result},
    fio::Target,
    house::{Process, until},
};

pub(super) fn bare(place: &Place<'_>) -> Result<Contestant> {
    let image = place.image("bare.img")?;
    let target = Target::File(image.clone());
    Ok(contestant(Kind::Bare, target, Vec::new(), vec![image]))
}

/// One copy behind an NBD server.
pub(super) fn single(kind: Kind, place: &Place<'_>) -> Result<Contestant> {
    let image = place.image("only.img")?;
    let socket = place.dir.join("nbd");
    let command = match kind {
        Kind::QemuNbd => command(
            "qemu-nbd",
            &[
                "-f",
                "raw",
                "-t",
                "-x",
                "q",
                "-k",
                &text(&socket),
                &text(&image),
            ],
        ),
        _ => command(
            "nbdkit",
            &["-f", "-e", "q", "-U", &text(&socket), "file", &text(&image)],
        ),
    };
    let server = Process::start("server", &command, &place.log("server"))?;
    let mut servers = vec![server];
    until(kind.name(), &mut servers, || socket.exists().then_some(()))?;
    Ok(contestant(kind, at(&socket), servers, vec![image]))
}

/// QEMU's quorum over a file and a remote half.
pub(super) fn quorum(kind: Kind, place: &Place<'_>) -> Result<Contestant> {
    let images = vec![place.image("local.img")?, place.image("remote.img")?];
    let [local, remote] = images.as_slice() else {
        return Err(Failure("two images are two".to_owned()));
    };
    let port = free_ports(1)?.first().copied().unwrap_or_default();
    let remote_half = remote_half(kind, remote, port);
    let mut servers = vec![Process::start(
        "second",
        &remote_half,
        &place.log("remote"),
    )?];
    until(kind.name(), &mut servers, || listens(port).then_some(()))?;
    let socket = place.dir.join("nbd");
    let daemon = daemon(kind, local, port, &socket);
    servers.insert(0, Process::start("server", &daemon, &place.log("local"))?);
    until(kind.name(), &mut servers, || socket.exists().then_some(()))?;
    Ok(contestant(kind, at(&socket), servers, images))
}

fn remote_half(kind: Kind, image: &Path, port: u16) -> Command {
    let (port, image) = (port.to_string(), text(image));
    if kind == Kind::QuorumDirect {
        let past = [
            "-f",
            "raw",
            "--cache=none",
            "--aio=io_uring",
            "-t",
            "-x",
            "",
        ];
        let mut command = command("qemu-nbd", &past);
        command.args(["-b", "127.0.0.1", "-p", &port, &image]);
        command
    } else {
        command(
            "nbdkit",
            &["-f", "-i", "127.0.0.1", "-p", &port, "file", &image],
        )
    }
}

fn daemon(kind: Kind, local: &Path, port: u16, socket: &Path) -> Command {
    let past = if kind == Kind::QuorumDirect {
        ",cache.direct=on"
    } else {
        ""
    };
    let local = local.display();
    let mut command = Command::new("qemu-storage-daemon");
    command
        .arg("--blockdev")
        .arg(format!("driver=file,node-name=l0,filename={local},aio=io_uring{past}"))
        .arg("--blockdev")
        .arg(format!("driver=nbd,node-name=r0,server.type=inet,server.host=127.0.0.1,server.port={port},export="))
        .arg("--blockdev")
        .arg("driver=quorum,node-name=q0,vote-threshold=1,read-pattern=fifo,children.0=l0,children.1=r0")
        .arg("--nbd-server")
        .arg(format!("addr.type=unix,addr.path={},max-connections=0", socket.display()))
        .arg("--export")
        .arg("type=nbd,id=e0,node-name=q0,name=q,writable=on");
    command
}

fn contestant(
    kind: Kind,
    target: Target,
    processes: Vec<Process>,
    images: Vec<PathBuf>,
) -> Contestant {
    Contestant {
        name: String::new(),
        kind,
        target,
        processes,
        images,
        control: None,
    }
}

fn at(socket: &Path) -> Target {
    Target::Nbd(format!("nbd+unix:///q?socket={}", socket.display()))
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn text(path: &Path) -> String {
    OsString::from(path).to_string_lossy().into_owned()
}
