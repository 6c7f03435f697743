//! What a replica is told: over the control socket, or, when its process is gone, through its metadata.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};
use twindisk_control::protocol::{Ask, ReceiptWord};
use twindisk_fencing_core::{Order, PeerIndex, Table};

use crate::replica;

const PATIENCE: Duration = Duration::from_secs(30);

/// Where orders go.
#[derive(Clone, Debug)]
pub(crate) struct Office {
    pub(crate) control_socket: std::path::PathBuf,
    /// This program with what it needs to find its configuration and node.
    pub(crate) twindisk: Vec<String>,
}

impl Office {
    pub(crate) async fn carry_out(
        &self,
        resource: &str,
        peers: &Table<PeerIndex, &str>,
        order: Order,
    ) -> Result<(), String> {
        let resource = resource.to_owned();
        let name = |peer: PeerIndex| Some(peers[peer].to_owned());
        let receipt = |kind, about, detail, met| Ask::Receipt {
            resource: resource.clone(),
            about: name(about),
            kind,
            detail,
            met: Some(met),
        };
        let ask = match order {
            Order::Promote => Ask::Promote {
                resource: resource.clone(),
                force: None,
            },
            Order::ReceiptFenced { about, detail, met } => {
                receipt(ReceiptWord::Fenced, about, detail, met)
            }
            Order::ReceiptReleased { about, detail, met } => {
                receipt(ReceiptWord::Released, about, detail, met)
            }
            Order::ReceiptGranted { about, detail, met } => {
                receipt(ReceiptWord::Granted, about, detail, met)
            }
            Order::StepDown => Ask::Demote {
                resource: resource.clone(),
                abandon: true,
            },
            Order::Outdate { offline: false } => Ask::Outdate {
                resource: resource.clone(),
            },
            Order::Outdate { offline: true } => return self.outdate_offline(&resource).await,
            Order::HandOver { to } => Ask::Switchover {
                resource: resource.clone(),
                to: name(to),
            },
        };
        replica::ask(Path::new(&self.control_socket), ask, PATIENCE)
            .await
            .map(|_| ())
    }

    async fn outdate_offline(&self, resource: &str) -> Result<(), String> {
        let Some((program, arguments)) = self.twindisk.split_first() else {
            return Err("the path of this program is not known".to_owned());
        };
        let child = Command::new(program)
            .args(arguments)
            .args(["outdate", resource, "--offline"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(PATIENCE, child)
            .await
            .map_err(|_| format!("no end within {} s", PATIENCE.as_secs()))?
            .map_err(|error| format!("{program}: {error}"))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }
}
