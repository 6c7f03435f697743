//! What is shown, in words, before it has a place on the screen.

/// How loud a word is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// Neither.
    #[default]
    Plain,
    /// A person should look at it.
    Look,
    /// Something does not go on, or is lost.
    Bad,
    /// Beside the point.
    Faint,
    /// A heading.
    Head,
}

/// A piece of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// Makes a word.
pub(super) fn word(text: impl Into<String>, tone: Tone) -> Word {
    Word {
        text: text.into(),
        tone,
    }
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct View {
    /// What is looked at, and from where.
    pub(super) title: String,
    /// When: UTC.
    pub(super) time: String,
    /// Where nothing can be told: why.
    pub(super) silent: Option<String>,
    pub(super) node: String,
    pub(super) resources: Vec<Resource>,
    pub(super) nodes: Vec<Node>,
    /// What holds now, then what was told, the newest first.
    pub(super) alarms: Vec<Alarm>,
    /// The newest first.
    pub(super) events: Vec<Event>,
}

/// A resource.
#[derive(Debug, Default)]
pub(super) struct Resource {
    pub(super) name: String,
    pub(super) role: Word,
    pub(super) disk: Word,
    /// With whom it is in sync.
    pub(super) sync: Word,
    pub(super) services: Option<Word>,
    /// Writes and reads a second.
    pub(super) rates: String,
    /// Who could take over, and who not and why.
    pub(super) takers: Vec<Word>,
    /// What does not go on, or should be looked at: the worst first.
    pub(super) troubles: Vec<Word>,
    pub(super) bars: Vec<Bar>,
    /// Name and value.
    pub(super) facts: Vec<(&'static str, String)>,
    /// A table with its header.
    pub(super) peers: Vec<Vec<Word>>,
    pub(super) stages: Vec<Stage>,
}

/// How far something is.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) what: String,
    /// Of 1; `None`: only the other side knows.
    pub(super) part: Option<f64>,
    pub(super) text: String,
}

/// Where time goes: means of the last intervals, the newest last; `None` where nothing was done.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) name: String,
    /// It is a part of the one above.
    pub(super) part: bool,
    pub(super) means_ns: Vec<Option<u64>>,
}

/// A node.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) state: Word,
    /// More about it, a line each.
    pub(super) lines: Vec<Word>,
}

/// Something that should be looked at, or was reported.
#[derive(Debug)]
pub(super) struct Alarm {
    /// `None`: it is so now.
    pub(super) time: Option<String>,
    pub(super) level: Word,
    pub(super) text: String,
}

/// Something that happened.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) time: String,
    pub(super) resource: Option<String>,
    pub(super) text: String,
}
