//! The network between the two halves of a contestant: loopback, or two namespaces with a cable that can be cut.

use std::process::Command;

use crate::{
    failure::Result,
    house::{namespace, output},
};

/// Of the first and the second half.
pub const LOCAL: usize = 0;
/// See [`LOCAL`].
pub const REMOTE: usize = 1;

const CABLE: &str = "cable";

/// The network.
#[derive(Clone, Debug)]
pub struct Network {
    namespaces: Option<[String; 2]>,
}

impl Network {
    /// Both halves on loopback.
    #[must_use]
    pub const fn loopback() -> Self {
        Self { namespaces: None }
    }

    /// A namespace for each half. `name` tells it from others of this program.
    ///
    /// # Errors
    /// When it can't be made: it needs root.
    pub fn cable(name: &str) -> Result<Self> {
        let names = ["local", "remote"]
            .map(|half| format!("twindisk-bench-{}-{name}-{half}", std::process::id()));
        for name in &names {
            namespace(name)?;
        }
        let [local, remote] = &names;
        let veth = ["type", "veth", "peer", "name", CABLE, "netns", remote];
        ip(&[&["-n", local, "link", "add", CABLE][..], &veth].concat())?;
        for (half, name) in names.iter().enumerate() {
            let network = Self::addresses(half);
            for address in network {
                ip(&[
                    "-n",
                    name,
                    "address",
                    "add",
                    &format!("{address}/24"),
                    "dev",
                    CABLE,
                ])?;
            }
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            ip(&["-n", name, "link", "set", CABLE, "up"])?;
        }
        Ok(Self {
            namespaces: Some(names),
        })
    }

    /// Two addresses of a half.
    #[must_use]
    pub fn hosts(&self, half: usize) -> [String; 2] {
        match self.namespaces {
            Some(_) => Self::addresses(half),
            None => ["127.0.0.1", "127.0.0.2"].map(str::to_owned),
        }
    }

    fn addresses(half: usize) -> [String; 2] {
        [1, 2].map(|network| format!("10.78.{network}.{}", half + 1))
    }

    /// A program that runs in a half of it.
    #[must_use]
    pub fn command(&self, half: usize, program: &str) -> Command {
        let namespace = self.namespaces.as_ref().and_then(|names| names.get(half));
        let Some(namespace) = namespace else {
            return Command::new(program);
        };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, program]);
        command
    }

    /// Whether the remote half can be reached there.
    #[must_use]
    pub fn listens(&self, port: u16) -> bool {
        let [host, _] = self.hosts(REMOTE);
        let mut bash = self.command(LOCAL, "bash");
        output(bash.args(["-c", &format!("exec 3<>/dev/tcp/{host}/{port}")])).is_ok()
    }

    /// Nothing gets through any more and nobody is told, as when a cable is cut in the middle.
    ///
    /// # Errors
    /// When there is no cable.
    pub fn cut(&self) -> Result<()> {
        for half in [LOCAL, REMOTE] {
            let swallow = ["qdisc", "add", "dev", CABLE, "root", "blackhole"];
            output(self.command(half, "tc").args(swallow))?;
        }
        Ok(())
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    output(Command::new("ip").args(arguments)).map(|_| ())
}
