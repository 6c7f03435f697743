//! The text format 0.0.4 of Prometheus: families of samples (prometheus.io, "Exposition formats").

use std::fmt::Write;

use twindisk_core::Histogram;

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

    /// Durations, in seconds; those that nothing was recorded in are left out.
    pub(super) fn histogram<'a, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        histograms: impl IntoIterator<Item = ([(&'static str, &'a str); LABELS], &'a Histogram)>,
    ) {
        let mut histograms = histograms
            .into_iter()
            .filter(|(_, histogram)| histogram.count() > 0)
            .peekable();
        if histograms.peek().is_none() {
            return;
        }
        self.head(name, "histogram", help);
        let [bucket, sum, count] = ["bucket", "sum", "count"].map(|part| format!("{name}_{part}"));
        for (labels, histogram) in histograms {
            let all = histogram.count() as f64;
            for (bound, so_far) in histogram.up_to() {
                let le = bound.as_secs_f64().to_string();
                self.sample(&bucket, labels.iter().chain([&("le", &*le)]), so_far as f64);
            }
            self.sample(&bucket, labels.iter().chain([&("le", "+Inf")]), all);
            self.sample(&sum, &labels, histogram.sum_ns() as f64 / 1e9);
            self.sample(&count, &labels, all);
        }
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
        self.head(name, kind, help);
        for (labels, value) in samples {
            self.sample(name, &labels, value);
        }
    }

    // Writing into a String does not fail.
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample<'a>(
        &mut self,
        name: &str,
        labels: impl IntoIterator<Item = &'a (&'static str, &'a str)>,
        value: f64,
    ) {
        let page = &mut self.0;
        page.push_str(name);
        let mut before = '{';
        for (label, text) in labels {
            let _ = write!(page, "{before}{label}=\"");
            escape(page, text);
            page.push('"');
            before = ',';
        }
        if before == ',' {
            page.push('}');
        }
        let _ = writeln!(page, " {value}");
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
