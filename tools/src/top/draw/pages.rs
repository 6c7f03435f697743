//! What is on each page, line by line.

use ratatui::text::{Line, Span};

use super::{
    super::{
        keys::Ui,
        view::{Alarm, Bar, Event, Node, Resource, Stage, Tone, View, Word, word},
    },
    Look, Sheet, parts,
};

/// Alarms and events on the overview; pages of their own have all.
const ALARMS: usize = 5;
const EVENTS: usize = 10;

/// Of a bar.
const BAR: usize = 10;

/// Lines of an alarm on the overview.
const BRIEF: usize = 2;

/// Of a graph beside a number.
const SHORT_GRAPH: usize = 16;
const LONG_GRAPH: usize = 60;

/// Writes lines of words.
struct Pen {
    look: Look,
    width: usize,
    sheet: Sheet,
}

impl Pen {
    fn new(look: Look, width: usize) -> Self {
        Self {
            look,
            width,
            sheet: Sheet::default(),
        }
    }

    fn line(&mut self, words: &[Word]) {
        let spans: Vec<Span<'_>> = words.iter().map(|word| self.look.span(word)).collect();
        self.sheet.lines.push(Line::from(spans));
    }

    fn gap(&mut self) {
        if !self.sheet.lines.is_empty() {
            self.line(&[]);
        }
    }

    fn head(&mut self, text: &str) {
        self.gap();
        self.wrapped("", &word(text, Tone::Head));
    }

    /// A word behind `before`, on as many lines as it takes.
    fn wrapped(&mut self, before: &str, text: &Word) {
        let indent = before.chars().count();
        for line in parts::wrap(&format!("{before}{}", text.text), self.width, indent) {
            self.line(&[word(line, text.tone)]);
        }
    }

    fn at(&self) -> usize {
        self.sheet.lines.len()
    }
}

pub(super) fn overview(view: &View, ui: &Ui, look: Look, width: usize) -> Sheet {
    let mut pen = Pen::new(look, width);
    silence(&mut pen, view);
    let names: Vec<&str> = view.resources.iter().map(|one| &*one.name).collect();
    let chosen = ui.at(&names);
    if !view.resources.is_empty() {
        pen.head(&format!("RESOURCES on {}", view.node));
    }
    for (at, one) in view.resources.iter().enumerate() {
        let first = pen.at();
        brief(&mut pen, one, at == chosen);
        if at == chosen {
            // The heading is a part of the first one.
            let first = if at == 0 { 0 } else { first };
            pen.sheet.chosen = Some((first, pen.at()));
        }
    }
    if !view.alarms.is_empty() {
        pen.head("ALARMS  (UTC)");
        for alarm in view.alarms.iter().take(ALARMS) {
            tell_alarm(&mut pen, alarm, BRIEF);
        }
        more(&mut pen, view.alarms.len(), ALARMS, 'a');
    }
    pen.head(&format!(
        "NODES  (the others as {0} knows them; more: twindisk top there)",
        view.node
    ));
    for node in &view.nodes {
        tell_node(&mut pen, node);
    }
    if !view.events.is_empty() {
        pen.head("EVENTS  (UTC)");
        for event in view.events.iter().take(EVENTS) {
            let line = parts::cut(&event_text(event), pen.width);
            pen.line(&[word(line, Tone::Plain)]);
        }
        more(&mut pen, view.events.len(), EVENTS, 'e');
    }
    pen.sheet
}

fn silence(pen: &mut Pen, view: &View) {
    if let Some(why) = &view.silent {
        pen.wrapped("", &word(why, Tone::Bad));
    }
}

fn more(pen: &mut Pen, all: usize, shown: usize, key: char) {
    if all > shown {
        let text = format!("  {} more: {key}", all - shown);
        pen.line(&[word(text, Tone::Faint)]);
    }
}

/// A resource in some lines.
fn brief(pen: &mut Pen, one: &Resource, chosen: bool) {
    let mark = if chosen { "> " } else { "  " };
    let plain = |text: &str| word(text, Tone::Plain);
    let mut words = vec![
        plain(mark),
        word(
            format!("{:<12} ", one.name),
            if chosen { Tone::Head } else { Tone::Plain },
        ),
        padded(&one.role, 8),
        padded(&one.disk, 12),
        one.sync.clone(),
    ];
    if let Some(services) = &one.services {
        words.push(plain("  "));
        words.push(services.clone());
    }
    pen.line(&words);
    for trouble in &one.troubles {
        pen.wrapped("    ! ", trouble);
    }
    for bar in &one.bars {
        tell_bar(pen, bar);
    }
    for taker in &one.takers {
        pen.wrapped("    take over: ", taker);
    }
    if !one.rates.is_empty() {
        pen.wrapped("    ", &plain(&one.rates));
    }
    let busy = one
        .stages
        .iter()
        .filter(|stage| !stage.part && parts::is_busy(stage));
    for stage in busy.take(1) {
        let means = parts::newest(stage).map_or_else(|| "-".to_owned(), parts::ms);
        let graph = parts::graph(&stage.means_ns, &[], SHORT_GRAPH, pen.look.ascii);
        let all = one
            .stages
            .iter()
            .skip_while(|other| other.name != stage.name || other.part);
        let of: Vec<String> = all
            .skip(1)
            .take_while(|other| other.part)
            .filter_map(|part| Some(format!("{} {}", part.name, parts::ms(parts::newest(part)?))))
            .collect();
        let text = format!(
            "{graph}  {} takes {means} ms ({})",
            stage.name,
            of.join(", ")
        );
        pen.wrapped("    ", &plain(&text));
    }
}

fn padded(text: &Word, width: usize) -> Word {
    word(format!("{:<width$} ", text.text), text.tone)
}

fn tell_bar(pen: &mut Pen, bar: &Bar) {
    let text = match bar.part {
        Some(part) => format!(
            "{} {} {}",
            bar.what,
            parts::bar(part, BAR, pen.look.ascii),
            bar.text
        ),
        None => format!("{}: {}", bar.what, bar.text),
    };
    pen.wrapped("    ", &word(text, Tone::Look));
}

fn tell_node(pen: &mut Pen, node: &Node) {
    let before = format!("  {:<12} ", node.name);
    pen.wrapped(&before, &node.state);
    for line in &node.lines {
        pen.wrapped("      ", line);
    }
}

fn tell_alarm(pen: &mut Pen, alarm: &Alarm, most: usize) {
    let time = alarm.time.as_deref().unwrap_or("now");
    let text = format!("  {time:<8} {:<7} {}", alarm.level.text, alarm.text);
    let mut lines = parts::wrap(&text, pen.width, 10);
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            *last = parts::cut(&format!("{last} ..."), pen.width);
        }
    }
    // The first line is as loud as it has to be; beneath it the rest is read.
    for (at, line) in lines.into_iter().enumerate() {
        let tone = if at == 0 {
            alarm.level.tone
        } else {
            Tone::Plain
        };
        pen.line(&[word(line, tone)]);
    }
}

fn tell_event(pen: &mut Pen, event: &Event) {
    for line in parts::wrap(&event_text(event), pen.width, 10) {
        pen.line(&[word(line, Tone::Plain)]);
    }
}

fn event_text(event: &Event) -> String {
    let about = event.resource.as_deref().unwrap_or("-");
    format!("  {} {about} {}", event.time, event.text)
}

pub(super) fn resource(view: &View, ui: &Ui, look: Look, width: usize) -> Sheet {
    let mut pen = Pen::new(look, width);
    silence(&mut pen, view);
    let names: Vec<&str> = view.resources.iter().map(|one| &*one.name).collect();
    let Some(one) = view.resources.get(ui.at(&names)) else {
        return pen.sheet;
    };
    let gap = || word("  ", Tone::Plain);
    let mut words = vec![
        word(format!("RESOURCE {}", one.name), Tone::Head),
        word(format!(" on {}  ", view.node), Tone::Plain),
        one.role.clone(),
        gap(),
        one.disk.clone(),
        gap(),
        one.sync.clone(),
    ];
    if let Some(services) = &one.services {
        words.extend([gap(), services.clone()]);
    }
    pen.line(&words);
    for trouble in &one.troubles {
        pen.wrapped("  ! ", trouble);
    }
    for (name, value) in &one.facts {
        pen.wrapped(&format!("  {name:<10} "), &word(value, Tone::Plain));
    }
    peers(&mut pen, &one.peers);
    for bar in &one.bars {
        tell_bar(&mut pen, bar);
    }
    if !one.takers.is_empty() {
        pen.head("WHO COULD TAKE OVER");
        for taker in &one.takers {
            pen.wrapped("  ", taker);
        }
    }
    stages(&mut pen, one);
    let mut events = view
        .events
        .iter()
        .filter(|event| event.resource.as_ref() == Some(&one.name));
    if let Some(first) = events.next() {
        pen.head("EVENTS");
        for event in std::iter::once(first).chain(events.take(2 * EVENTS)) {
            tell_event(&mut pen, event);
        }
    }
    pen.sheet
}

fn peers(pen: &mut Pen, rows: &[Vec<Word>]) {
    if rows.is_empty() {
        return;
    }
    pen.gap();
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.text.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in rows {
        let mut words = vec![word("  ", Tone::Plain)];
        words.extend(
            row.iter()
                .zip(&widths)
                .map(|(cell, width)| padded(cell, *width)),
        );
        pen.line(&words);
    }
}

fn stages(pen: &mut Pen, one: &Resource) {
    pen.head("LATENCY  (mean of each interval, the newest at the right)");
    if !one.rates.is_empty() {
        pen.wrapped("  ", &word(&one.rates, Tone::Plain));
    }
    let busy: Vec<&Stage> = one
        .stages
        .iter()
        .filter(|stage| parts::is_busy(stage))
        .collect();
    if busy.is_empty() {
        pen.line(&[word(
            "  nothing was done since this was opened",
            Tone::Faint,
        )]);
    }
    let graph = LONG_GRAPH.min(pen.width.saturating_sub(28));
    let mut whole: &[Option<u64>] = &[];
    for stage in busy {
        let name = if stage.part {
            format!("  {}", stage.name)
        } else {
            whole = &stage.means_ns;
            stage.name.clone()
        };
        let mean = parts::newest(stage).map_or_else(|| "-".to_owned(), |ns| parts::ms(ns) + " ms");
        let graph = parts::graph(&stage.means_ns, whole, graph, pen.look.ascii);
        pen.line(&[word(
            format!("  {name:<12.12} {mean:>9}  {graph}"),
            Tone::Plain,
        )]);
    }
}

pub(super) fn alarms(view: &View, look: Look, width: usize) -> Sheet {
    let mut pen = Pen::new(look, width);
    pen.head("ALARMS  (what holds now, then what was told, the newest first; UTC)");
    for alarm in &view.alarms {
        tell_alarm(&mut pen, alarm, usize::MAX);
    }
    if view.alarms.is_empty() {
        pen.line(&[word("  none", Tone::Good)]);
    }
    pen.sheet
}

pub(super) fn events(view: &View, look: Look, width: usize) -> Sheet {
    let mut pen = Pen::new(look, width);
    pen.head("EVENTS  (the newest first; UTC)");
    for event in &view.events {
        tell_event(&mut pen, event);
    }
    pen.sheet
}

/// Keys, and what the words mean.
const HELP: &[&str] = &[
    "Up Down k j   choose a resource, or scroll",
    "Enter         look closer at it          Esc Left Backspace   back",
    "Tab           the next resource",
    "a             alarms                     e                    events",
    "PgUp PgDn Home End   scroll              p Space              hold still",
    "? h           this page                  q Ctrl-C             quit",
    "Ctrl-L        write the screen anew",
    "",
    "Everything is as THIS node knows it. Of another node it knows what its agent",
    "says over the heartbeat paths and its replica over the connection: for more,",
    "run `twindisk top` there.",
    "",
    "take over     who could, if the primary died now; by itself, or by whose hand",
    "could NOT     why not, and what is missing",
    "w r f         writes, reads, flushes a second, with their bytes",
    "write takes   from its arrival until it is answered: wait (suspended, locks,",
    "              activity log), disk (this node's), and each peer's answer",
    "!             does not go on, or should be looked at",
    "times         UTC, as in the event log",
];

pub(super) fn help(look: Look, width: usize) -> Sheet {
    let mut pen = Pen::new(look, width);
    pen.head("HELP");
    for line in HELP {
        pen.line(&[word(format!("  {line}"), Tone::Plain)]);
    }
    pen.sheet
}
