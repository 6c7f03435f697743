//! What is chosen, and what keys change of that.

/// What is on the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Page {
    /// All of it, in short.
    #[default]
    Overview,
    /// One resource.
    Resource,
    Alarms,
    Events,
    Help,
}

/// A key, as far as it means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Bottom,
    Enter,
    /// The next resource.
    Next,
    Back,
    Letter(char),
}

/// What follows from a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Stay,
    /// The whole screen is to be written anew: something else has written to it.
    Again,
    Quit,
}

/// The user's side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ui {
    pub(super) page: Page,
    /// Where Help was asked for.
    from: Page,
    /// Which resource, by its name: resources come and go.
    pub(super) chosen: Option<String>,
    /// Lines that are above the screen.
    pub(super) scroll: usize,
    /// The screen follows what is chosen.
    pub(super) follows: bool,
    /// The screen stands still.
    pub(super) held: bool,
}

impl Ui {
    /// On the page of a resource from the start.
    pub(super) fn of(resource: Option<&str>) -> Self {
        Self {
            page: resource.map_or(Page::Overview, |_| Page::Resource),
            chosen: resource.map(str::to_owned),
            ..Self::default()
        }
    }

    /// Which of these is chosen.
    pub(super) fn at(&self, names: &[&str]) -> usize {
        let chosen = self.chosen.as_deref();
        let at = names.iter().position(|name| Some(*name) == chosen);
        at.unwrap_or(0)
    }

    /// A key was pressed, with these resources there and so many lines on the screen.
    pub(super) fn press(&mut self, key: Key, names: &[&str], lines: usize) -> Flow {
        match key {
            Key::Letter('q') => return Flow::Quit,
            Key::Back if self.page == Page::Overview => {}
            Key::Back => self.turn(match self.page {
                Page::Help => self.from,
                Page::Overview | Page::Resource | Page::Alarms | Page::Events => Page::Overview,
            }),
            Key::Letter('?' | 'h') if self.page != Page::Help => {
                self.from = self.page;
                self.turn(Page::Help);
            }
            Key::Letter('a') => self.turn(Page::Alarms),
            Key::Letter('e') => self.turn(Page::Events),
            Key::Letter('p' | ' ') => self.held = !self.held,
            Key::Enter if self.page == Page::Overview => self.turn(Page::Resource),
            Key::Next => self.rotate(names),
            Key::Up | Key::Letter('k') if self.chooses() => self.choose(names, -1),
            Key::Down | Key::Letter('j') if self.chooses() => self.choose(names, 1),
            Key::Up | Key::Letter('k') => self.scroll = self.scroll.saturating_sub(1),
            Key::Down | Key::Letter('j') => self.scroll += 1,
            Key::PageUp => self.scroll_to(self.scroll.saturating_sub(lines.max(1))),
            Key::PageDown => self.scroll_to(self.scroll + lines.max(1)),
            Key::Top => self.scroll_to(0),
            // More than there is: the frame knows where the end is.
            Key::Bottom => self.scroll_to(usize::MAX / 2),
            Key::Enter | Key::Letter(_) => {}
        }
        Flow::Stay
    }

    fn chooses(&self) -> bool {
        self.page == Page::Overview
    }

    fn turn(&mut self, page: Page) {
        self.page = page;
        self.scroll = 0;
    }

    fn scroll_to(&mut self, line: usize) {
        self.scroll = line;
        self.follows = false;
    }

    /// The one behind the last is the first.
    fn rotate(&mut self, names: &[&str]) {
        if self.at(names) + 1 < names.len() {
            self.choose(names, 1);
        } else {
            self.chosen = None;
            self.choose(names, 0);
        }
    }

    fn choose(&mut self, names: &[&str], by: isize) {
        let last = names.len().saturating_sub(1);
        let at = self.at(names).saturating_add_signed(by).min(last);
        self.chosen = names.get(at).map(|name| (*name).to_owned());
        self.follows = true;
    }
}
