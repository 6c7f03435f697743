//! The screen: lines, and the frame around them. Nothing is decided here.

mod pages;
mod parts;

use ratatui::{
    Frame,
    layout::{Constraint, Layout},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{
    keys::{Page, Ui},
    view::{Tone, View, Word},
};

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) color: bool,
    /// Bars and graphs of letters that every terminal has.
    pub(super) ascii: bool,
}

impl Look {
    /// How loud a word is, on this terminal. Without colours the loud ones are bold: their words say the rest.
    pub(super) fn style(self, tone: Tone) -> Style {
        let style = Style::new();
        match (tone, self.color) {
            (Tone::Plain, _) | (Tone::Good | Tone::Faint, false) => style,
            (Tone::Look | Tone::Bad | Tone::Head, false) => style.add_modifier(Modifier::BOLD),
            (Tone::Good, true) => style.fg(Color::Green),
            (Tone::Look, true) => style.fg(Color::Yellow),
            (Tone::Bad, true) => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Tone::Faint, true) => style.add_modifier(Modifier::DIM),
            (Tone::Head, true) => style.fg(Color::Cyan).add_modifier(Modifier::BOLD),
        }
    }

    pub(super) fn span(self, word: &Word) -> Span<'static> {
        Span::styled(clean(&word.text), self.style(word.tone))
    }
}

/// A page with everything that is on it, and the lines of it that are about what is chosen.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    pub(super) lines: Vec<Line<'static>>,
    pub(super) chosen: Option<(usize, usize)>,
}

/// The whole page, however long.
pub(super) fn sheet(view: &View, ui: &Ui, look: Look, width: usize) -> Sheet {
    match ui.page {
        Page::Overview => pages::overview(view, ui, look, width),
        Page::Resource => pages::resource(view, ui, look, width),
        Page::Alarms => pages::alarms(view, look, width),
        Page::Events => pages::events(view, look, width),
        Page::Help => pages::help(look, width),
    }
}

/// Nothing that a terminal would take for an order: what programs and other nodes say is shown as well.
fn clean(text: &str) -> String {
    let printed = |letter: char| match letter {
        '\n' | '\t' => ' ',
        letter if letter.is_control() => '?',
        letter => letter,
    };
    text.chars().map(printed).collect()
}

/// The line above everything.
pub(super) fn title(view: &View, width: usize) -> String {
    let left = clean(&format!("twindisk top  {}", view.title));
    let room = width.saturating_sub(view.time.len() + 2);
    format!("{left:<room$.room$}  {}", view.time)
}

/// A frame of the terminal. Scrolls as far as there is something, and returns for how many lines there is room.
pub(super) fn frame(
    frame: &mut Frame<'_>,
    view: &View,
    ui: &mut Ui,
    look: Look,
    age: Option<u64>,
) -> usize {
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let turned = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(
        Paragraph::new(title(view, head.width.into())).style(turned),
        head,
    );
    let sheet = sheet(view, ui, look, body.width.into());
    let room = usize::from(body.height);
    if let Some((first, end)) = sheet.chosen.filter(|_| ui.follows) {
        // Its last line, then its first: that one counts where not both have room.
        ui.scroll = ui.scroll.max(end.saturating_sub(room)).min(first);
    }
    ui.scroll = ui.scroll.min(sheet.lines.len().saturating_sub(room));
    let below = sheet.lines.len().saturating_sub(ui.scroll + room);
    let seen: Vec<Line<'_>> = sheet.lines.into_iter().skip(ui.scroll).take(room).collect();
    frame.render_widget(Paragraph::new(seen), body);
    frame.render_widget(
        Paragraph::new(footer(ui, age, below, foot.width.into())).style(turned),
        foot,
    );
    room
}

fn footer(ui: &Ui, age: Option<u64>, below: usize, width: usize) -> String {
    let keys = match ui.page {
        Page::Overview => "Up/Down choose  Enter look closer  a alarms  e events  ? help  q quit",
        Page::Resource | Page::Alarms | Page::Events => "Up/Down scroll  Esc back  ? help  q quit",
        Page::Help => "Esc back  q quit",
    };
    let mut right = String::new();
    if below > 0 {
        right = format!("{below} more");
    }
    if ui.held {
        right = "HELD (p)".to_owned();
    }
    if let Some(seconds) = age {
        right = format!("{seconds} s OLD");
    }
    let room = width.saturating_sub(right.len() + 1);
    format!("{keys:<room$.room$} {right}")
}
