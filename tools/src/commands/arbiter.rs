//! `twindisk arbiter`: the records by which the next term is granted, as a witness or etcd keeps them, and a person's word
//! about them.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Map, Value, json};
use twindisk_agent::AgentAsk;
use twindisk_control::config::Arbiter;
use twindisk_etcd::Member;
use twindisk_witness::{Listed, Question, Reply};

use crate::{
    ask::{Context, Where},
    commands::{agent, witness},
    exit::Failure,
    out,
};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Ask who keeps the records of this cluster what they say: a line for each resource, and for each member of etcd
    Status {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Let the record of a resource begin anew, which was rolled back, emptied or damaged: on the primary, with its standby
    /// connected and in sync
    Adopt {
        /// The resource [default: the only one]
        resource: Option<String>,
    },
}

/// A person waits so long; an agent does not.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(place: &Where, args: Args) -> Result<(), Failure> {
    let context = place.load()?;
    match args.what {
        What::Status { json } => status(&context, json),
        What::Adopt { resource } => agent::tell(&context, &AgentAsk::Adopt { resource }),
    }
}

fn status(context: &Context, json: bool) -> Result<(), Failure> {
    let config = &context.config;
    let failed = |error: twindisk_control::config::ConfigError| Failure::Config(error.to_string());
    let secret = config.secret.read().map_err(failed)?;
    let mut all = Map::new();
    let mut text = String::new();
    let (mut silent, mut wrong) = (None, 0);
    for kind in [Arbiter::Witness, Arbiter::Etcd] {
        let used = config.resources.iter().any(|one| one.arbiter == kind);
        let keeper = twindisk_agent::keeper(config, kind, &secret).filter(|_| used);
        let Some(keeper) = keeper else { continue };
        let mut said = Map::new();
        match keeper.ask(Question::List, PATIENCE) {
            Ok(Reply::List(list)) => {
                wrong += list.iter().filter(|one| is_refused(one)).count();
                witness::table(&mut text, &config.cluster, &list);
                let list = serde_json::to_value(&list).map_err(Failure::error)?;
                said.insert("records".to_owned(), list);
            }
            Ok(Reply::Register { .. }) => {}
            Err(why) => silent = Some(why.to_string()),
        }
        if let Some(etcd) = config.etcd.as_ref().filter(|_| kind == Arbiter::Etcd) {
            let members = twindisk_agent::etcd(config, etcd, &secret).members(PATIENCE);
            wrong += usize::from(are_several(&members));
            said.insert("members".to_owned(), members_as_json(&members));
            members_in_words(&mut text, &members);
        }
        all.insert(kind.word().to_owned(), Value::Object(said));
    }
    if json {
        out::say!("{}", Value::Object(all));
    } else if all.is_empty() {
        out::say!("no resource has arbiter = \"witness\" or \"etcd\": no records are kept");
    } else {
        out::text(format_args!("{text}"));
    }
    match silent {
        Some(why) => Err(Failure::NotRunning(why)),
        // A script sees by that, that a claim would be refused.
        None if wrong > 0 => Err(Failure::Silent(13)),
        None => Ok(()),
    }
}

fn is_refused(one: &Listed) -> bool {
    one.register.doubt.is_some()
}

type Members = [(String, Result<Member, String>)];

/// The endpoints belong to different etcds: each has records of its own, and two nodes could ask different ones.
fn are_several(members: &Members) -> bool {
    let mut ids = members
        .iter()
        .filter_map(|(_, said)| Some(&said.as_ref().ok()?.cluster_id));
    let first = ids.next();
    ids.any(|id| Some(id) != first)
}

fn members_in_words(text: &mut String, members: &Members) {
    for (endpoint, said) in members {
        let _ = write!(text, "etcd at {endpoint}: ");
        match said {
            Ok(member) => {
                let leads = match member.leads {
                    Some(true) => "leads",
                    Some(false) => "follows",
                    None => "knows no leader",
                };
                let _ = writeln!(text, "version {}, {leads}", member.version);
                for error in &member.errors {
                    let _ = writeln!(text, "  ALARM: {}", error.trim());
                }
            }
            Err(why) => {
                let _ = writeln!(text, "it {why}");
            }
        }
    }
    if are_several(members) {
        text.push_str(
            "  THESE ARE SEVERAL ETCDS: each keeps records of its own. Name members of one in [etcd] endpoints\n",
        );
    }
}

fn members_as_json(members: &Members) -> Value {
    let each = members.iter().map(|(endpoint, said)| match said {
        Ok(member) => json!({
            "endpoint": endpoint,
            "cluster-id": member.cluster_id,
            "version": member.version,
            "leads": member.leads,
            "errors": member.errors,
        }),
        Err(why) => json!({ "endpoint": endpoint, "fault": why }),
    });
    each.collect()
}
