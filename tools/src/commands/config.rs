//! `twindisk config check`: what is missing, what is risky.

use clap::Subcommand;
use twindisk_agent::Settings;
use twindisk_control::config::{Config, Finding, Node, Severity, check};

use crate::{ask::Where, exit::Failure, out};

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
    let findings = findings(&context.config, &context.node);
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

/// What is missing or risky on a node, its agent's part at the end.
pub(crate) fn findings(config: &Config, node: &Node) -> Vec<Finding> {
    let mut findings = check(config, node);
    if config.agent.is_some() {
        findings.extend(agent(config, node));
    }
    findings
}

/// What the agent of a node would say of its part.
pub(crate) fn agent(config: &Config, node: &Node) -> Vec<Finding> {
    let finding = |severity, text| Finding {
        severity,
        about: "agent".to_owned(),
        text,
        made_by_init: None,
    };
    match Settings::new(config, node) {
        Ok(settings) => (settings.warnings.into_iter())
            .map(|text| finding(Severity::Risk, text))
            .collect(),
        Err(error) => vec![finding(Severity::Missing, error.to_string())],
    }
}
