//! The floor under a mirrored write at depth 1: a client, a relay and an echo, a process each, joined by a Unix socket and
//! by TCP on loopback, as a client, a primary and a standby are. Nothing is checked, stored or written to a disk: what
//! this takes is the kernel's, for moving 4 KiB twice and waking each process in its turn.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// An NBD write of 4 KiB, and its reply.
const REQUEST: usize = 28 + 4096;
const REPLY: usize = 16;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("relay"), Some(port)) => relay(port.parse().map_err(io::Error::other)?),
        (Some("echo"), None) => echo(),
        (seconds, _) => measure(seconds.and_then(|text| text.parse().ok()).unwrap_or(3)),
    }
}

/// Answers every request, of one connection after the other. Says where it listens.
fn echo() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let mut request = [0; REQUEST];
    loop {
        let (mut peer, _) = listener.accept()?;
        peer.set_nodelay(true)?;
        while peer.read_exact(&mut request).is_ok() {
            peer.write_all(&request[..REPLY])?;
        }
    }
}

/// Between its standard input, a socket, and the echo.
fn relay(port: u16) -> io::Result<()> {
    let mut client = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut peer = TcpStream::connect(("127.0.0.1", port))?;
    peer.set_nodelay(true)?;
    let (mut request, mut reply) = ([0; REQUEST], [0; REPLY]);
    loop {
        client.read_exact(&mut request)?;
        peer.write_all(&request)?;
        peer.read_exact(&mut reply)?;
        client.write_all(&reply)?;
    }
}

fn measure(seconds: u64) -> io::Result<()> {
    let program = std::env::current_exe()?;
    let mut echo = Command::new(&program)
        .arg("echo")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut port = String::new();
    BufReader::new(echo.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?).read_line(&mut port)?;
    let port = port.trim();
    let address = format!("127.0.0.1:{port}");
    let mut standby = TcpStream::connect(address)?;
    standby.set_nodelay(true)?;
    round_trips("one hop, over TCP", &mut standby, seconds)?;
    drop(standby);

    let (mut client, end) = UnixStream::pair()?;
    let mut relay = Command::new(&program)
        .args(["relay", port])
        .stdin(Stdio::from(OwnedFd::from(end)))
        .spawn()?;
    round_trips("the chain", &mut client, seconds)?;
    for child in [&mut relay, &mut echo] {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

fn round_trips(name: &str, peer: &mut (impl Read + Write), seconds: u64) -> io::Result<()> {
    let (request, mut reply) = ([7; REQUEST], [0; REPLY]);
    let mut times = Vec::new();
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        let begin = Instant::now();
        peer.write_all(&request)?;
        peer.read_exact(&mut reply)?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!(
        "{name}: {:.0} round trips a second, median {:.1} us",
        times.len() as f64 / seconds as f64,
        median.as_secs_f64() * 1e6
    );
    Ok(())
}
