//! S3: at no time do two nodes complete client writes in terms that both count.

use super::Violation;

/// The newest term in which a client's write or flush was completed, and where.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    newest: u64,
    node: Option<usize>,
}

impl Terms {
    /// Whether nothing was completed in a higher term than this.
    pub(crate) const fn may_complete_in(self, term: u64) -> bool {
        term >= self.newest
    }

    /// Node `node` completed a mutation in `term`.
    pub(crate) fn completed(&mut self, node: usize, term: u64) -> Result<(), Violation> {
        if term < self.newest {
            return Err(Violation::new(
                "S3",
                format!(
                    "node {node} completed a write in term {term}, after node {:?} had done so in term {}",
                    self.node, self.newest
                ),
            ));
        }
        if term == self.newest && self.node.is_some_and(|other| other != node) {
            return Err(Violation::new(
                "S3",
                format!(
                    "nodes {node} and {:?} both completed writes in term {term}",
                    self.node
                ),
            ));
        }
        self.newest = term;
        self.node = Some(node);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_belong_to_one_node_and_never_go_back() {
        let mut terms = Terms::default();
        terms.completed(0, 1).expect("first");
        terms.completed(1, 2).expect("higher");
        assert!(terms.completed(0, 1).is_err());
        assert!(terms.completed(0, 2).is_err());
    }
}
