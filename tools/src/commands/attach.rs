//! `twindisk attach` and `detach`: the resource as a block device of this host's kernel.

mod supervise;

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::Duration,
};

use twindisk_format::binding::{Binding, SEPARATOR};
use twindisk_nbd::{
    attach::{AttachOptions, BackendId, Kernel, attached_devices},
    client::Uri,
};

use self::supervise::{Device, First};
use crate::{
    ask::{Context, Where},
    exit::Failure,
    input::time,
    out,
};

/// The kernel takes the connection over; a supervisor replaces it when it dies (a restart of `twindisk serve`), and
/// the users of the device only see a pause. When another node has written to the resource meanwhile, the device is
/// disconnected instead: its users, whose caches are older than the data, get I/O errors (exit code 11 of the supervisor,
/// which writes to the system's log, too). A resource that is attached already is adopted with all that waits in it: a
/// supervisor that has died gets a successor.
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

/// A request that was under way on a connection that died is sent again once it is as old as this and there is another
/// connection; for longer the kernel waits for an answer that cannot come. It logs each older request as "possibly stuck".
const SEND_AGAIN: Duration = Duration::from_millis(500);

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    let mut kernel = Kernel::open().map_err(Failure::error)?;
    if let (true, Some(index), Some(bound)) = (args.supervise, args.device, args.bound) {
        return device(&context, args, index, bound)?.supervise(&mut kernel);
    }
    match attached(&context, args)? {
        Some((index, bound)) => adopt(&mut kernel, &context, args, index, bound),
        None => attach(&mut kernel, &context, args),
    }
}

pub(crate) fn detach(args: &DetachArgs) -> Result<(), Failure> {
    let mut kernel = Kernel::open().map_err(Failure::error)?;
    kernel.detach(args.device).map_err(Failure::error)?;
    out::say!("/dev/nbd{} is detached", args.device);
    Ok(())
}

fn attach(kernel: &mut Kernel, context: &Context, args: &Args) -> Result<(), Failure> {
    let bound = now(context, &args.resource)?;
    let (uri, options) = options(context, args, args.device, bound)?;
    let attached = kernel.attach(&uri, &options).map_err(|error| {
        Failure::Error(format!(
            "{error} (only the primary serves {})",
            args.resource
        ))
    })?;
    // With several connections it would take each one for dead on which a request is as old as this.
    if options.connections == 1 {
        send_again_soon(attached.index);
    }
    out::say!("{}", attached.device_path().display());
    if args.foreground {
        return device(context, args, attached.index, bound)?.supervise(kernel);
    }
    leave_supervisor(context, args, attached.index, bound)
}

/// The device is there, with all that waits in it: whoever supervised it may be gone.
fn adopt(
    kernel: &mut Kernel,
    context: &Context,
    args: &Args,
    index: u32,
    bound: Binding,
) -> Result<(), Failure> {
    let device = device(context, args, index, bound)?;
    let path = format!("/dev/nbd{index}");
    if args.foreground {
        out::say!("{path}");
        return device.supervise(kernel);
    }
    if device.is_supervised()? {
        out::say!("{path}");
        return Ok(());
    }
    match device.connect_at_once(kernel)? {
        First::Connected => {}
        First::Waits(why) => out::err!("{path}: I/O waits for the server: {why}"),
        First::Over(why) => return device.end(kernel, why),
    }
    out::say!("{path}");
    leave_supervisor(context, args, index, bound)
}

/// The device that the resource is attached as, and the role in which it was.
fn attached(context: &Context, args: &Args) -> Result<Option<(u32, Binding)>, Failure> {
    let devices = attached_devices().map_err(Failure::error)?;
    let start = format!("{}{SEPARATOR}", backend_of(context, &args.resource));
    let ours = devices.iter().filter_map(|device| {
        let bound = device.backend.strip_prefix(&start)?.parse().ok()?;
        Some((device.index, bound))
    });
    let ours: Vec<_> = ours.collect();
    let wanted = |(index, _): &&(u32, Binding)| args.device.is_none_or(|wanted| wanted == *index);
    match (ours.iter().find(wanted), ours.first(), args.device) {
        (Some(found), ..) => Ok(Some(*found)),
        (None, Some((other, _)), Some(wanted)) => Err(Failure::Refused {
            code: None,
            why: format!("{} is attached as /dev/nbd{other} already", args.resource),
            next: format!(
                "use that one, or detach it first: the kernel would keep a cache of its own for /dev/nbd{wanted}, and neither \
                 would know of the other"
            ),
        }),
        (None, ..) => Ok(None),
    }
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

fn device(context: &Context, args: &Args, index: u32, bound: Binding) -> Result<Device, Failure> {
    let (uri, options) = options(context, args, Some(index), bound)?;
    let locks = context.node.run_dir.clone();
    Ok(Device {
        index,
        uri,
        options,
        locks,
    })
}

/// R17: by a name that is refused for ever once somebody else may have written.
fn options(
    context: &Context,
    args: &Args,
    index: Option<u32>,
    bound: Binding,
) -> Result<(Uri, AttachOptions), Failure> {
    let export = bound.export_of(&args.resource);
    let backend = BackendId::new(backend_of(context, &export)).map_err(Failure::error)?;
    let options = AttachOptions {
        index,
        connections: usize::from(args.connections),
        dead_connection_timeout: Some(args.dead_timeout),
        backend: Some(backend),
        ..AttachOptions::default()
    };
    Ok((uri(context, &args.resource, &export)?, options))
}

/// What the kernel compares before it lets a connection be replaced: another resource, or another role of this one, can
/// never slip in.
fn backend_of(context: &Context, export: &str) -> String {
    format!("twindisk:{}:{export}", context.config.cluster)
}

fn index(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("/dev/nbd").unwrap_or(text);
    number
        .parse()
        .map_err(|_| format!("{text:?} is no nbd device: write /dev/nbd0 or 0"))
}
