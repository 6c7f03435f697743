//! Which node and resource a command is about, and asking the process that serves them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use twindisk_control::{
    client::Client,
    config::{Arbiter, Config, Member, Node, Resource},
    protocol::{Answer, Ask, Failed, NodeStatus},
};
use twindisk_core::{CommandReply, Refusal, RefusalCode, Status};

use crate::{exit::Failure, input::time, out};

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct Where {
    /// The configuration, the same file on all nodes
    #[arg(
        long,
        short = 'c',
        global = true,
        value_name = "FILE",
        env = "TWINDISK_CONFIG",
        default_value = "/etc/twindisk/twindisk.toml"
    )]
    pub(crate) config: PathBuf,
    /// Which node of the configuration is meant [default: its `node`, or the one named like this host]
    #[arg(
        long,
        short = 'n',
        global = true,
        value_name = "NODE",
        env = "TWINDISK_NODE"
    )]
    pub(crate) node: Option<String>,
    /// Give up when `twindisk serve` has not answered for so long, with exit code 25 [default: wait; a status 2.5 s]
    #[arg(long, global = true, value_name = "TIME", value_parser = time)]
    pub(crate) timeout: Option<Duration>,
}

/// How a command says what came of it.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Form {
    /// The answer as one JSON object, as on the control socket: `done`, `refused` or `error`
    #[arg(long)]
    pub(crate) json: bool,
}

/// Who decides about a resource with `arbiter = "external"`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Decides {
    /// Also when a cluster manager decides about the resource (`arbiter = "external"`); for its resource agent
    #[arg(long)]
    pub(crate) anyway: bool,
}

/// The configuration as one node sees it.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) node: Node,
    timeout: Option<Duration>,
}

impl Where {
    /// Reads the configuration.
    pub(crate) fn load(&self) -> Result<Context, Failure> {
        let config = Config::load(&self.config)?;
        let node = config.this_node(self.node.as_deref())?.clone();
        let timeout = self.timeout;
        Ok(Context {
            config,
            node,
            timeout,
        })
    }
}

impl Context {
    /// The resource that is meant, and this node's replica of it.
    pub(crate) fn pick(&self, name: Option<&str>) -> Result<(&Resource, &Member), Failure> {
        Ok(self.config.pick(&self.node, name)?)
    }

    /// The name of the resource that is meant.
    pub(crate) fn name(&self, name: Option<&str>) -> Result<String, Failure> {
        Ok(self.pick(name)?.0.name.clone())
    }

    /// The resources that have services.
    pub(crate) fn with_services(&self) -> Vec<String> {
        let resources = self.config.resources.iter();
        let with = resources.filter(|resource| resource.services.is_some());
        with.map(|resource| resource.name.clone()).collect()
    }

    /// What the node with this number is called.
    pub(crate) fn node_name(&self, number: u64) -> String {
        let mut nodes = self.config.nodes.iter();
        nodes
            .find(|node| u64::from(node.id.0) == number)
            .map_or_else(|| format!("node {number}"), |node| node.name.clone())
    }

    /// A connection to the process that serves this node.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let start = start_command(&self.config.path, &self.node.name);
        let socket = &self.node.control_socket;
        let client = Client::connect(socket, &self.node.name, &start)?;
        Ok(client.with_patience(self.timeout)?)
    }

    /// R8: one arbiter for each resource. What it decides, nobody decides by hand behind its back.
    pub(crate) fn may_decide(&self, resource: &str, decides: Decides) -> Result<(), Failure> {
        let external = self
            .config
            .resource(resource)
            .is_some_and(|resource| resource.arbiter == Arbiter::External);
        if !external || decides.anyway {
            return Ok(());
        }
        Err(Failure::Refused {
            code: None,
            why: format!("a cluster manager decides about {resource} (arbiter = \"external\")"),
            next: "tell it there (`pcs`, `crm`, `crm_resource`); or, in its maintenance mode, the same with --anyway"
                .to_owned(),
        })
    }

    /// Whether a process serves this node's replica of a resource now. Its files are locked then; without it they may still be
    /// for a moment, until the kernel has let go of them.
    pub(crate) fn is_served(&self, resource: &str) -> bool {
        let Ok(mut client) = self.client() else {
            return false;
        };
        let is_down = |status: NodeStatus| status.resources.iter().all(|one| one.down);
        // Who does not answer may serve it.
        !client.status(Some(resource)).is_ok_and(is_down)
    }

    /// What this node's replica says of itself.
    pub(crate) fn replica(&self, resource: &str) -> Result<Status, Failure> {
        let status = self.client()?.status(Some(resource))?;
        let found = status.resources.into_iter().next();
        let found =
            found.ok_or_else(|| Failure::Error(format!("there is no resource {resource}")))?;
        if found.down {
            return Err(Failure::NotRunning(format!(
                "{resource} is down on this node: `twindisk up {resource}` starts it"
            )));
        }
        found
            .replica
            .ok_or_else(|| Failure::Error(found.why.unwrap_or_default()))
    }

    /// Asks for something and prints the answer.
    pub(crate) fn tell(&self, ask: Ask, form: Form) -> Result<(), Failure> {
        form.say(self.done(ask))
    }

    /// Asks for something and returns what is true then. What is so already is done.
    pub(crate) fn done(&self, ask: Ask) -> Result<String, Failure> {
        let wants_a_state = matches!(
            ask,
            Ask::Promote { .. } | Ask::Demote { .. } | Ask::Receipt { .. }
        );
        match self.client()?.ask(ask)? {
            Answer::Done(reply) => Ok(reply.message),
            Answer::Refused(refusal)
                if wants_a_state && refusal.code == RefusalCode::NothingToDo =>
            {
                Ok(refusal.why)
            }
            Answer::Refused(refusal) => Err(refusal.into()),
            Answer::Error(failed) => Err(failed.into()),
            other => Err(Failure::Error(format!("unexpected answer: {other:?}"))),
        }
    }
}

impl Form {
    /// Says what came of it.
    pub(crate) fn say(self, outcome: Result<String, Failure>) -> Result<(), Failure> {
        if !self.json {
            out::say!("{}", outcome?);
            return Ok(());
        }
        let (answer, end) = match outcome {
            Ok(message) => (Answer::Done(CommandReply { message }), Ok(())),
            Err(failure) => {
                let code = failure.code();
                (as_answer(failure), Err(Failure::Silent(code)))
            }
        };
        out::say!(
            "{}",
            serde_json::to_string(&answer).map_err(Failure::error)?
        );
        end
    }
}

fn as_answer(failure: Failure) -> Answer {
    match failure {
        Failure::Refused {
            code: Some(code),
            why,
            next,
        } => Answer::Refused(Refusal { code, why, next }),
        Failure::Refused {
            code: None,
            why,
            next,
        } => Answer::Error(Failed { why, next }),
        other => Answer::Error(Failed {
            why: other.text(),
            next: String::new(),
        }),
    }
}

/// How to start what is not running.
pub(crate) fn start_command(config: &Path, node: &str) -> String {
    format!("twindisk serve --config {} --node {node}", config.display())
}
