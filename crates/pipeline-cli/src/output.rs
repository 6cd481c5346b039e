//! Results: on stdout, as text for people or as one JSON document.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use comfy_table::{ContentArrangement, Table, presets};
use console::Style;
use serde::Serialize;

use crate::cli::Common;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables and sentences.
    Text,
    /// One JSON document with a `version` member.
    Json,
    /// One network a line.
    Cidr,
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// Common Event Format in lines of syslog.
    Cef,
    /// Events of the Open Cybersecurity Schema Framework, one a line.
    Ocsf,
    /// A log of findings for code scanning, SARIF 2.1.0.
    Sarif,
    /// A picture.
    Svg,
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
}

impl Format {
    /// Takes some of the formats from the command line. All commands share the argument, and each has formats of its own.
    pub fn among(formats: &'static [Self]) -> impl TypedValueParser<Value = Self> {
        PossibleValuesParser::new(formats.iter().filter_map(Self::to_possible_value)).try_map(|name| {
            // Only names of formats come this far.
            Self::from_str(&name, false)
        })
    }
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// When it is a terminal and NO_COLOR is unset.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where results go and how they look.
#[derive(Debug)]
pub struct Output {
    format: Format,
    /// Drop progress.
    pub quiet: bool,
}

impl Output {
    /// As the arguments say.
    pub fn new(common: &Common) -> Self {
        match common.color {
            Color::Auto => {}
            Color::Always | Color::Never => {
                console::set_colors_enabled(common.color == Color::Always);
                console::set_colors_enabled_stderr(common.color == Color::Always);
            }
        }
        Self {
            format: common.format,
            quiet: common.quiet,
        }
    }

    /// Whether JSON was asked for.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints one JSON document.
    pub fn json(&self, value: &impl Serialize) -> anyhow::Result<()> {
        self.text(&serde_json::to_string_pretty(value)?)
    }

    /// Prints text and a line break. A closed pipe is an error that [`is_closed_pipe`] knows.
    pub fn text(&self, text: &str) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(printable(text).as_bytes())?;
        if !text.ends_with('\n') {
            stdout.write_all(b"\n")?;
        }
        stdout.flush()?;
        Ok(())
    }

    /// Bold and red on stderr.
    pub fn error_style(&self) -> Style {
        Style::new().for_stderr().red().bold()
    }
}

/// A text whose control characters, but for line feeds and tabs, are escaped: a log or a file name does not command a terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    let commands = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(commands) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match commands(c) {
            true => plain.extend(c.escape_default()),
            false => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// A table without borders that fits the terminal.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    // Into a pipe or a file, columns are as wide as they need to be.
    if io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table
}

/// Whether the reader of our stdout went away, as `| head` does: that is no failure of ours.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
