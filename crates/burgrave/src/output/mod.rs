//! Everything that is printed: data on stdout as a table or JSON, words and failures on stderr.

mod failure;
mod table;
mod tame;
mod words;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use burgrave_types::{Clock, SystemClock, Timestamp};
use clap::ValueEnum;
use serde::Serialize;

pub(crate) use failure::Failure;
pub(crate) use table::{Facts, Table};
pub(crate) use tame::one_line;
pub(crate) use words::{age, by_number, deadline, list, or_dash, span, standing};

/// How data is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs: what REST answers
    Json,
}

/// What a piece of text is, for its colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tone {
    Good,
    Bad,
    Warning,
    Heading,
    Quiet,
}

/// The one door to stdout and stderr.
pub(crate) struct Output {
    format: Format,
    color_out: bool,
    color_err: bool,
}

impl Output {
    /// Output in this format; in colour where a terminal shows it and `NO_COLOR` (no-color.org) does not forbid it.
    pub(crate) fn new(format: Format) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            format,
            color_out: wanted && std::io::stdout().is_terminal(),
            color_err: wanted && std::io::stderr().is_terminal(),
        }
    }

    /// Whether programs read the data.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// The time now, from which ages and deadlines are counted.
    pub(crate) fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// Prints data: itself as JSON, or what `table` makes of it.
    pub(crate) fn show<T: Serialize>(
        &self,
        data: &T,
        table: impl FnOnce(&T) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        let text = match self.format {
            Format::Json => tame::tame_json(serde_json::to_string_pretty(data).map_err(anyhow::Error::new)?) + "\n",
            Format::Table => tame::tame(&table(data)?, &tones(self.color_out)).into_owned(),
        };
        self.data(text.as_bytes())
    }

    /// Prints one item of data on a line of its own: of a list that has no end.
    pub(crate) fn line<T: Serialize>(&self, data: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        let line = match self.format {
            Format::Json => tame::tame_json(serde_json::to_string(data).map_err(anyhow::Error::new)?),
            Format::Table => tame::tame(&text(data), &tones(self.color_out)).into_owned(),
        };
        self.data(format!("{line}\n").as_bytes())
    }

    /// Prints data as it is.
    pub(crate) fn data(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        written.map_err(|error| match error.kind() {
            // Whoever read has enough: `burgrave … | head`.
            std::io::ErrorKind::BrokenPipe => Failure::Quiet(0),
            _ => anyhow::Error::new(error).context("the answer cannot be written to stdout").into(),
        })
    }

    /// Says something to the person who sits there.
    pub(crate) fn say(&self, words: &str) {
        // Where stderr is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr().lock(), "{}", tame::tame(words, &tones(self.color_err)));
    }

    /// Tells a failure, and gives its exit code.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        if let Some(words) = failure.to_words(self) {
            self.say(&words);
        }
        failure.exit_code()
    }

    /// `text` for stdout, coloured where colours are shown.
    pub(crate) fn tone(&self, tone: Tone, text: &str) -> String {
        paint(self.color_out, tone, text)
    }

    /// `text` for stderr, coloured where colours are shown.
    pub(crate) fn tone_err(&self, tone: Tone, text: &str) -> String {
        paint(self.color_err, tone, text)
    }
}

fn paint(color: bool, tone: Tone, text: &str) -> String {
    if !color {
        return text.to_owned();
    }
    let style = style(tone);
    format!("{style}{text}{style:#}")
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
        Tone::Bad => Style::new().bold().fg_color(Some(AnsiColor::Red.into())),
        Tone::Warning => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
        Tone::Heading => Style::new().bold(),
        Tone::Quiet => Style::new().dimmed(),
    }
}

/// The sequences that [`paint`] writes, where it writes any.
fn tones(color: bool) -> Vec<String> {
    let tones = [Tone::Good, Tone::Bad, Tone::Warning, Tone::Heading, Tone::Quiet].map(style);
    if color { tones.iter().flat_map(|style| [format!("{style}"), format!("{style:#}")]).collect() } else { Vec::new() }
}
