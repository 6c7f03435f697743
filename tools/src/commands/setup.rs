//! `twindisk setup`: the configuration of a new pair and its secret, checked before anything is there, and what comes next.

mod ask;
mod files;
mod plan;
mod steps;
mod text;

use std::io::IsTerminal;

use twindisk_control::{
    config::{Config, Finding, Makes, Severity, check},
    units::Bytes,
};

use crate::{
    ask::Where,
    commands::config,
    commands::setup::{
        files::Files,
        plan::{Fence, Named, Plan},
    },
    exit::Failure,
    input::size,
    out,
};

/// What the options do not say.
const MORE: &str = "\
The configuration (--config) is the same on all nodes; the secret that they share is put beside it. Nothing that is there \
is overwritten. What is to be copied, and run on which node, is said. At a terminal, without nodes, it asks.

  twindisk setup alpha=10.0.0.1,10.9.9.1 beta=10.0.0.2,10.9.9.2 --backing /dev/vg/r0";

/// Write a new pair.
#[derive(clap::Args, Debug)]
#[command(after_help = MORE)]
pub(crate) struct Args {
    /// A node and its addresses. Peers reach it at the first one, at port 7800 if none is written; agents hear each
    /// other over each of them. The initial data is that of the node named first
    #[arg(value_name = "NODE=ADDRESS[,ADDRESS]...", value_parser = Named::addresses)]
    nodes: Vec<Named<Vec<String>>>,
    /// Name of the cluster. It stands in all metadata and never changes
    #[arg(long, value_name = "NAME", default_value = "twindisk")]
    cluster: String,
    /// Name of the replicated device
    #[arg(long, value_name = "NAME", default_value = "r0")]
    resource: String,
    /// The block device or file beneath it: the same path on all nodes, or one for each
    #[arg(long, value_name = "[NODE=]PATH")]
    backing: Vec<String>,
    /// The backing file is to be made, of this size
    #[arg(long, value_parser = size)]
    size: Option<u64>,
    /// How a node is powered off, for automatic failover: a fence agent with its options, as
    /// "alpha=fence_ipmilan ip=10.0.9.1 username=fence password=@FILE"; a value after @ is read from that file. Once more
    /// for the same node: what is tried next
    #[arg(long, value_name = "NODE=AGENT [KEY=VALUE]...", value_parser = Named::fence)]
    fence: Vec<Named<Fence>>,
    /// The witness on a third host, for automatic failover without a power switch
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with = "fence")]
    witness: Option<String>,
    /// Agents, also where neither --fence nor --witness is: a person says then that a lost node is off
    #[arg(long)]
    agent: bool,
}

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let files = Files::beside(&place.config)?;
    let asks = args.nodes.is_empty() && std::io::stdin().is_terminal();
    files.refuse_overwriting(args.witness.is_some())?;
    let plan = if asks {
        ask::plan(&mut std::io::stdin().lock(), &mut std::io::stderr())?
    } else {
        Plan::new(args)?
    };
    let text = text::configuration(&plan, &files);
    let nothing = |error: String| Failure::Config(format!("{error}\nnothing was written"));
    let config = Config::parse(&files.config, &text).map_err(|error| nothing(error.to_string()))?;
    let here = config.this_node(place.node.as_deref()).ok();
    let mut written = files.secret()?;
    if plan.witness.is_some() {
        written.witness(&text::witness(&plan, &files))?;
    }
    let mut findings = here.map_or_else(Vec::new, |node| check(&config, node));
    if config.agent.is_some() {
        // Each node judges the fence devices of the others.
        findings.extend((config.nodes.iter()).flat_map(|node| config::agent(&config, node)));
    }
    let findings = to_tell(findings, args.size.or(plan.size).is_some());
    if let Some(Severity::Missing) = findings.iter().map(|finding| finding.severity).max() {
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        return Err(nothing(lines.join("\n")));
    }
    written.configuration(&text)?;
    for finding in &findings {
        out::say!("{finding}");
    }
    if here.is_none() {
        out::say!(
            "note: this host is none of the nodes (by its name, or --node), so its devices were not looked at"
        );
    }
    out::say!("written, for root alone: {}", written.done());
    out::say!("Next:");
    let by_name = here.is_none() || config.this_node(None).is_ok();
    for step in steps::all(&plan, &files, here.map(|node| &*node.name), by_name) {
        out::say!("{step}");
    }
    Ok(())
}

/// What the operator should know now: no notes, each risk once, and nothing that `twindisk init` makes.
fn to_tell(findings: Vec<Finding>, makes_files: bool) -> Vec<Finding> {
    let mut told: Vec<Finding> = Vec::new();
    for finding in findings {
        let made = match finding.made_by_init {
            Some(Makes::Metadata) => true,
            Some(Makes::BackingFile) => makes_files,
            None => false,
        };
        if !made && finding.severity > Severity::Note && !told.contains(&finding) {
            told.push(finding);
        }
    }
    told
}

/// As `twindisk init` takes it.
fn size_option(size: Option<u64>) -> String {
    size.map_or_else(String::new, |bytes| {
        format!(" --size {}", plain(Bytes(bytes)))
    })
}

/// Without a blank, for a shell.
fn plain(size: Bytes) -> String {
    size.to_string().replace(' ', "")
}
