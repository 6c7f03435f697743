//! The configuration of the cluster: the blocks of the operator's guide, as they stand there, for the devices and addresses
//! of the test.

use std::fs;

use crate::{
    harness::{cluster::ALPHA, namespaces::VIRTUAL_IP},
    site::{CONFIG, Shell, Site},
};

/// Before there is anything in it: two nodes find each other at once.
pub(crate) const EMPTY: &str = r#"<cib validate-with="pacemaker-3.9" epoch="1" num_updates="0" admin_epoch="0"><configuration><crm_config>
<cluster_property_set id="cib-bootstrap-options"><nvpair id="dc-deadtime" name="dc-deadtime" value="2s"/></cluster_property_set>
</crm_config><nodes/><resources/><constraints/></configuration><status/></cib>
"#;

/// The guide, and what it writes where a cluster has something of its own.
const GUIDE: &str = "doc/pacemaker.md";
const INTERFACE: &str = "eth0";
const ADDRESS: &str = "10.0.0.100";

/// Configures the cluster as the guide says.
pub(crate) fn configure(site: &Site, shell: Shell) {
    let (language, script) = match shell {
        Shell::Crm => ("crm", "crm configure load update"),
        Shell::Pcs => ("pcs", "sh -e"),
    };
    let text = adapted(site, &block(language));
    let file = site.cluster.path(language);
    fs::write(&file, text).expect("a file");
    let dir = site.cluster.dir.path().display().to_string();
    let script = format!("cd '{dir}' && {script} '{}' </dev/null", file.display());
    println!("{}", site.on(ALPHA, &["sh", "-c", &script]).trim());
    site.on(ALPHA, &["crm_verify", "--live-check"]);
}

/// The block of the guide in this language.
fn block(language: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(GUIDE);
    let guide = fs::read_to_string(path).expect("the operator's guide");
    let begin = format!("```{language}\n");
    let (_, rest) = guide
        .split_once(&begin)
        .expect("the guide has such a block");
    let (block, _) = rest.split_once("```").expect("it ends");
    block.to_owned()
}

fn adapted(site: &Site, block: &str) -> String {
    let config = format!("config={}", site.cluster.path(CONFIG).display());
    let mut text = String::new();
    for line in block.lines() {
        let mut words: Vec<String> = Vec::new();
        for word in line.split(' ') {
            match word {
                // The power switch of the test needs no address and no password.
                "stonith:fence_ipmilan" => words.push("stonith:fence_test".into()),
                "fence_ipmilan" => words.push("fence_test".into()),
                "ip=10.0.9.1" => words.push("plug=alpha".into()),
                "ip=10.0.9.2" => words.push("plug=beta".into()),
                "username=fence" | "password=secret" => {}
                "plug=alpha" | "plug=beta" | "resource=r0" => {
                    words.extend([word.to_owned(), config.clone()]);
                }
                other => words.push(
                    other
                        .replace(ADDRESS, VIRTUAL_IP)
                        .replace(INTERFACE, "clients"),
                ),
            }
        }
        text += &(words.join(" ") + "\n");
    }
    for ours in ["fence_test plug=alpha", &config, VIRTUAL_IP, "clients"] {
        let found = text.contains(ours)
            || text.contains(&ours.replace("fence_test ", "fence_test params "));
        assert!(found, "the guide changed: no {ours} in\n{text}");
    }
    text
}
