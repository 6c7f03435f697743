//! How an agent describes itself, and whether a device's options fit that.

use std::{borrow::Cow, fmt};

use roxmltree::{Document, Node};

use crate::{
    agent::{Action, Output},
    config::Device,
    limits,
};

/// What an agent says of itself: its parameters and actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// What it can be told.
    pub parameters: Vec<Parameter>,
    /// What it can do.
    pub actions: Vec<String>,
}

/// One parameter of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Nothing works without it.
    pub required: bool,
    /// The agent knows a value when none is given.
    pub has_default: bool,
    /// An old name of another one.
    pub deprecated: bool,
    /// The old name whose place it takes.
    pub obsoletes: Option<String>,
}

/// Why an agent's description cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Longer than is read.
    #[error("its metadata is longer than {} KiB: it is no fence agent", limits::MAX_OUTPUT_BYTES / 1024)]
    TooLong,
    /// No XML.
    #[error("its metadata is no XML ({why}); {output}: is it a fence agent?")]
    NotXml {
        /// What the reader says, with the place.
        why: String,
        /// What was printed.
        output: Output,
    },
    /// XML of something else.
    #[error("its metadata is no description of a fence agent ({why}): is it a fence agent?")]
    NotAnAgent {
        /// What is missing.
        why: String,
    },
}

/// What does not fit between a device's configuration and its agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionFault {
    /// The agent knows no such option.
    Unknown {
        /// As configured.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// The agent needs an option.
    Missing {
        /// Its name.
        name: String,
    },
    /// The agent needs to be told the plug.
    MissingPlug,
    /// The agent does not offer an action without which it proves nothing.
    NoAction {
        /// Which one.
        action: Action,
    },
}

impl Metadata {
    /// Reads what an agent printed for `metadata`.
    ///
    /// # Errors
    /// It is no description of a fence agent.
    pub fn read(output: &Output) -> Result<Self, MetadataError> {
        if output.stdout_cut {
            return Err(MetadataError::TooLong);
        }
        let text = without_doctype(output.stdout.trim());
        let document = Document::parse(&text).map_err(|error| MetadataError::NotXml {
            why: error.to_string(),
            output: output.clone(),
        })?;
        let root = document.root_element();
        if !root.has_tag_name("resource-agent") {
            return Err(MetadataError::NotAnAgent {
                why: format!(
                    "it begins with <{}>, not with <resource-agent>",
                    root.tag_name().name()
                ),
            });
        }
        let actions: Vec<String> = children(root, "actions", "action")
            .filter_map(|action| action.attribute("name").map(str::to_owned))
            .collect();
        if actions.is_empty() {
            return Err(MetadataError::NotAnAgent {
                why: "it names no action".to_owned(),
            });
        }
        Ok(Self {
            name: root.attribute("name").unwrap_or_default().to_owned(),
            parameters: children(root, "parameters", "parameter")
                .filter_map(parameter)
                .collect(),
            actions,
        })
    }

    /// Whether the agent offers an action.
    #[must_use]
    pub fn offers(&self, action: Action) -> bool {
        self.actions.iter().any(|name| name == action.name())
    }

    /// The agent's key for the plug: `port` if it knows that one, else `plug`, as Pacemaker decides it.
    #[must_use]
    pub fn plug_key(&self) -> &'static str {
        if self.knows("port") { "port" } else { "plug" }
    }

    /// Everything in which a device's configuration does not fit the agent.
    #[must_use]
    pub fn check(&self, device: &Device) -> Vec<OptionFault> {
        let mut faults = Vec::new();
        for action in [Action::Off, Action::Status] {
            if !self.offers(action) {
                faults.push(OptionFault::NoAction { action });
            }
        }
        for (name, _) in device.options.iter() {
            if !self.knows(name) {
                faults.push(OptionFault::Unknown {
                    name: name.to_owned(),
                    nearest: self.nearest(name),
                });
            }
        }
        for parameter in &self.parameters {
            let needed = parameter.required && !parameter.has_default && !parameter.deprecated;
            match parameter.name.as_str() {
                _ if !needed => {}
                "action" => {}
                "plug" | "port" if device.plug.is_some() => {}
                "plug" | "port" => faults.push(OptionFault::MissingPlug),
                name if device.options.has(name) => {}
                _ if parameter
                    .obsoletes
                    .as_ref()
                    .is_some_and(|old| device.options.has(old)) => {}
                name => faults.push(OptionFault::Missing {
                    name: name.to_owned(),
                }),
            }
        }
        faults.dedup();
        faults
    }

    fn knows(&self, name: &str) -> bool {
        self.parameters
            .iter()
            .any(|parameter| parameter.name == name)
    }

    fn nearest(&self, wrong: &str) -> Option<String> {
        self.parameters
            .iter()
            .filter(|known| !known.deprecated && known.name != "action")
            .map(|known| (strsim::jaro_winkler(wrong, &known.name), &known.name))
            .filter(|(likeness, _)| *likeness > 0.75)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, name)| name.clone())
    }
}

impl fmt::Display for OptionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown {
                name,
                nearest: Some(nearest),
            } => write!(f, "it knows no option `{name}`: did you mean `{nearest}`?"),
            Self::Unknown {
                name,
                nearest: None,
            } => write!(f, "it knows no option `{name}`: remove it"),
            Self::Missing { name } => write!(f, "it needs the option `{name}`: add it"),
            Self::MissingPlug => f.write_str(
                "it needs to know which outlet, machine or slot the node is: add `plug`",
            ),
            Self::NoAction { action } => write!(
                f,
                "it does not offer `{action}`, so that it cannot prove a node off: use another agent"
            ),
        }
    }
}

/// The documents of OCF and Pacemaker begin with a DOCTYPE that names their schema: nobody needs it here. One that declares
/// something itself is left, and refused: entities can make a document as large as they like.
fn without_doctype(text: &str) -> Cow<'_, str> {
    let declared = text.find("<!DOCTYPE").and_then(|from| {
        let length = text.get(from..)?.find('>')? + 1;
        Some(from..from + length)
    });
    let plain = declared.filter(|range| !text[range.clone()].contains('['));
    plain.map_or(Cow::Borrowed(text), |range| {
        let before_root = !text[..range.start].contains("<resource-agent");
        if before_root {
            // As long as before, so that places in it stay.
            let blank = " ".repeat(range.len());
            Cow::Owned([&text[..range.start], &blank, &text[range.end..]].concat())
        } else {
            Cow::Borrowed(text)
        }
    })
}

fn children<'a, 'd: 'a>(
    root: Node<'a, 'd>,
    list: &'static str,
    each: &'static str,
) -> impl Iterator<Item = Node<'a, 'd>> {
    root.children()
        .filter(move |node| node.has_tag_name(list))
        .flat_map(move |node| node.children())
        .filter(move |node| node.has_tag_name(each))
}

fn parameter(node: Node<'_, '_>) -> Option<Parameter> {
    let yes = |name| matches!(node.attribute(name), Some("1" | "true"));
    Some(Parameter {
        name: node.attribute("name")?.to_owned(),
        required: yes("required"),
        has_default: node
            .children()
            .any(|child| child.has_tag_name("content") && child.has_attribute("default")),
        deprecated: yes("deprecated"),
        obsoletes: node.attribute("obsoletes").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AgentName, tests::fake::options};

    /// In the shape that fence-agents 4.12 prints, old names beside new ones.
    const SWITCH: &str = r#"<?xml version="1.0" ?>
<resource-agent name="fence_switch" shortdesc="A power switch" >
<symlink name="fence_other" shortdesc="the same"/>
<longdesc>Switches &lt;outlets&gt;.</longdesc>
<parameters>
	<parameter name="action" unique="0" required="1">
		<getopt mixed="-o, --action=[action]" />
		<content type="string" default="reboot"  />
		<shortdesc lang="en">Fencing action</shortdesc>
	</parameter>
	<parameter name="ip" unique="0" required="1" obsoletes="ipaddr"><content type="string" /></parameter>
	<parameter name="ipaddr" unique="0" required="1" deprecated="1"><content type="string" /></parameter>
	<parameter name="ipport" unique="0" required="1"><content type="integer" default="80" /></parameter>
	<parameter name="password" unique="0" required="0" obsoletes="passwd" />
	<parameter name="passwd" unique="0" required="0" deprecated="1" />
	<parameter name="plug" unique="0" required="1" obsoletes="port" />
	<parameter name="port" unique="0" required="1" deprecated="1" />
</parameters>
<actions>
	<action name="on" automatic="0"/>
	<action name="off" />
	<action name="status" />
	<action name="metadata" />
</actions>
</resource-agent>"#;

    fn read(text: &str) -> Result<Metadata, MetadataError> {
        Metadata::read(&Output {
            stdout: text.to_owned(),
            ..Output::default()
        })
    }

    fn device(plug: Option<&str>, given: &[(&str, &str)]) -> Device {
        Device {
            plug: plug.map(str::to_owned),
            options: options(given),
            ..Device::new(AgentName::Named("fence_switch".into()))
        }
    }

    #[test]
    fn parameters_and_actions_are_read() {
        let switch = read(SWITCH).unwrap();
        assert_eq!(switch.name, "fence_switch");
        assert_eq!(switch.parameters.len(), 8);
        assert_eq!(switch.plug_key(), "port");
        assert!(switch.offers(Action::Off) && !switch.offers(Action::Monitor));
        let newer = SWITCH.replace(r#"name="port""#, r#"name="other""#);
        assert_eq!(read(&newer).unwrap().plug_key(), "plug");
    }

    #[test]
    fn options_that_fit_are_accepted_under_either_name() {
        let switch = read(SWITCH).unwrap();
        for given in [
            [("ip", "10.0.0.1"), ("password", "x")],
            [("ipaddr", "10.0.0.1"), ("passwd", "x")],
        ] {
            assert_eq!(switch.check(&device(Some("3"), &given)), []);
        }
    }

    #[test]
    fn options_that_do_not_fit_are_all_named() {
        let switch = read(SWITCH).unwrap();
        let faults = switch.check(&device(None, &[("pasword", "x"), ("zzz", "y")]));
        let unknown = |name: &str, nearest: Option<&str>| OptionFault::Unknown {
            name: name.to_owned(),
            nearest: nearest.map(str::to_owned),
        };
        assert_eq!(
            faults,
            [
                unknown("pasword", Some("password")),
                unknown("zzz", None),
                OptionFault::Missing { name: "ip".into() },
                OptionFault::MissingPlug,
            ]
        );
    }

    #[test]
    fn an_agent_without_off_or_status_proves_nothing() {
        let mute = SWITCH.replace(r#"<action name="status" />"#, "");
        let faults = read(&mute)
            .unwrap()
            .check(&device(Some("3"), &[("ip", "10.0.0.1")]));
        let action = Action::Status;
        assert_eq!(faults, [OptionFault::NoAction { action }]);
    }

    #[test]
    fn a_doctype_and_noise_on_standard_error_change_nothing() {
        let plain = read(SWITCH).unwrap();
        let (declaration, rest) = SWITCH.split_once('\n').unwrap();
        for doctype in [
            r#"<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">"#,
            r#"<!DOCTYPE resource-agent PUBLIC "-//x" "ra-api-1.dtd" >"#,
        ] {
            assert_eq!(
                read(&format!("{declaration}\n{doctype}\n{rest}")),
                Ok(plain.clone())
            );
        }
        let noisy = Output {
            stdout: SWITCH.to_owned(),
            stderr: "warning: old\n".repeat(5000),
            stderr_cut: true,
            ..Output::default()
        };
        assert_eq!(Metadata::read(&noisy), Ok(plain));
    }

    #[test]
    fn what_is_no_description_is_refused() {
        for text in ["", "Usage: none", "<resource-agent>", "<a><b/></a>"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(matches!(
            read("<resource-agent><parameters/></resource-agent>"),
            Err(MetadataError::NotAnAgent { .. })
        ));
        // A document that grows when its entities are expanded.
        let bomb = r#"<!DOCTYPE a [<!ENTITY b "bbbb">]><resource-agent name="&b;"/>"#;
        assert!(matches!(read(bomb), Err(MetadataError::NotXml { .. })));
        let cut = Output {
            stdout: SWITCH.to_owned(),
            stdout_cut: true,
            ..Output::default()
        };
        assert_eq!(Metadata::read(&cut), Err(MetadataError::TooLong));
        let deep = format!("{}{}", "<a>".repeat(20_000), "</a>".repeat(20_000));
        assert!(read(&deep).is_err());
    }
}
