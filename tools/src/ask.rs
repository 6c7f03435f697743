//! Which node and resource a command is about, and asking the process that serves them.

use std::path::{Path, PathBuf};

use clap::Args;
use twindisk_control::{
    client::Client,
    config::{Config, Member, Node, Resource},
    protocol::{Answer, Ask},
};

use crate::{exit::Failure, out};

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
}

/// The configuration as one node sees it.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) node: Node,
}

impl Where {
    /// Reads the configuration.
    pub(crate) fn load(&self) -> Result<Context, Failure> {
        let config = Config::load(&self.config)?;
        let node = config.this_node(self.node.as_deref())?.clone();
        Ok(Context { config, node })
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
        Ok(Client::connect(socket, &self.node.name, &start)?)
    }

    /// Whether a process serves this node now. Its files are locked then; without it they may still be for a moment,
    /// until the kernel has let go of them.
    pub(crate) fn is_served(&self) -> bool {
        self.client().is_ok()
    }

    /// Asks for something and prints the answer.
    pub(crate) fn tell(&self, ask: Ask) -> Result<(), Failure> {
        out::say!("{}", self.done(ask)?);
        Ok(())
    }

    /// Asks for something and returns what is true then.
    pub(crate) fn done(&self, ask: Ask) -> Result<String, Failure> {
        match self.client()?.ask(ask)? {
            Answer::Done(reply) => Ok(reply.message),
            Answer::Refused(refusal) => Err(refusal.into()),
            Answer::Error(failed) => Err(failed.into()),
            other => Err(Failure::Error(format!("unexpected answer: {other:?}"))),
        }
    }
}

/// How to start what is not running.
pub(crate) fn start_command(config: &Path, node: &str) -> String {
    format!("twindisk serve --config {} --node {node}", config.display())
}
