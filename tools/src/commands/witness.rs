//! `twindisk witness`: the process on a third host that keeps the record of each resource, and what it holds.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use twindisk_witness::{AskError, Cluster, Config, Listed, Question, Reply, Witness};

use crate::{exit::Failure, log::Log, out};

/// Without a subcommand: keeps the records, and answers for them, until it is told to stop.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    log: Log,
    /// Its configuration: where it listens, which clusters it serves
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "/etc/twindisk/witness.toml"
    )]
    witness_config: PathBuf,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Show what the witness of this host holds: a line for each resource of each cluster
    Status {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// It runs on this host, and answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let config =
        Config::load(&args.witness_config).map_err(|error| Failure::Config(error.to_string()))?;
    match args.what {
        None => {
            args.log.begin()?;
            twindisk_witness::run(config).map_err(Failure::error)
        }
        Some(What::Status { json }) => status(&config, json),
    }
}

fn status(config: &Config, json: bool) -> Result<(), Failure> {
    let address = config.reached_at();
    let mut all = serde_json::Map::new();
    let mut doubts = 0;
    let mut text = String::new();
    for (name, Cluster { seal }) in &config.clusters {
        let witness = Witness::new(address.clone(), seal.clone());
        let list = match witness.ask(Question::List, PATIENCE) {
            Ok(Reply::List(list)) => list,
            Ok(Reply::Register { .. }) => Vec::new(),
            Err(error @ AskError::Io { .. }) => return Err(Failure::NotRunning(error.to_string())),
            Err(error) => return Err(Failure::error(error)),
        };
        doubts += list
            .iter()
            .filter(|one| one.register.doubt.is_some())
            .count();
        table(&mut text, name, &list);
        let list = serde_json::to_value(&list).map_err(Failure::error)?;
        all.insert(name.clone(), list);
    }
    if json {
        out::say!("{}", serde_json::Value::Object(all));
    } else {
        out::text(format_args!("{text}"));
    }
    // A script sees by that, that a claim would be refused.
    if doubts > 0 {
        return Err(Failure::Silent(13));
    }
    Ok(())
}

/// A line for each record.
pub(crate) fn table(text: &mut String, cluster: &str, list: &[Listed]) {
    if list.is_empty() {
        let _ = writeln!(
            text,
            "{cluster}: no record yet: no agent of it has written one"
        );
    }
    for Listed {
        resource,
        register,
        seen,
    } in list
    {
        let _ = write!(text, "{cluster} {resource}: ");
        match &register.record {
            Some(record) => {
                let version = record.stamp.version;
                let named: Vec<String> = record.in_sync.iter().map(u8::to_string).collect();
                let _ = write!(
                    text,
                    "record {}.{}, term {}, may take over: node {}, primary: node {}",
                    version.epoch,
                    version.seq,
                    record.term,
                    named.join(", "),
                    record.primary
                );
            }
            None => text.push_str("no record"),
        }
        for (node, ms) in seen {
            let _ = write!(text, "; node {node} asked {} s ago", ms / 1000);
        }
        text.push('\n');
        if let Some(why) = &register.doubt {
            let _ = writeln!(text, "  REFUSES EVERY CLAIM: {why}");
        }
    }
}
