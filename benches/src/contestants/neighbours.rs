//! The contestants of other projects, as their manuals start them, and files with nothing before them.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Contestant, Kind, Place, free_ports};
use crate::{
    failure::{Failure, Result},
    fio::Target,
    house::{Process, until},
    network::{LOCAL, Network, REMOTE},
};

/// Files themselves.
pub(super) fn files(kind: Kind, place: &Place<'_>) -> Result<Contestant> {
    let names: &[&str] = match kind {
        Kind::TwoFiles => &["first.img", "second.img"],
        _ => &["bare.img"],
    };
    let images = names.iter().map(|name| place.image(name));
    let images: Vec<PathBuf> = images.collect::<Result<_>>()?;
    let target = Target::Files(images.clone());
    Ok(contestant(kind, target, Vec::new(), images))
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
    until_it_serves(kind, &mut servers, &socket)?;
    Ok(contestant(kind, at(&socket), servers, vec![image]))
}

/// QEMU's quorum over a file and a remote half, on two ends of a network.
pub(super) fn quorum(kind: Kind, place: &Place<'_>, network: &Network) -> Result<Contestant> {
    let images = vec![place.image("local.img")?, place.image("remote.img")?];
    let [local, remote] = images.as_slice() else {
        return Err(Failure("two images are two".to_owned()));
    };
    let port = free_ports(1)?.first().copied().unwrap_or_default();
    let remote_half = remote_half(kind, remote, port, network);
    let mut second = Process::start("second", &remote_half, &place.log("remote"))?;
    let listens = || network.listens(port).then_some(());
    until(kind.name(), &mut [&mut second], listens)?;
    let socket = place.dir.join("nbd");
    let daemon = daemon(kind, local, port, &socket, network);
    let server = Process::start("server", &daemon, &place.log("local"))?;
    let mut servers = vec![server, second];
    until_it_serves(kind, &mut servers, &socket)?;
    Ok(contestant(kind, at(&socket), servers, images))
}

fn until_it_serves(kind: Kind, servers: &mut [Process], socket: &Path) -> Result<()> {
    let mut servers: Vec<&mut Process> = servers.iter_mut().collect();
    until(kind.name(), &mut servers, || socket.exists().then_some(()))
}

fn remote_half(kind: Kind, image: &Path, port: u16, network: &Network) -> Command {
    let (port, image) = (port.to_string(), text(image));
    let [host, _] = network.hosts(REMOTE);
    if kind == Kind::QuorumDirect {
        let mut command = network.command(REMOTE, "qemu-nbd");
        command
            .args([
                "-f",
                "raw",
                "--cache=none",
                "--aio=io_uring",
                "-t",
                "-x",
                "",
            ])
            .args(["-b", &host, "-p", &port, &image]);
        command
    } else {
        let mut command = network.command(REMOTE, "nbdkit");
        command.args(["-f", "-i", &host, "-p", &port, "file", &image]);
        command
    }
}

fn daemon(kind: Kind, local: &Path, port: u16, socket: &Path, network: &Network) -> Command {
    let past = if kind == Kind::QuorumDirect {
        ",cache.direct=on"
    } else {
        ""
    };
    let (local, [host, _]) = (local.display(), network.hosts(REMOTE));
    let mut command = network.command(LOCAL, "qemu-storage-daemon");
    command
        .arg("--blockdev")
        .arg(format!("driver=file,node-name=l0,filename={local},aio=io_uring{past}"))
        .arg("--blockdev")
        .arg(format!("driver=nbd,node-name=r0,server.type=inet,server.host={host},server.port={port},export="))
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
