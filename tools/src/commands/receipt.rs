//! `twindisk receipt`: the word that releases suspended writes or allows a promotion.

use twindisk_control::protocol::{Ask, ReceiptWord};

use crate::{
    ask::{Form, Where},
    exit::Failure,
    input::confirm,
};

/// A receipt says what proves that another node can acknowledge no more writes. Silence, a timeout and a failed ping
/// prove nothing. If what you say is not so, writes that were acknowledged can be lost.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("proof").required(true).args(["released", "fenced", "force"]))]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// The node recorded itself Outdated (`twindisk outdate` there said so)
    #[arg(long)]
    released: bool,
    /// The node was powered off, or its process killed, and was seen to be off afterwards
    #[arg(long)]
    fenced: bool,
    /// None of both: on your word; asks for the resource's name
    #[arg(long, requires = "reason")]
    force: bool,
    /// The node that the receipt is about [default: the only peer]
    #[arg(long, value_name = "NODE")]
    about: Option<String>,
    /// `met` of the node in `twindisk status --json` when that was done: void if the two have met since
    #[arg(long, value_name = "NUMBER")]
    met: Option<u64>,
    /// What was done, by whom; kept in the event log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The resource's name once more, instead of typing it at the prompt
    #[arg(long, value_name = "RESOURCE")]
    confirm: Option<String>,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(place: &Where, args: Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    let kind = match (args.released, args.fenced) {
        (true, _) => ReceiptWord::Released,
        (_, true) => ReceiptWord::Fenced,
        (false, false) => ReceiptWord::Force,
    };
    if args.force {
        let about = args.about.as_deref().unwrap_or("the peer");
        confirm(
            &resource,
            args.confirm.as_deref(),
            &format!(
                "This declares for {resource}, without proof, that {about} acknowledges no more writes. If it does, those writes will be lost."
            ),
        )?;
    }
    let ask = Ask::Receipt {
        met: args.met,
        resource,
        about: args.about,
        kind,
        detail: args.reason.unwrap_or_default(),
    };
    context.tell(ask, args.form)
}
