//! Asking a `twindisk serve`, over its control socket as it is documented (`tools/doc/control-socket.md`), so that builds of
//! other versions can be asked too.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

use crate::failure::{Failure, Result, Trying};

/// Carries a command out.
///
/// # Errors
/// When nobody answers, or the answer is no.
pub fn tell(socket: &Path, command: &str, resource: &str, more: &Value) -> Result<()> {
    let mut request = json!({"version": 1, "command": command, "resource": resource});
    if let (Some(request), Some(more)) = (request.as_object_mut(), more.as_object()) {
        request.extend(more.clone());
    }
    let answer = ask(socket, &request)?;
    if answer.get("done").is_some() {
        return Ok(());
    }
    Err(Failure(format!("{command} {resource}: {answer}")))
}

/// What a resource's replica says of itself; nothing when nobody answers.
#[must_use]
pub fn status(socket: &Path, resource: &str) -> Option<Value> {
    let request = json!({"version": 1, "command": "status", "resource": resource});
    let answer = ask(socket, &request).ok()?;
    let resource = answer.get("status")?.get("resources")?.get(0)?;
    resource.get("replica").cloned()
}

/// The first peer in a resource's status.
#[must_use]
pub fn peer(status: &Value) -> Option<&Value> {
    status.get("peers")?.get(0)
}

fn ask(socket: &Path, request: &Value) -> Result<Value> {
    let what = || format!("{}", socket.display());
    let mut stream = UnixStream::connect(socket).trying(what())?;
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).trying(what())?;
    stream
        .write_all(format!("{request}\n").as_bytes())
        .trying(what())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).trying(what())?;
    serde_json::from_str(&line).trying(what())
}
