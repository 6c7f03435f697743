//! `twindisk agent`: the process that decides on failover, and what a person may say to it.

use std::{fmt::Write, io, time::Duration};

use twindisk_agent::{AgentAnswer, AgentAsk, AgentReply, AtWork, Client, words};
use twindisk_control::clock::seconds_text;

use crate::{
    ask::{Context, Where},
    exit::Failure,
    log::Log,
    out,
};

/// Without a subcommand: runs the agent of this node until it is told to stop.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    log: Log,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Show what the agent hears and wants, and why
    Status {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Let it decide nothing, or decide again
    Maintenance {
        /// on or off
        #[arg(action = clap::ArgAction::Set, value_parser = on_or_off)]
        on: bool,
    },
    /// Let automatic failover go on after too many of them
    Clear,
    /// Take the services of this node down: `twindisk serve` is about to be stopped
    ///
    /// They stay down until it was started again, or for 90 s. Nothing is to be done where no agent runs.
    Yield,
}

/// A test asks every device several things, each within its own deadline.
const PATIENCE: Duration = Duration::from_secs(300);

/// An agent that stands still must not keep a status waiting: it answers from memory.
const GLANCE: Duration = Duration::from_secs(2);

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("write on or off".to_owned()),
    }
}

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    let ask = match &args.what {
        None => {
            args.log.begin()?;
            return watch_over(&context);
        }
        Some(What::Status { json }) => {
            let reply = status(&context)?;
            if *json {
                out::say!("{}", serde_json::to_string(&reply).map_err(Failure::error)?);
            } else {
                out::text(format_args!("{}", table(&reply, &context.with_services())));
            }
            return Ok(());
        }
        Some(What::Maintenance { on }) => AgentAsk::Maintenance { on: *on },
        Some(What::Clear) => AgentAsk::Clear,
        Some(What::Yield) => AgentAsk::Yield,
    };
    tell(&context, &ask)
}

fn watch_over(context: &Context) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(Failure::error)?;
    let twindisk = [
        program.display().to_string(),
        "--config".to_owned(),
        context.config.path.display().to_string(),
        "--node".to_owned(),
        context.node.name.clone(),
    ];
    twindisk_agent::run(&context.config, &context.node, twindisk.to_vec()).map_err(not_begun)
}

fn not_begun(error: twindisk_agent::RunError) -> Failure {
    match error {
        twindisk_agent::RunError::Settings(error) => Failure::Config(error.to_string()),
        other => Failure::error(other),
    }
}

/// What this node's agent says of itself, if one runs.
pub(crate) fn if_running(context: &Context) -> Option<AgentReply> {
    let socket = context.node.run_dir.join("agent.sock");
    let mut client = Client::connect(&socket, GLANCE).ok()?;
    match client.ask(&AgentAsk::Status) {
        Ok(AgentAnswer::Status(reply)) => Some(*reply),
        _ => None,
    }
}

/// Everything that this node's agent says of itself.
pub(crate) fn status(context: &Context) -> Result<AgentReply, Failure> {
    match asked(context, &AgentAsk::Status)? {
        AgentAnswer::Status(reply) => Ok(*reply),
        AgentAnswer::Done(_) | AgentAnswer::Refused(_) => {
            Err(Failure::error("the agent does not say its status"))
        }
    }
}

/// The agent's part of a status; nothing if none runs.
pub(crate) fn glance(context: &Context) -> String {
    match asked(context, &AgentAsk::Status) {
        Ok(AgentAnswer::Status(reply)) => format!("\n{}", table(&reply, &context.with_services())),
        Err(Failure::Error(why)) => format!("\n  ! {why}\n"),
        Ok(_) | Err(_) => String::new(),
    }
}

/// Asks this node's agent, and prints what it says.
pub(crate) fn tell(context: &Context, ask: &AgentAsk) -> Result<(), Failure> {
    told(asked(context, ask)?)
}

/// Proves the fence devices of a node: through the agent, or without one, before anything depends on them.
pub(crate) fn fence_test(context: &Context, peer: String) -> Result<(), Failure> {
    match asked(context, &AgentAsk::Test { node: peer.clone() }) {
        Err(Failure::NotRunning(_)) => {
            out::err!("no agent runs on this node: this command asks the devices as one would");
            let answer = twindisk_agent::fence_test(&context.config, &context.node, &peer);
            told(answer.map_err(not_begun)?)
        }
        answer => told(answer?),
    }
}

fn told(answer: AgentAnswer) -> Result<(), Failure> {
    match answer {
        AgentAnswer::Done(text) => {
            out::say!("{text}");
            Ok(())
        }
        AgentAnswer::Refused(why) => Err(Failure::Refused {
            code: None,
            why,
            next: String::new(),
        }),
        AgentAnswer::Status(_) => Err(Failure::error("unexpected answer of the agent")),
    }
}

fn asked(context: &Context, ask: &AgentAsk) -> Result<AgentAnswer, Failure> {
    let socket = context.node.run_dir.join("agent.sock");
    let not_running = |error| {
        Failure::NotRunning(format!(
            "no `twindisk agent` is running for node {} ({}: {error}): start it with: twindisk agent --config {} --node {}",
            context.node.name,
            socket.display(),
            context.config.path.display(),
            context.node.name
        ))
    };
    let patience = match ask {
        AgentAsk::Status => GLANCE,
        _ => PATIENCE,
    };
    let mut client = Client::connect(&socket, patience).map_err(not_running)?;
    client.ask(ask).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Failure::error(format!(
            "`twindisk agent` of node {} says nothing for {} s: it was stopped (SIGSTOP), or its host is busy with something \
             else. The other node takes this one for dead, if nothing else is heard from it",
            context.node.name,
            patience.as_secs()
        )),
        _ => Failure::error(error),
    })
}

/// For eyes. Only of resources `with_services` there is something to say about those.
pub(crate) fn table(reply: &AgentReply, with_services: &[String]) -> String {
    let mut text = String::new();
    let status = &reply.status;
    let _ = writeln!(
        text,
        "agent of {}   profile {}",
        status.node,
        words::profile(status.profile)
    );
    if status.maintenance {
        text.push_str("  MAINTENANCE: it decides nothing until `twindisk agent maintenance off`\n");
    }
    if status.blocked {
        text.push_str("  BLOCKED: too many failovers; `twindisk agent clear` lets it go on\n");
    }
    if let Some(why) = &status.memory_fault {
        let _ = writeln!(
            text,
            "  ! its memory can't be stored, so it fires at nobody: {why}"
        );
    }
    if status.clients_reachable == Some(false) {
        text.push_str("  no ping target answers: this node seems to be cut off from its clients\n");
    }
    for warning in &reply.warnings {
        let _ = writeln!(text, "  ! {warning}");
    }
    for peer in &status.peers {
        let _ = writeln!(text, "peer {}   {}", peer.name, peer.state);
        for path in &peer.paths {
            let heard = path
                .silent_ms
                .map_or("never heard".to_owned(), |ms| format!("heard {ms} ms ago"));
            let there = if path.heard_there {
                ""
            } else {
                ", does not hear this node over it"
            };
            let _ = writeln!(text, "  {}   {heard}{there}", path.path);
        }
        let device = match (peer.can_fence, peer.needs_fence) {
            (true, _) => format!("answers in {} ms", peer.fence_latency_ms),
            (false, true) => "none: a person must say that it is off".to_owned(),
            (false, false) => "none, and none is needed: an arbiter decides".to_owned(),
        };
        let _ = writeln!(text, "  fence device   {device}");
    }
    for resource in &status.resources {
        let services = if with_services.contains(&resource.name) {
            format!("   services {}", words::services(resource.services))
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "resource {}   {}{services}",
            resource.name, resource.state
        );
        let ours = |one: &&AtWork| one.resource == resource.name;
        for one in reply.at_work.iter().filter(ours) {
            let _ = writeln!(text, "  {}", one.what);
        }
        let could = resource.succession.as_ref().map(|found| {
            let mark = if found.successors.is_empty() {
                "! "
            } else {
                ""
            };
            format!("{mark}{}", found.in_words())
        });
        // What is wrong with its arbiter may be why nobody could: that is said once.
        let said = could.as_deref().unwrap_or_default();
        let record = resource.arbiter.as_ref();
        let record = record.filter(|record| !said.contains(&***record));
        for line in could.iter().chain(record) {
            let _ = writeln!(text, "  {line}");
        }
        if let Some(said) = &resource.ended {
            let _ = writeln!(text, "  ! {said}");
        }
        if let Some(missing) = &resource.missing {
            let _ = writeln!(text, "  ! {missing}");
        }
        for fault in &resource.faults {
            let _ = writeln!(text, "  ! {fault}");
        }
    }
    if let Some(last) = status.failovers.last() {
        let _ = writeln!(
            text,
            "last failover   {} {} from {} in {} ms, by {}",
            seconds_text(last.at),
            last.resource,
            last.from,
            last.took_ms,
            last.receipt
        );
    }
    for told in reply.told.iter().rev().take(5).rev() {
        let resource = told
            .resource
            .as_deref()
            .map_or(String::new(), |name| format!("{name}: "));
        let _ = writeln!(
            text,
            "  {} {}: {resource}{}",
            seconds_text(told.at),
            words::level(told.level),
            told.what
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_tells_has_times_and_words() {
        let reply = r#"{"node":"alpha","profile":"default","maintenance":false,"blocked":false,"clients-reachable":null,
            "peers":[],"resources":[{"name":"r0","state":"standby, beta lost","services":"down"},
                {"name":"r1","state":"primary here, beta connected","services":"down",
                    "succession":{"primary":"alpha","successors":["beta"],"obstacles":[]},
                    "arbiter":"alpha or beta could go on alone, by the witness's record 1.7 of term 5",
                    "keeper":{"answers":true,"record":{"epoch":1,"seq":7,"term":5,"names":["alpha","beta"]}}},
                {"name":"r2","state":"standby, beta connected","services":"down","succession":{"primary":"beta","successors":[],
                    "obstacles":[{"node":"alpha","code":"arbiter-silent","why":"the witness has not answered for 12 s"}]},
                    "arbiter":"the witness has not answered for 12 s"}],
            "failovers":[{"resource":"r0","from":"beta","at":1700000000,"took-ms":7,"receipt":"fence"}],
            "at-work":[{"resource":"r0","what":"postgresql /srv/db starts, for 3 s: in recovery"}],"warnings":[],"told":[{"at":1700000001,"level":"alarm","resource":"r0","what":"look"}]}"#;
        let reply: AgentReply = serde_json::from_str(reply).expect("as an agent answers");
        assert_eq!(
            table(&reply, &["r0".to_owned()]),
            "agent of alpha   profile default\n\
             resource r0   standby, beta lost   services down\n  \
             postgresql /srv/db starts, for 3 s: in recovery\n\
             resource r1   primary here, beta connected\n  \
             beta could take over\n  \
             alpha or beta could go on alone, by the witness's record 1.7 of term 5\n\
             resource r2   standby, beta connected\n  \
             ! nobody could take over: the witness has not answered for 12 s\n\
             last failover   2023-11-14T22:13:20Z r0 from beta in 7 ms, by fence\n  \
             2023-11-14T22:13:21Z alarm: r0: look\n"
        );
        let bare = table(&reply, &[]);
        assert!(
            bare.contains("resource r0   standby, beta lost\n"),
            "{bare}"
        );
    }
}
