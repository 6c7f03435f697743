//! What proves that the book would tell: a pair that is set up to lose what it has acknowledged, and does.

use std::time::Instant;

use crate::{
    harness::cluster::{ALPHA, BETA},
    site::Site,
};

/// Whatever happens to the link, the primary goes on and waits for nobody; its standby is promoted on a person's word.
const CARELESS: &str = "protocol = \"A\"\non-peer-loss = \"continue\"";

#[test]
fn a_careless_pair_loses_rows_and_the_book_tells() {
    let Some(mut site) = Site::with("careless", CARELESS) else {
        return;
    };
    site.check();
    site.namespaces().cut_replication();
    site.until_alone(ALPHA);
    site.until_served(Instant::now());
    site.lose_power(ALPHA);
    let reason = "the test lets it lose";
    let force = ["promote", "--force", "--confirm", "r0", "--reason", reason];
    site.arena.cluster.ok(BETA, &force);
    site.until_served(Instant::now());
    let verdict = site.verdict();
    let promised = site.clients.book().promised().len();
    println!(
        "a careless pair: {} of {promised} acknowledged rows are missing",
        verdict.missing.len()
    );
    assert!(verdict.missing.len() > 20, "{verdict:?}\n{}", site.logs());
    assert!(verdict.missing.len() < promised, "none is there");
    assert_eq!(verdict.strange, [""; 0], "{}", site.logs());
}
