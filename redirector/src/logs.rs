//! What the agent says while it runs: lines on stderr, as text for people or as JSON for programs, and how much of it.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
};

use tracing::{Event, Subscriber, field::Visit};
use tracing_subscriber::{
    EnvFilter, Registry,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format as Fields, Json, Writer},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt as _,
};

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[repr(u8)]
pub enum Level {
    /// What failed for good.
    Error,
    /// What is not as it should be.
    Warn,
    /// What changes.
    #[default]
    Info,
    /// Each step.
    Debug,
    /// Everything.
    Trace,
}

/// How it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: a line each.
    #[default]
    Text,
    /// For programs: a document each, on a line of its own.
    Json,
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// The level with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.word() == word)
    }
}

impl Format {
    /// The format with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();
static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static AS_JSON: AtomicBool = AtomicBool::new(false);

/// Begins to write, as text and as much as `RUST_LOG` says.
pub fn begin() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| filter(Level::Info));
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).event_format(Lines::default());
    // There is one for each process.
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
}

/// Writes so much from now on.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Relaxed);
    if let Some(handle) = FILTER.get() {
        // It fails only where the process's logs are gone.
        let _ = handle.reload(filter(level));
    }
}

/// How much is written.
pub fn level() -> Level {
    let level = LEVEL.load(Relaxed);
    Level::ALL.into_iter().find(|known| *known as u8 == level).unwrap_or_default()
}

/// Writes so from now on.
pub fn set_format(format: Format) {
    AS_JSON.store(format == Format::Json, Relaxed);
}

fn filter(level: Level) -> EnvFilter {
    // Libraries speak of what is their own affair.
    EnvFilter::new(format!("warn,redirector={}", level.word()))
}

/// Writes events.
struct Lines(Fields<Json>);

impl Default for Lines {
    fn default() -> Self {
        Self(
            tracing_subscriber::fmt::format()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false),
        )
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if AS_JSON.load(Relaxed) {
            return self.0.format_event(context, writer, event);
        }
        let before = match *event.metadata().level() {
            tracing::Level::ERROR => "error: ",
            tracing::Level::WARN => "warning: ",
            tracing::Level::INFO => "",
            tracing::Level::DEBUG => "debug: ",
            tracing::Level::TRACE => "trace: ",
        };
        let mut text = Text::default();
        event.record(&mut text);
        writeln!(writer, "{before}{}{}", text.message, text.fields)?;
        text.hint.lines().try_for_each(|line| writeln!(writer, "  hint: {line}"))
    }
}

/// What an event says, as text: the message, what else is in it, and what to do.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
    hint: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "hint" => self.hint = format!("{value:?}"),
            name => self.fields += &format!(" {name}={value:?}"),
        }
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
