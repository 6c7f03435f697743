//! The terminal: keys in, frames out. A thread asks the sockets, so that a key is never waited for.

use std::{
    env,
    io::{self, IsTerminal},
    os::fd::AsFd,
    process,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, poll},
    sys::signal::{SigSet, Signal},
};
use ratatui::{
    DefaultTerminal,
    crossterm::{
        event::{self, KeyCode, KeyEventKind, KeyModifiers},
        execute,
        terminal::{Clear, ClearType},
    },
    text::Line,
};

use super::{
    draw::{self, Look},
    history::History,
    keys::{Flow, Key, Ui},
    model,
    snapshot::{self, Snapshot},
    view::View,
};
use crate::{ask::Context, exit::Failure, out};

/// How long a key or a signal waits at most.
const TURN: u8 = 100; // ms

/// Of a frame that goes to no terminal, unless `COLUMNS` says otherwise.
const COLUMNS: usize = 80;

/// One frame on standard output, without an escape. Two looks, so that there is something to compare.
pub(crate) fn once(
    context: &Context,
    resource: Option<&str>,
    interval: Duration,
) -> Result<(), Failure> {
    let began = Instant::now();
    let mut history = History::default();
    history.take(&snapshot::take(context, began));
    thread::sleep(interval);
    let last = snapshot::take(context, began);
    history.take(&last);
    let view = model::view(&last, &history);
    let columns = env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let width = columns.unwrap_or(COLUMNS).clamp(40, 400);
    let look = Look {
        color: false,
        ascii: is_ascii(),
    };
    let sheet = draw::sheet(&view, &Ui::of(resource), look, width);
    let mut text = draw::title(&view, width) + "\n\n";
    for line in &sheet.lines {
        text += plain(line).trim_end();
        text.push('\n');
    }
    out::bytes(text.as_bytes());
    match context.client() {
        Ok(_) => Ok(()),
        Err(failure) => Err(failure),
    }
}

fn plain(line: &Line<'_>) -> String {
    line.spans.iter().map(|span| &*span.content).collect()
}

/// Until somebody quits.
pub(crate) fn live(
    context: Context,
    resource: Option<&str>,
    interval: Duration,
) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "there is no terminal here: `twindisk top --once` prints one frame".to_owned(),
        ));
    }
    end_by_signal()?;
    let look = Look {
        color: env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        ascii: is_ascii(),
    };
    let snapshots = watch(context, interval);
    let mut terminal = ratatui::try_init().map_err(Failure::error)?;
    let mut top = Top {
        ui: Ui::of(resource),
        look,
        interval,
        history: History::default(),
        shown: None,
        room: 0,
    };
    let ended = top.run(&mut terminal, &snapshots);
    ratatui::restore();
    ended.map_err(Failure::error)
}

/// The terminal is given back as it was, however this ends. Signals have a thread of their own: crossterm reads a terminal
/// that is gone for ever, without end.
fn end_by_signal() -> Result<(), Failure> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT]);
    signals.thread_block().map_err(Failure::error)?;
    thread::spawn(move || {
        let _ = signals.wait();
        ratatui::restore();
        process::exit(0);
    });
    Ok(())
}

/// Waits for a key, not for long; whether the terminal is still there.
fn wait() -> io::Result<bool> {
    let input = io::stdin();
    let mut terminal = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    match poll(&mut terminal, TURN) {
        // A signal: another size, most likely.
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    Ok(!terminal[0]
        .revents()
        .is_some_and(|state| state.intersects(gone)))
}

/// Bars of letters where the locale can show no others: tmux would put `_` in their place.
fn is_ascii() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
    !locale.is_some_and(|locale| {
        let locale = locale.to_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// A thread that asks again and again.
fn watch(context: Context, interval: Duration) -> mpsc::Receiver<Snapshot> {
    let (sender, snapshots) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let began = Instant::now();
        while sender.send(snapshot::take(&context, began)).is_ok() {
            thread::sleep(interval);
        }
    });
    snapshots
}

struct Top {
    ui: Ui,
    look: Look,
    interval: Duration,
    history: History,
    /// The last view, and when it came.
    shown: Option<(View, Instant)>,
    /// Lines that have room.
    room: usize,
}

impl Top {
    fn run(
        &mut self,
        terminal: &mut DefaultTerminal,
        snapshots: &mpsc::Receiver<Snapshot>,
    ) -> io::Result<()> {
        while wait()? {
            let mut news = false;
            while let Ok(snapshot) = snapshots.try_recv() {
                self.history.take(&snapshot);
                if !self.ui.held || self.shown.is_none() {
                    self.shown = Some((model::view(&snapshot, &self.history), Instant::now()));
                    news = true;
                }
            }
            while event::poll(Duration::ZERO)? {
                let flow = self.handle(&event::read()?);
                match flow {
                    Flow::Quit => return Ok(()),
                    Flow::Again => {
                        // Not `Terminal::clear`: that waits for the terminal to say where its cursor is.
                        execute!(io::stdout(), Clear(ClearType::All))?;
                        terminal.swap_buffers();
                    }
                    Flow::Stay => {}
                }
                news = true;
            }
            let age = self.age();
            if news || age.is_some() {
                self.draw(terminal, age)?;
            }
        }
        Ok(())
    }

    /// Seconds since the last view, when it should have been followed by another one.
    fn age(&self) -> Option<u64> {
        let (_, came) = self.shown.as_ref()?;
        let age = came.elapsed();
        (age > self.interval * 2 + Duration::from_secs(1)).then_some(age.as_secs())
    }

    fn draw(&mut self, terminal: &mut DefaultTerminal, age: Option<u64>) -> io::Result<()> {
        let Some((view, _)) = &self.shown else {
            return Ok(());
        };
        let (ui, room) = (&mut self.ui, &mut self.room);
        let look = self.look;
        terminal.draw(|frame| *room = draw::frame(frame, view, ui, look, age))?;
        Ok(())
    }

    fn handle(&mut self, event: &event::Event) -> Flow {
        let event::Event::Key(pressed) = event else {
            return Flow::Stay; // Another size: the next frame has it.
        };
        if pressed.kind == KeyEventKind::Release {
            return Flow::Stay;
        }
        let control = pressed.modifiers.contains(KeyModifiers::CONTROL);
        let key = match pressed.code {
            KeyCode::Char('c') if control => return Flow::Quit,
            KeyCode::Char('l') if control => return Flow::Again,
            KeyCode::Up => Key::Up,
            KeyCode::Down => Key::Down,
            KeyCode::PageUp => Key::PageUp,
            KeyCode::PageDown => Key::PageDown,
            KeyCode::Home => Key::Top,
            KeyCode::End => Key::Bottom,
            KeyCode::Enter | KeyCode::Right => Key::Enter,
            KeyCode::Tab => Key::Next,
            KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => Key::Back,
            KeyCode::Char(letter) => Key::Letter(letter),
            _ => return Flow::Stay,
        };
        let names: Vec<&str> = self
            .shown
            .iter()
            .flat_map(|(view, _)| view.resources.iter().map(|one| &*one.name))
            .collect();
        self.ui.press(key, &names, self.room)
    }
}
