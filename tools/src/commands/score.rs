//! `twindisk score`: how good a primary this node would be, in two words, for cluster managers.

use serde_json::json;
use twindisk_core::{Role, Status};

use crate::{
    ask::{Form, Where},
    exit::Failure,
    out,
};

/// Two words: the promotion score and the role. `10000 primary`; `1000 standby`, whose copy is the newest; `none standby`,
/// which can't be promoted as it is. Fails when the replica does not run.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// Then a line `missing NODE MET LOST-MS` for each node that suspended I/O or a promotion waits for: `met` as in the status,
    /// and for how many milliseconds it has been lost, or `connected`
    #[arg(long)]
    missing: bool,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    let replica = context.replica(&resource)?;
    let score = replica.promotion.as_ref().and_then(|one| one.score);
    let role = match replica.role {
        Role::Primary => "primary",
        Role::Standby => "standby",
    };
    if args.form.json {
        let promotion = &replica.promotion;
        out::say!(
            "{}",
            json!({ "resource": resource, "role": role, "promotion": promotion, "suspended": replica.suspended })
        );
    } else {
        let score = score.map_or_else(|| "none".to_owned(), |score| score.to_string());
        out::say!("{score} {role}");
        if args.missing {
            say_missing(&replica);
        }
    }
    Ok(())
}

fn say_missing(replica: &Status) {
    let suspended = replica.suspended.iter().flat_map(|one| &one.missing);
    let promotion = replica.promotion.iter().flat_map(|one| &one.missing);
    for one in suspended.chain(promotion) {
        let lost = one
            .lost_ms
            .map_or_else(|| "connected".to_owned(), |ms| ms.to_string());
        out::say!("missing {} {} {lost}", one.node, one.met);
    }
}
