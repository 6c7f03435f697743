//! One NBD client on standard input and output, for programs that start their server themselves.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    thread,
};

use tokio::sync::oneshot;

/// A socket that is joined to standard input and output, and what tells when both directions have ended.
///
/// The bytes are copied by two threads: standard input may be a socket, a pipe or a terminal, and the resource's
/// thread takes nothing but sockets.
pub(crate) fn join() -> io::Result<(tokio::net::UnixStream, oneshot::Receiver<()>)> {
    let (ours, theirs) = UnixStream::pair()?;
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    let (done, ended) = oneshot::channel();
    let inward = ours.try_clone()?;
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            copy(&mut std::fs::File::from(input), &mut &inward);
            let _ = inward.shutdown(Shutdown::Write);
        })?;
    thread::Builder::new()
        .name("stdout".to_owned())
        .spawn(move || {
            copy(&mut &ours, &mut file(output));
            let _ = done.send(());
        })?;
    theirs.set_nonblocking(true)?;
    Ok((tokio::net::UnixStream::from_std(theirs)?, ended))
}

fn file(fd: OwnedFd) -> std::fs::File {
    std::fs::File::from(fd)
}

fn copy(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => {
                if to
                    .write_all(buffer.get(..read).unwrap_or_default())
                    .is_err()
                {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
