//! The text format 0.0.4 of Prometheus: families of samples (prometheus.io, "Exposition formats").

use std::fmt::Write;

/// A page that grows family by family.
#[derive(Debug, Default)]
pub(super) struct Page(pub(super) String);

/// Samples of a family: labels and value of each.
pub(super) type Sample<'a, const LABELS: usize> = ([(&'static str, &'a str); LABELS], f64);

impl Page {
    pub(super) fn gauge<'a, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a, LABELS>>,
    ) {
        self.family(name, "gauge", help, samples);
    }

    pub(super) fn counter<'a, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a, LABELS>>,
    ) {
        self.family(name, "counter", help, samples);
    }

    /// A family without samples is left out.
    fn family<'a, const LABELS: usize>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a, LABELS>>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let page = &mut self.0;
        // Writing into a String does not fail.
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            page.push_str(name);
            for (at, (label, text)) in labels.iter().enumerate() {
                page.push(if at == 0 { '{' } else { ',' });
                let _ = write!(page, "{label}=\"");
                escape(page, text);
                page.push('"');
            }
            if !labels.is_empty() {
                page.push('}');
            }
            let _ = writeln!(page, " {value}");
        }
    }
}

/// In the value of a label a backslash, a quote and a newline are written with a backslash.
fn escape(page: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => page.push_str("\\\\"),
            '"' => page.push_str("\\\""),
            '\n' => page.push_str("\\n"),
            _ => page.push(c),
        }
    }
}
