//! Frames byte by byte, from the status of a real pair.

mod fixture;

use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, style::Color};
use twindisk_agent::{AgentReply, Obstacle, WhyNot};

use super::{
    draw::{self, Look},
    history::History,
    keys::{Flow, Key, Page, Ui},
    model,
    view::View,
};
use fixture::Scene;

const PLAIN: Look = Look {
    color: false,
    ascii: true,
};

/// A frame of these pages and this size, and what became of the choice.
fn buffer(view: &View, ui: &mut Ui, look: Look, (width, height): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
    terminal
        .draw(|frame| {
            draw::frame(frame, view, ui, look, None);
        })
        .expect("memory");
    terminal.backend().buffer().clone()
}

/// Its text, a line each, without spaces at the ends.
fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let rows = buffer.content.chunks(width);
    let lines: Vec<String> = rows
        .map(|row| {
            let line: String = row.iter().map(|cell| cell.symbol()).collect();
            line.trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

fn frame(scene: &Scene, ui: &mut Ui) -> String {
    text(&buffer(&scene.view(), ui, PLAIN, (80, 24)))
}

#[track_caller]
fn same(frame: &str, golden: &str) {
    assert_eq!(frame.trim_end(), golden.trim_end(), "\n{frame}\n");
}

#[test]
fn a_primary_at_work_and_a_standby_that_is_brought_up_to_date() {
    let frame = frame(&Scene::resync(), &mut Ui::default());
    same(&frame, include_str!("tests/overview.txt"));
}

#[test]
fn a_resource_with_everything_about_it() {
    let frame = frame(&Scene::resync(), &mut Ui::of(Some("r0")));
    same(&frame, include_str!("tests/resource.txt"));
}

#[test]
fn a_standby_says_whether_it_would_take_over() {
    let frame = frame(&Scene::standby(), &mut Ui::default());
    same(&frame, include_str!("tests/standby.txt"));
}

#[test]
fn a_serve_that_says_nothing_is_the_first_thing_to_be_seen() {
    let mut scene = Scene::standby();
    scene.last.serve = Err("no `twindisk serve` is running for node beta".to_owned());
    let frame = frame(&scene, &mut Ui::default());
    let second = frame.lines().nth(1).expect("a frame");
    assert_eq!(second, "no `twindisk serve` is running for node beta");
    assert!(
        frame.contains("now      alarm   no `twindisk serve`"),
        "{frame}"
    );
    assert!(
        frame.contains("path 10.0.0.1:7790  heard 86 ms ago"),
        "{frame}"
    );
}

#[test]
fn help_fits_eighty_columns_and_goes_back_where_it_was_asked_for() {
    let scene = Scene::resync();
    let mut ui = Ui::of(Some("r0"));
    ui.press(Key::Letter('?'), &["r0"], 22);
    let help = frame(&scene, &mut ui);
    let foot = help.lines().last().expect("a frame");
    assert!(help.contains("could NOT"), "{help}");
    assert_eq!(foot, "Esc back  q quit", "it is whole");
    ui.press(Key::Back, &["r0"], 22);
    assert_eq!(ui.page, Page::Resource);
}

#[test]
fn keys_choose_look_closer_and_come_back() {
    let names = ["a", "b", "c"];
    let mut ui = Ui::default();
    let mut press = |key| {
        let flow = ui.press(key, &names, 20);
        (flow, ui.clone())
    };
    let (_, down) = press(Key::Down);
    assert_eq!(down.chosen.as_deref(), Some("b"));
    press(Key::Letter('j'));
    let (_, last) = press(Key::Down);
    assert_eq!(last.chosen.as_deref(), Some("c"), "there is no more");
    let (_, up) = press(Key::Letter('k'));
    assert_eq!(up.chosen.as_deref(), Some("b"));
    let (_, closer) = press(Key::Enter);
    assert_eq!(closer.page, Page::Resource);
    let (_, scrolled) = press(Key::Down);
    assert_eq!(
        (scrolled.scroll, scrolled.chosen.as_deref()),
        (1, Some("b"))
    );
    let (_, back) = press(Key::Back);
    assert_eq!((back.page, back.scroll), (Page::Overview, 0));
    for (key, page) in [('a', Page::Alarms), ('e', Page::Events)] {
        assert_eq!(press(Key::Letter(key)).1.page, page);
    }
    for next in ["c", "a", "b"] {
        assert_eq!(press(Key::Next).1.chosen.as_deref(), Some(next));
    }
    assert!(press(Key::Letter('p')).1.held && !press(Key::Letter(' ')).1.held);
    press(Key::Back);
    let (flow, still) = press(Key::Back);
    assert_eq!((flow, still.page), (Flow::Stay, Page::Overview));
    assert_eq!(press(Key::Letter('q')).0, Flow::Quit);
}

#[test]
fn what_is_chosen_stays_on_the_screen() {
    let mut scene = Scene::resync();
    let status = scene.last.serve.as_mut().expect("it answers");
    let one = status.resources[0].clone();
    status.resources = (10..30)
        .map(|number| {
            let mut one = one.clone();
            one.name = format!("r{number}");
            one
        })
        .collect();
    let view = scene.view();
    let names: Vec<&str> = view.resources.iter().map(|one| &*one.name).collect();
    let mut ui = Ui::default();
    let steps = std::iter::repeat_n(Key::Down, 19).chain(std::iter::repeat_n(Key::Up, 19));
    for key in steps {
        ui.press(key, &names, 22);
        let seen = text(&buffer(&view, &mut ui, PLAIN, (80, 24)));
        let chosen = ui.chosen.clone().expect("just chosen");
        assert!(seen.contains(&format!("> {chosen}")), "{chosen}:\n{seen}");
    }
    assert_eq!(ui.scroll, 0, "the heading is seen with the first");
    // What scrolls by hand stays where it is, and ends at the end.
    ui.press(Key::Bottom, &names, 22);
    let end = text(&buffer(&view, &mut ui, PLAIN, (80, 24)));
    assert!(!end.contains("> r10") && !end.contains(" more\n"), "{end}");
    let before = ui.scroll;
    ui.press(Key::PageUp, &names, 22);
    assert_eq!(ui.scroll, before - 22);
}

#[test]
fn without_colours_nothing_has_one_and_with_them_something_has() {
    let colours = |look| {
        let cells = buffer(&Scene::resync().view(), &mut Ui::default(), look, (80, 24));
        let coloured = cells.content.iter().filter(|cell| cell.fg != Color::Reset);
        coloured.count()
    };
    assert_eq!(colours(PLAIN), 0);
    let colour = Look {
        color: true,
        ascii: false,
    };
    assert!(colours(colour) > 100);
}

#[test]
fn what_others_say_gives_the_terminal_no_orders() {
    let mut scene = Scene::resync();
    scene.change(|replica| {
        let evil = "\x1b]0;title\x07 \u{9b}2J\nand on".to_owned();
        replica.warnings = vec![evil.clone()];
        replica.peers[0].connection_why = evil;
    });
    for page in [Ui::default(), Ui::of(Some("r0"))] {
        let sheet = draw::sheet(&scene.view(), &page, PLAIN, 80);
        let text: Vec<String> = sheet.lines.iter().map(ToString::to_string).collect();
        let text = text.join("|");
        assert!(!text.contains(char::is_control), "{text:?}");
        assert!(text.contains("?]0;title? ?2J and on"), "{text}");
    }
}

type Change<'c> = &'c dyn Fn(&mut AgentReply);

#[test]
fn an_agent_that_would_need_a_person_does_not_act_by_itself() {
    let taker = |change: &dyn Fn(&mut AgentReply)| {
        let mut scene = Scene::standby();
        change(scene.last.agent.as_mut().expect("it answers"));
        scene.view().resources[0].takers[0].text.clone()
    };
    assert_eq!(taker(&|_| {}), "beta could: in sync; by itself");
    let witnessed = taker(&|agent| {
        agent.status.resources[0].arbiter = Some("beta could go on alone".into());
    });
    assert_eq!(
        witnessed,
        "beta could: in sync; by itself, if its arbiter grants it"
    );
    let cases: [(Change<'_>, &str); 3] = [
        (
            &|agent| {
                let found = agent.status.resources[0].succession.as_mut();
                let found = found.expect("it says so");
                found.successors.clear();
                found.obstacles = vec![Obstacle {
                    node: "beta".to_owned(),
                    code: WhyNot::NoFenceDevice,
                    why: "there is no fence device for alpha".to_owned(),
                }];
            },
            "by hand: there is no fence device for alpha",
        ),
        (
            &|agent| agent.status.resources[0].succession = None,
            "knows nothing",
        ),
        (&|agent| agent.status.resources.clear(), "alone"),
    ];
    for (change, why) in cases {
        let told = taker(change);
        assert!(
            told.starts_with("beta could: in sync; ") && told.contains(why),
            "{told}"
        );
        assert!(!told.contains("by itself"), "{told}");
    }
    let mut scene = Scene::standby();
    scene.last.agent = Err("none".to_owned());
    let told = &scene.view().resources[0].takers[0].text;
    assert!(told.contains("by hand: no agent runs here"), "{told}");
}

#[test]
fn services_that_end_again_and_again_are_to_be_looked_at() {
    let mut scene = Scene::standby();
    let agent = scene.last.agent.as_mut().expect("it answers");
    agent.status.resources[0].ended = Some("its services ended 2 times".into());
    let frame = frame(&scene, &mut Ui::default());
    assert!(frame.contains("! its services ended 2 times"), "{frame}");
}

#[test]
fn every_page_fits_every_size() {
    for scene in [Scene::resync(), Scene::standby(), Scene::nothing()] {
        let view = scene.view();
        for page in ["", "\n", "a", "e", "?"] {
            let mut ui = Ui::default();
            for letter in page.chars() {
                let key = if letter == '\n' {
                    Key::Enter
                } else {
                    Key::Letter(letter)
                };
                ui.press(key, &["r0"], 5);
            }
            for width in (1..120).step_by(7) {
                for height in [1, 2, 3, 10, 50] {
                    buffer(&view, &mut ui, PLAIN, (width, height));
                }
                let wide = usize::from(width).max(40);
                for line in draw::sheet(&view, &ui, PLAIN, wide).lines {
                    // Headlines and tables are cut by the terminal, sentences are not.
                    assert!(line.width() <= wide.max(90), "{wide}: {line}");
                }
            }
        }
    }
}

#[test]
fn counts_begin_anew_with_the_process() {
    let scene = Scene::resync();
    let mut history = History::default();
    history.take(&scene.first);
    assert_eq!(history.rates("r0"), None, "nothing to compare with");
    history.take(&scene.last);
    let rates = history.rates("r0").expect("two snapshots");
    assert_eq!((rates.writes, rates.written_bytes), (600.0, 2_457_600.0));
    // Half a second: 300 writes that took 150 ms together.
    assert_eq!(history.means_ns("r0", "write"), [Some(500_000)]);
    assert_eq!(history.means_ns("r0", "read"), [None]);
    assert_eq!(history.progress_rate("r0", "beta"), Some(64 << 20));
    let mut restarted = scene.last;
    restarted.serve.as_mut().expect("it answers").pid += 1;
    history.take(&restarted);
    assert_eq!(history.rates("r0"), None);
    assert!(history.means_ns("r0", "write").is_empty());
}

#[test]
fn a_view_can_be_made_of_every_state_of_connection_and_disk() {
    for connection in twindisk_control::words::CONNECTIONS {
        for disk in twindisk_control::words::DISKS {
            for in_sync in [true, false] {
                let mut scene = Scene::resync();
                scene.change(|replica| {
                    let peer = &mut replica.peers[0];
                    (peer.connection, peer.disk, peer.in_sync) = (connection, Some(disk), in_sync);
                    peer.progress = None;
                });
                let view = model::view(&scene.last, &History::default());
                let taker = &view.resources[0].takers[0].text;
                let whole = connection == twindisk_core::ConnectionState::Established
                    && disk == twindisk_core::DiskState::UpToDate
                    && in_sync;
                assert_eq!(taker.starts_with("beta could: in sync"), whole, "{taker}");
            }
        }
    }
}
