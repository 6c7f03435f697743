//! `twindisk config check`: what is missing, what is risky.

use clap::Subcommand;
use twindisk_agent::Settings;
use twindisk_control::config::{Finding, Severity, check};

use crate::{
    ask::{Context, Where},
    exit::Failure,
    out,
};

/// Look at the configuration.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Say what is missing or risky on this node; exit code 10 when something is missing
    Check {
        /// As a JSON array
        #[arg(long)]
        json: bool,
        /// Risks fail too
        #[arg(long)]
        strict: bool,
    },
}

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let What::Check { json, strict } = &args.what;
    let context = place.load()?;
    let mut findings = check(&context.config, &context.node);
    if context.config.agent.is_some() {
        findings.extend(agent(&context));
    }
    if *json {
        let text = serde_json::to_string_pretty(&findings).map_err(Failure::error)?;
        out::say!("{text}");
    } else {
        for finding in &findings {
            out::say!("{finding}");
        }
        if findings.is_empty() {
            out::say!(
                "{}: nothing is missing and nothing is risky",
                context.config.path.display()
            );
        }
    }
    let worst = findings.iter().map(|finding| finding.severity).max();
    match worst {
        Some(Severity::Missing) => Err(Failure::Silent(10)),
        Some(Severity::Risk) if *strict => Err(Failure::Silent(10)),
        Some(Severity::Risk | Severity::Note) | None => Ok(()),
    }
}

/// What the agent of this node would say of its part.
fn agent(context: &Context) -> Vec<Finding> {
    let about = || "agent".to_owned();
    match Settings::new(&context.config, &context.node) {
        Ok(settings) => settings
            .warnings
            .into_iter()
            .map(|text| Finding {
                severity: Severity::Risk,
                about: about(),
                text,
            })
            .collect(),
        Err(error) => vec![Finding {
            severity: Severity::Missing,
            about: about(),
            text: error.to_string(),
        }],
    }
}
