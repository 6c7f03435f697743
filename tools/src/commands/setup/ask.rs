//! The questions of a setup at a terminal. An empty answer takes what stands in brackets.

use std::io::{BufRead, Write};

use super::plan::{Fence, Node, Plan, witness};
use crate::{exit::Failure, input};

/// Asks for a pair.
pub(super) fn plan(from: &mut dyn BufRead, to: &mut dyn Write) -> Result<Plan, Failure> {
    let mut asking = Asking { from, to };
    let cluster = asking.text("Name of the cluster", "twindisk")?;
    let resource = asking.text("Name of the replicated device", "r0")?;
    let mut given = Vec::new();
    let mut default = String::new();
    for (number, example) in [("first", "alpha"), ("second", "beta")] {
        let what = match number {
            "first" => {
                "Name of the first node, as `hostname` says it; its data is the initial data"
            }
            _ => "Name of the second node",
        };
        let name = asking.text(what, example)?;
        let what = format!(
            "Addresses of {name}, the one for replication first; others, for heartbeats, after a comma"
        );
        let addresses = asking.must(&what, &|text| {
            let all = text.split(',').map(|one| one.trim().to_owned());
            Ok(all.collect::<Vec<String>>())
        })?;
        let backing = asking.text(
            &format!("Block device or file beneath {resource} on {name}"),
            &default,
        )?;
        default.clone_from(&backing);
        given.push((name, addresses, backing));
    }
    let what = "Size of the backing files if they are to be made, as 10GiB";
    let size = asking.maybe(what, &input::size)?;
    let witness = asking.maybe(
        "Automatic failover by a witness on a third host: its address",
        &|text| Ok(witness(text)),
    )?;
    let mut nodes = Vec::new();
    for (name, addresses, backing) in given {
        let what = format!(
            "Automatic failover by a power switch: the fence agent of {name} with its options, as\n  \
             fence_ipmilan ip=10.0.9.1 username=fence password=@FILE"
        );
        let device = match witness {
            None => asking.maybe(&what, &|text| text.parse::<Fence>())?,
            Some(_) => None,
        };
        nodes.push(Node::new(
            &name,
            &addresses,
            &backing,
            device.into_iter().collect(),
        )?);
    }
    Ok(Plan {
        agent: witness.is_some() || nodes.iter().any(|node| !node.fence.is_empty()),
        cluster,
        resource,
        nodes,
        size,
        witness,
    })
}

/// Somebody at a terminal.
struct Asking<'a> {
    from: &'a mut dyn BufRead,
    to: &'a mut dyn Write,
}

impl Asking<'_> {
    /// Whatever is typed; the end of input ends the setup.
    fn line(&mut self, question: &str, default: &str) -> Result<String, Failure> {
        let shown = if default.is_empty() {
            String::new()
        } else {
            format!(" [{default}]")
        };
        let _ = write!(self.to, "{question}{shown}: ");
        let _ = self.to.flush();
        let mut line = String::new();
        if self.from.read_line(&mut line).map_err(Failure::error)? == 0 {
            return Err(Failure::Usage("no answer: nothing was written".to_owned()));
        }
        Ok(line.trim().to_owned())
    }

    fn text(&mut self, question: &str, default: &str) -> Result<String, Failure> {
        loop {
            let typed = self.line(question, default)?;
            let answer = if typed.is_empty() {
                default.to_owned()
            } else {
                typed
            };
            if !answer.is_empty() {
                return Ok(answer);
            }
        }
    }

    /// Until the answer can be read.
    fn must<T>(
        &mut self,
        question: &str,
        read: &dyn Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        loop {
            let typed = self.text(question, "")?;
            match read(&typed) {
                Ok(answer) => return Ok(answer),
                Err(why) => drop(writeln!(self.to, "{why}")),
            }
        }
    }

    /// The same, or nothing.
    fn maybe<T>(
        &mut self,
        question: &str,
        read: &dyn Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        loop {
            let typed = self.line(question, "none")?;
            if typed.is_empty() || typed == "none" {
                return Ok(None);
            }
            match read(&typed) {
                Ok(answer) => return Ok(Some(answer)),
                Err(why) => drop(writeln!(self.to, "{why}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn typed(lines: &str) -> (Result<Plan, Failure>, String) {
        let mut shown = Vec::new();
        let plan = plan(&mut lines.as_bytes(), &mut shown);
        (plan, String::from_utf8(shown).unwrap())
    }

    #[test]
    fn answers_make_a_pair() {
        let (plan, shown) = typed(
            "db\n\n\n10.0.0.1, 10.9.9.1\n/dev/a\n\n\n10.0.0.2,10.9.9.2\n\n10 GiB!\n10GiB\n\nfence_x ip=1\nnone\n",
        );
        let plan = plan.unwrap();
        assert_eq!((&*plan.cluster, &*plan.resource), ("db", "r0"));
        let [alpha, beta] = &plan.nodes[..] else {
            panic!("{plan:?}");
        };
        assert_eq!(alpha.heartbeat, ["10.0.0.1:7790", "10.9.9.1:7790"]);
        assert_eq!((&*beta.name, &*beta.backing), ("beta", "/dev/a"));
        assert_eq!(plan.size, Some(10 << 30));
        assert!(plan.agent && beta.fence.is_empty());
        assert_eq!(alpha.fence[0].agent, "fence_x");
        assert!(shown.contains("[/dev/a]"), "{shown}");
    }

    #[test]
    fn the_end_of_input_ends_it() {
        assert_eq!(typed("db\n").0.unwrap_err().code(), 2);
    }
}
