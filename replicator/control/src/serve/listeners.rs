//! Every socket of a node, bound before anything else begins: what can't be had is known before a disk is touched.

use std::rc::Rc;

use tokio::net::{TcpListener, UnixListener};

use super::{
    ServeError, control, make_folder,
    nbd::{self, Negotiating, Served},
    node::Node,
    sockets::{self, BoundUnix},
    systemd::Inherited,
};
use crate::config::{Config, NbdAddress, Node as NodeConfig};

/// Bound, and not yet accepting.
pub(super) struct Listeners {
    control: Option<Rc<BoundUnix>>,
    peers: Option<TcpListener>,
    nbd: Vec<(Socket, Serves)>,
    /// Those with a path to remove at the end.
    unix: Vec<Rc<BoundUnix>>,
}

enum Socket {
    Unix(Rc<BoundUnix>),
    InheritedUnix(UnixListener),
    Tcp(TcpListener),
}

/// Which exports a listener offers.
enum Serves {
    All,
    One(String),
}

impl Listeners {
    /// Binds everything that the configuration names and takes over what was inherited.
    pub(super) async fn bind(
        config: &Config,
        node: &NodeConfig,
        inherited: Vec<Inherited>,
        with_control: bool,
    ) -> Result<Self, ServeError> {
        let mut listeners = Self {
            control: None,
            peers: None,
            nbd: Vec::new(),
            unix: Vec::new(),
        };
        if with_control {
            // The first of all: it is what keeps a second process for this node out.
            listeners.control = Some(listeners.bind_unix(&node.control_socket, node.control_mode)?);
        }
        let replicated = config
            .resources_on(node)
            .any(|resource| resource.peers_of(node.id).next().is_some());
        if replicated {
            listeners.peers = Some(sockets::bind_tcp(&node.address).await?);
        }
        for address in &node.nbd {
            listeners.bind_nbd(node, address, Serves::All).await?;
        }
        for resource in config.resources_on(node) {
            for address in resource
                .member(node.id)
                .iter()
                .flat_map(|member| &member.nbd)
            {
                let serves = Serves::One(resource.name.clone());
                listeners.bind_nbd(node, address, serves).await?;
            }
        }
        for socket in inherited {
            let taken = |source| ServeError::System {
                what: "taking over an inherited socket",
                source,
            };
            let socket = match socket {
                Inherited::Unix(listener) => {
                    Socket::InheritedUnix(UnixListener::from_std(listener).map_err(taken)?)
                }
                Inherited::Tcp(listener) => {
                    Socket::Tcp(TcpListener::from_std(listener).map_err(taken)?)
                }
            };
            listeners.nbd.push((socket, Serves::All));
        }
        Ok(listeners)
    }

    /// The replication listener, once.
    pub(super) fn take_peers(&mut self) -> Option<TcpListener> {
        self.peers.take()
    }

    /// Clients are let in from now on.
    pub(super) fn accept_clients(&mut self, node: &Rc<Node>) {
        for (socket, serves) in self.nbd.drain(..) {
            let served = Served {
                node: Rc::clone(node),
                only: match serves {
                    Serves::All => None,
                    Serves::One(name) => Some(name),
                },
                negotiating: Rc::new(Negotiating::new(node.config.nbd_max_connections)),
            };
            match socket {
                Socket::Unix(bound) => {
                    tokio::task::spawn_local(async move {
                        nbd::accept_unix(&bound.listener, served).await;
                    });
                }
                Socket::InheritedUnix(listener) => {
                    tokio::task::spawn_local(async move {
                        nbd::accept_unix(&listener, served).await;
                    });
                }
                Socket::Tcp(listener) => {
                    tokio::task::spawn_local(nbd::accept_tcp(listener, served));
                }
            }
        }
    }

    /// Operators are let in from now on.
    pub(super) fn accept_operators(&mut self, node: &Rc<Node>) {
        if let Some(bound) = self.control.take() {
            let node = Rc::clone(node);
            tokio::task::spawn_local(async move { control::accept(&bound.listener, &node).await });
        }
    }

    /// The tasks that accept still hold the sockets; their paths go now, so that nobody knocks in vain.
    pub(super) fn remove_paths(&self) {
        for bound in &self.unix {
            bound.remove();
        }
    }

    async fn bind_nbd(
        &mut self,
        node: &NodeConfig,
        address: &NbdAddress,
        serves: Serves,
    ) -> Result<(), ServeError> {
        let socket = match address {
            NbdAddress::Unix(path) => Socket::Unix(self.bind_unix(path, node.nbd_mode)?),
            NbdAddress::Tcp(endpoint) => Socket::Tcp(sockets::bind_tcp(endpoint).await?),
        };
        self.nbd.push((socket, serves));
        Ok(())
    }

    fn bind_unix(
        &mut self,
        path: &std::path::Path,
        mode: u32,
    ) -> Result<Rc<BoundUnix>, ServeError> {
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        let bound = Rc::new(sockets::bind_unix(path, mode)?);
        self.unix.push(Rc::clone(&bound));
        Ok(bound)
    }
}
