//! The files for Prometheus and Grafana: they name what there is, and each alert fires for what it is for.

mod harness;

use std::{collections::BTreeSet, ffi::OsStr, fs, path::Path};

use harness::programs::{have, run};
use serde_json::Value;

const FILES: &str = "monitoring";

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn of(name: &str) -> String {
    text(&format!("{FILES}/{name}"))
}

/// The words in a text that name a metric.
fn metrics(text: &str) -> BTreeSet<String> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("twindisk_"))
        .map(|word| {
            let parts = ["_bucket", "_sum", "_count"];
            let bare = parts.iter().find_map(|part| word.strip_suffix(part));
            bare.unwrap_or(word).to_owned()
        })
        .collect()
}

fn promtool(what: &str, path: &Path) {
    let arguments = [OsStr::new(what), OsStr::new("rules"), path.as_os_str()];
    run("promtool", &arguments);
}

/// Every query of the dashboard.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&of("grafana.json")).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let targets = panels.iter().flat_map(|panel| {
        panel["targets"]
            .as_array()
            .expect("each asks for something")
    });
    targets
        .map(|target| target["expr"].as_str().expect("a query").to_owned())
        .collect()
}

#[test]
fn each_metric_that_is_named_is_served() {
    let page = text("../fencing/agent/src/http/metrics/golden.txt");
    let lines = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let served: BTreeSet<&str> = lines.filter_map(|line| line.split(' ').next()).collect();
    assert!(served.len() > 40, "{served:?}");
    let mut named = metrics(&of("twindisk.rules.yml"));
    named.extend(metrics(&of("rules-test.yml")));
    named.extend(metrics(&text("doc/operations.md")));
    named.extend(queries().iter().flat_map(|query| metrics(query)));
    assert!(named.len() > 20, "{named:?}");
    let strange: Vec<&String> = (named.iter())
        .filter(|name| !served.contains(name.as_str()) && *name != "twindisk_")
        .collect();
    assert!(strange.is_empty(), "nobody serves {strange:?}");
}

#[test]
fn each_alert_is_made_to_fire() {
    let (rules, tests) = (of("twindisk.rules.yml"), of("rules-test.yml"));
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() >= 14, "{alerts:?}");
    for alert in alerts {
        let fires = format!("alertname: {alert}\n        exp_alerts:");
        assert!(tests.contains(&fires), "no test makes {alert} fire");
    }
    if !have(&["promtool"]) {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILES);
    promtool("check", &folder.join("twindisk.rules.yml"));
    promtool("test", &folder.join("rules-test.yml"));
}

/// A dashboard's query with its variables filled in is one that Prometheus understands.
#[test]
fn each_query_of_the_dashboard_is_understood() {
    if !have(&["promtool"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let rules = queries().into_iter().enumerate().map(|(number, query)| {
        let query = query.replace("$resource", ".*").replace('\'', "''");
        format!("      - record: asked:{number}\n        expr: '{query}'\n")
    });
    let text = format!(
        "groups:\n  - name: dashboard\n    rules:\n{}",
        rules.collect::<String>()
    );
    let path = folder.path().join("rules.yml");
    fs::write(&path, text).expect("written");
    promtool("check", &path);
}
