//! `twindisk attach` and `detach`: the resource as a block device of this host's kernel.

use std::{
    fs,
    os::unix::{net::UnixDatagram, process::CommandExt},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use twindisk_format::binding::Binding;
use twindisk_nbd::{
    attach::{AttachError, AttachOptions, BackendId, Kernel, LinkEvent, LinkEvents},
    client::{ClientError, Uri},
    protocol::option_reply,
};

use crate::{
    ask::{Context, Where},
    exit::Failure,
    input::time,
    out,
};

/// The kernel takes the connection over; a supervisor replaces it when it dies (a restart of `twindisk serve`), and
/// the users of the device only see a pause. When another node has written to the resource meanwhile, the device is
/// disconnected instead: its users, whose caches are older than the data, get I/O errors (exit code 11 of the supervisor,
/// which writes to the system's log, too).
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource
    resource: String,
    /// The device, /dev/nbdN or N [default: a free one]
    #[arg(value_parser = index)]
    device: Option<u32>,
    /// Connections to the server
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=16))]
    connections: u8,
    /// How long I/O waits for a dead connection to be replaced before it fails
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10min")]
    dead_timeout: Duration,
    /// Stay and supervise, for a service manager, instead of leaving a supervisor behind
    #[arg(long)]
    foreground: bool,
    /// Only supervise a device that is attached already
    #[arg(long, hide = true, requires_all = ["device", "bound"])]
    supervise: bool,
    /// The role in which it was attached
    #[arg(long, hide = true, value_name = "TERM-ID")]
    bound: Option<Binding>,
}

/// Unmount it and stop its users first: what is in flight fails.
#[derive(clap::Args, Debug)]
pub(crate) struct DetachArgs {
    /// The device, /dev/nbdN or N
    #[arg(value_parser = index)]
    device: u32,
}

/// How often a dead connection is tried to be replaced: at first as fast as a service manager restarts the server, for its
/// users wait; later, when it takes long, at leisure.
const RETRY: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];
const LATER: Duration = Duration::from_secs(5);

/// A request that was under way on a connection that died is sent again once it is as old as this and there is another
/// connection; for longer the kernel waits for an answer that cannot come. It logs each older request as "possibly stuck".
const SEND_AGAIN: Duration = Duration::from_millis(500);

/// How often the supervisor looks whether the device is still there.
const LOOK: Duration = Duration::from_secs(2);

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    let bound = match args.bound {
        Some(bound) => bound,
        None => now(&context, &args.resource)?,
    };
    // R17: a name that is refused for ever once somebody else may have written.
    let export = bound.export_of(&args.resource);
    let uri = uri(&context, &args.resource, &export)?;
    let mut options = AttachOptions {
        index: args.device,
        connections: usize::from(args.connections),
        dead_connection_timeout: Some(args.dead_timeout),
        backend: Some(backend(&context, &export)?),
        ..AttachOptions::default()
    };
    let mut kernel = Kernel::open().map_err(Failure::error)?;
    if let (true, Some(index)) = (args.supervise, args.device) {
        return supervise(&mut kernel, index, &uri, &options);
    }
    let attached = kernel.attach(&uri, &options).map_err(|error| {
        Failure::Error(format!(
            "{error} (only the primary serves {})",
            args.resource
        ))
    })?;
    options.index = Some(attached.index);
    // With several connections it would take each one for dead on which a request is as old as this.
    if options.connections == 1 {
        send_again_soon(attached.index);
    }
    out::say!("{}", attached.device_path().display());
    if args.foreground {
        return supervise(&mut kernel, attached.index, &uri, &options);
    }
    leave_supervisor(&context, args, attached.index, bound)
}

pub(crate) fn detach(args: &DetachArgs) -> Result<(), Failure> {
    let mut kernel = Kernel::open().map_err(Failure::error)?;
    kernel.detach(args.device).map_err(Failure::error)?;
    out::say!("/dev/nbd{} is detached", args.device);
    Ok(())
}

/// 30 seconds by default. This is not the timeout that attaching can set, after which the kernel gives a connection up:
/// it only makes the driver look at what is under way (`nbd_xmit_timeout` in drivers/block/nbd.c).
fn send_again_soon(index: u32) {
    let path = format!("/sys/block/nbd{index}/queue/io_timeout");
    if let Err(error) = fs::write(&path, SEND_AGAIN.as_millis().to_string()) {
        out::err!(
            "{path}: {error}: when the server is restarted, requests that were under way wait for up to 30 s"
        );
    }
}

/// Replaces dead connections until the device is gone.
fn supervise(
    kernel: &mut Kernel,
    index: u32,
    uri: &Uri,
    options: &AttachOptions,
) -> Result<(), Failure> {
    let mut events = LinkEvents::open().map_err(Failure::error)?;
    loop {
        let news = events.next(LOOK).map_err(Failure::error)?;
        let devices = kernel.status(Some(index)).map_err(Failure::error)?;
        if !devices
            .iter()
            .any(|device| device.index == index && device.connected)
        {
            return Ok(());
        }
        let dead = match news {
            Some(LinkEvent::LinkDead { index: dead }) => dead == index,
            Some(LinkEvent::Lost) => true,
            None => false,
        };
        match if dead {
            reconnect(kernel, index, uri, options)?
        } else {
            Reconnected::Again
        } {
            Reconnected::Again => {}
            Reconnected::Gone => return Ok(()),
            Reconnected::Over(why) => return end(kernel, index, why),
        }
    }
}

/// What came of a dead connection.
enum Reconnected {
    /// There is another one.
    Again,
    /// The device is gone: somebody has detached it.
    Gone,
    /// The device is not to be had any more, and why.
    Over(String),
}

/// R17: who waits gets errors, not a device whose contents its caches contradict.
fn end(kernel: &mut Kernel, index: u32, why: String) -> Result<(), Failure> {
    say(&format!(
        "/dev/nbd{index}: disconnected, its users get I/O errors: {why}"
    ));
    kernel.detach(index).map_err(Failure::error)?;
    Err(Failure::Refused {
        code: None,
        why,
        next: format!(
            "stop what uses /dev/nbd{index} and unmount it; then attach it anew where the resource is primary"
        ),
    })
}

/// The server says that the role which the device was attached in will never be served again.
fn is_over(error: &AttachError) -> bool {
    let AttachError::Client(ClientError::Refused { reply, .. }) = error else {
        return false;
    };
    *reply == option_reply::ERR_UNKNOWN
}

/// Also to the system's log: a supervisor that was left behind has no terminal.
fn say(text: &str) {
    out::err!("{text}");
    let line = format!("<28>twindisk[{}]: {text}", std::process::id());
    let sent = UnixDatagram::unbound().and_then(|log| {
        log.set_nonblocking(true)?;
        log.send_to(line.as_bytes(), "/dev/log")
    });
    // A host without a log keeps none.
    let _ = sent;
}

/// Tries until it works, or the device is gone. The kernel has the last word: after its dead-connection timeout it
/// fails what waits.
fn reconnect(
    kernel: &mut Kernel,
    index: u32,
    uri: &Uri,
    options: &AttachOptions,
) -> Result<Reconnected, Failure> {
    let mut said = false;
    let dead = Instant::now();
    loop {
        match kernel.reattach(index, uri, options) {
            Ok(_) => {
                say(&format!("/dev/nbd{index}: connected again"));
                return Ok(Reconnected::Again);
            }
            Err(error) if is_over(&error) => return Ok(Reconnected::Over(error.to_string())),
            Err(error) if !said => {
                said = true;
                say(&format!(
                    "/dev/nbd{index}: the connection is dead, I/O waits: {error}"
                ));
            }
            Err(_) => {}
        }
        thread::sleep(RETRY[usize::from(dead.elapsed() > LATER)]);
        let devices = kernel.status(Some(index)).map_err(Failure::error)?;
        if !devices
            .iter()
            .any(|device| device.index == index && device.connected)
        {
            return Ok(Reconnected::Gone);
        }
    }
}

/// A process of its own, without terminal and out of this one's group.
fn leave_supervisor(
    context: &Context,
    args: &Args,
    index: u32,
    bound: Binding,
) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(Failure::error)?;
    Command::new(program)
        .arg("attach")
        .arg(&args.resource)
        .arg(index.to_string())
        .arg("--supervise")
        .args(["--bound", &bound.to_string()])
        .args(["--connections", &args.connections.to_string()])
        .args(["--dead-timeout", &format!("{}ms", args.dead_timeout.as_millis())])
        .arg("--config")
        .arg(&context.config.path)
        .args(["--node", &context.node.name])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map(drop)
        .map_err(|error| {
            Failure::Error(format!(
                "the supervisor could not be started ({error}): a dead connection will not be replaced"
            ))
        })
}

/// The role in which this node serves the resource now.
fn now(context: &Context, resource: &str) -> Result<Binding, Failure> {
    context.pick(Some(resource))?;
    let status = context.client()?.status(Some(resource))?;
    let replica = (status.resources.into_iter())
        .find(|found| found.name == resource)
        .and_then(|found| found.replica)
        .filter(|replica| replica.export_open);
    replica
        .and_then(|replica| replica.binding)
        .ok_or_else(|| Failure::Refused {
            code: None,
            why: format!("node {} does not serve {resource} now", context.node.name),
            next: "only the primary serves; `twindisk status` shows which node is".to_owned(),
        })
}

fn uri(context: &Context, resource: &str, export: &str) -> Result<Uri, Failure> {
    let (_, member) = context.pick(Some(resource))?;
    let listener = member.nbd.first().or_else(|| context.node.nbd.first());
    let listener = listener.ok_or_else(|| {
        Failure::Config(format!(
            "resource {resource} has no NBD listener on node {}",
            context.node.name
        ))
    })?;
    listener.uri(export).parse().map_err(Failure::error)
}

/// What the kernel compares before it lets a connection be replaced: another resource, or another role of this one, can
/// never slip in.
fn backend(context: &Context, export: &str) -> Result<BackendId, Failure> {
    BackendId::new(format!("twindisk:{}:{export}", context.config.cluster)).map_err(Failure::error)
}

fn index(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("/dev/nbd").unwrap_or(text);
    number
        .parse()
        .map_err(|_| format!("{text:?} is no nbd device: write /dev/nbd0 or 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_is_over_ends_a_device() {
        let refused = |reply| {
            AttachError::Client(ClientError::Refused {
                option: "GO",
                reply,
                message: String::new(),
            })
        };
        assert!(is_over(&refused(option_reply::ERR_UNKNOWN)));
        // A server that restarts, a standby, one that has not read its metadata yet: the device waits.
        for reply in [option_reply::ERR_POLICY, option_reply::ERR_SHUTDOWN] {
            assert!(!is_over(&refused(reply)));
        }
        assert!(!is_over(&AttachError::Client(ClientError::Closed("x"))));
        assert!(!is_over(&AttachError::Busy { index: 0 }));
    }
}
