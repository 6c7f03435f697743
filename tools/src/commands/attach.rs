//! `twindisk attach` and `detach`: the resource as a block device of this host's kernel.

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use twindisk_nbd::{
    attach::{AttachOptions, BackendId, Kernel, LinkEvent, LinkEvents},
    client::Uri,
};

use crate::{
    ask::{Context, Where},
    exit::Failure,
    input::time,
};

/// The kernel takes the connection over; a supervisor replaces it when it dies (a restart of `twindisk serve`), and
/// the users of the device only see a pause.
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
    #[arg(long, hide = true, requires = "device")]
    supervise: bool,
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
    let uri = uri(&context, &args.resource)?;
    let mut options = AttachOptions {
        index: args.device,
        connections: usize::from(args.connections),
        dead_connection_timeout: Some(args.dead_timeout),
        backend: Some(backend(&context, &args.resource)?),
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
    println!("{}", attached.device_path().display());
    if args.foreground {
        return supervise(&mut kernel, attached.index, &uri, &options);
    }
    leave_supervisor(&context, args, attached.index)
}

pub(crate) fn detach(args: &DetachArgs) -> Result<(), Failure> {
    let mut kernel = Kernel::open().map_err(Failure::error)?;
    kernel.detach(args.device).map_err(Failure::error)?;
    println!("/dev/nbd{} is detached", args.device);
    Ok(())
}

/// 30 seconds by default. This is not the timeout that attaching can set, after which the kernel gives a connection up:
/// it only makes the driver look at what is under way (`nbd_xmit_timeout` in drivers/block/nbd.c).
fn send_again_soon(index: u32) {
    let path = format!("/sys/block/nbd{index}/queue/io_timeout");
    if let Err(error) = fs::write(&path, SEND_AGAIN.as_millis().to_string()) {
        eprintln!(
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
        if dead && !reconnect(kernel, index, uri, options)? {
            return Ok(());
        }
    }
}

/// Tries until it works, or the device is gone. The kernel has the last word: after its dead-connection timeout it
/// fails what waits.
fn reconnect(
    kernel: &mut Kernel,
    index: u32,
    uri: &Uri,
    options: &AttachOptions,
) -> Result<bool, Failure> {
    let mut said = false;
    let dead = Instant::now();
    loop {
        match kernel.reattach(index, uri, options) {
            Ok(_) => {
                eprintln!("/dev/nbd{index}: connected again");
                return Ok(true);
            }
            Err(error) if !said => {
                said = true;
                eprintln!("/dev/nbd{index}: the connection is dead, I/O waits: {error}");
            }
            Err(_) => {}
        }
        thread::sleep(RETRY[usize::from(dead.elapsed() > LATER)]);
        let devices = kernel.status(Some(index)).map_err(Failure::error)?;
        if !devices
            .iter()
            .any(|device| device.index == index && device.connected)
        {
            return Ok(false);
        }
    }
}

/// A process of its own, without terminal and out of this one's group.
fn leave_supervisor(context: &Context, args: &Args, index: u32) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(Failure::error)?;
    Command::new(program)
        .arg("attach")
        .arg(&args.resource)
        .arg(index.to_string())
        .arg("--supervise")
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

fn uri(context: &Context, resource: &str) -> Result<Uri, Failure> {
    let (_, member) = context.pick(Some(resource))?;
    let listener = member.nbd.first().or_else(|| context.node.nbd.first());
    let listener = listener.ok_or_else(|| {
        Failure::Config(format!(
            "resource {resource} has no NBD listener on node {}",
            context.node.name
        ))
    })?;
    listener.uri(resource).parse().map_err(Failure::error)
}

/// What the kernel compares before it lets a connection be replaced: another resource can never slip in.
fn backend(context: &Context, resource: &str) -> Result<BackendId, Failure> {
    BackendId::new(format!("twindisk:{}:{resource}", context.config.cluster))
        .map_err(Failure::error)
}

fn index(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("/dev/nbd").unwrap_or(text);
    number
        .parse()
        .map_err(|_| format!("{text:?} is no nbd device: write /dev/nbd0 or 0"))
}
