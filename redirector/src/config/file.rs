//! What one file says, key by key.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use glob::Pattern;
use toml::de::DeValue;

use super::{
    keys::{self, Table},
    numbers, pieces,
    place::{RoutePlaces, Span},
    reader::{Collector, Entry, Reader, Value},
    source::Source,
    syntax::Garbled,
};
use crate::{
    routes::{Origin, Protected, Route},
    settings::{Number, Settings},
};

/// What the files read so far say together.
#[derive(Default)]
pub(super) struct Files {
    settings: Settings,
    routes: Vec<Route>,
    /// Where each setting is set: no second file may.
    set: HashMap<String, Span>,
    /// Where each route stands, by name.
    names: HashMap<String, Span>,
}

impl Files {
    /// Adds a file.
    pub fn read(&mut self, file: u32, text: &str, collector: &mut Collector) {
        if let Some((head, routes)) = pieces::toml(file, text)
            && self.add(routes)
        {
            return self.read_whole(file, head, collector);
        }
        self.read_whole(file, text, collector);
    }

    /// Adds routes, if each has a name of its own.
    fn add(&mut self, routes: Vec<(Route, Span)>) -> bool {
        let names: HashMap<_, _> = routes.iter().map(|(route, span)| (route.name.clone(), *span)).collect();
        if names.len() < routes.len() || names.keys().any(|name| self.names.contains_key(name)) {
            return false;
        }
        self.names.extend(names);
        self.routes.extend(routes.into_iter().map(|(route, _)| route));
        true
    }

    fn read_whole(&mut self, file: u32, text: &str, collector: &mut Collector) {
        let mut reader = Reader { file, collector, garbled: Garbled::default() };
        let root = reader.parse(text);
        let root = root.get_ref();
        if !reader.is_version(root, "file") {
            return;
        }
        for entry in reader.entries(root, &keys::FILE) {
            self.setting(&mut reader, entry);
        }
    }

    /// The settings that the files make.
    pub fn settings(self, sources: Vec<Source>) -> Settings {
        let Self { mut settings, routes, names, .. } = self;
        settings.routes.insert(Origin::Files, routes);
        settings.route_places = RoutePlaces::new(sources, names);
        settings
    }

    fn setting(&mut self, reader: &mut Reader, entry: Entry) {
        let value = entry.value;
        match entry.key {
            // Every file has it, and it was looked at first.
            "version" => {}
            "interfaces" => self.table(reader, entry, &keys::INTERFACES, Self::interfaces),
            "limits" => self.table(reader, entry, &keys::LIMITS, Self::limits),
            "events" => self.table(reader, entry, &keys::EVENTS, Self::events),
            "metrics" => self.table(reader, entry, &keys::METRICS, Self::metrics),
            "log" => self.table(reader, entry, &keys::LOG, Self::log),
            "route" => self.routes(reader, value),
            key => {
                self.once(reader, &keys::FILE, &entry);
                self.scalar(reader, key, value);
            }
        }
    }

    /// The settings at the top of a file. What is wrong has been said; the setting then stays as it is.
    fn scalar(&mut self, reader: &mut Reader, key: &str, value: &Value) {
        let settings = &mut self.settings;
        match key {
            "on_exit" if value.get_ref().as_str() == Some("keep") => reader
                .wrong(reader.span(value), "`keep` is not supported yet: write \"detach\"")
                .unwrap_or_default(),
            "on_exit" => store(&mut settings.on_exit, reader.word(value)),
            "attach" => store(&mut settings.attach, reader.word(value)),
            "netfilter" => store(&mut settings.netfilter, reader.word(value)),
            "mark" => {
                reader.number(value, numbers::mark).into_iter().for_each(|mark| settings.set_mark(mark))
            }
            "table" => {
                reader.number(value, numbers::table).into_iter().for_each(|table| settings.set_table(table));
            }
            "rule_priority" => reader
                .number(value, numbers::rule_priority)
                .into_iter()
                .for_each(|priority| settings.set_rule_priority(priority)),
            "protect" => {
                let ports = reader.list(value, "a list of ports such as \"tcp/22\"", |reader, value| {
                    reader.parsed::<Protected>(value, "a protected port, such as \"tcp/22\"")
                });
                store(&mut settings.protect, ports);
            }
            "reconcile" => store(&mut settings.reconcile, reader.duration(value)),
            "state_dir" => store(&mut settings.state_dir, reader.directory(value)),
            _ => {}
        }
    }

    fn interfaces(&mut self, reader: &mut Reader, key: &str, value: &Value) {
        let globs = reader.list(value, "a list of interfaces", |reader, value| {
            reader.parsed::<Pattern>(value, "the name or a glob of an interface")
        });
        let globs = globs.map(|globs| globs.iter().map(|glob| glob.as_str().to_owned()).collect());
        let interfaces = &mut self.settings.interfaces;
        let place = if key == "include" { &mut interfaces.include } else { &mut interfaces.exclude };
        store(place, globs);
    }

    fn limits(&mut self, reader: &mut Reader, key: &str, value: &Value) {
        /// What the kernel would refuse to make a map for.
        const MOST: u32 = 1 << 24;
        let limits = &mut self.settings.limits;
        let place = match key {
            "routes" => &mut limits.routes,
            "prefixes" => &mut limits.prefixes,
            "sources" => &mut limits.sources,
            _ => &mut limits.proxies,
        };
        store(place, reader.within(value, "a limit", 1..=MOST));
    }

    fn events(&mut self, reader: &mut Reader, _key: &str, value: &Value) {
        store(&mut self.settings.events_per_second, reader.within(value, "a rate", 0..=u32::MAX));
    }

    fn metrics(&mut self, reader: &mut Reader, _key: &str, value: &Value) {
        let listen = reader.checked(value, "an address and port, or \"off\"", numbers::metrics_listen);
        store(&mut self.settings.metrics_listen, listen);
    }

    fn log(&mut self, reader: &mut Reader, key: &str, value: &Value) {
        let (level, format) = &mut self.settings.log;
        match key {
            "level" => store(level, reader.word(value)),
            _ => store(format, reader.word(value)),
        }
    }

    fn routes(&mut self, reader: &mut Reader, value: &Value) {
        let expected = "a list of tables, each after [[route]]";
        let DeValue::Array(values) = value.get_ref() else {
            return reader.mistyped(value, expected).unwrap_or_default();
        };
        for value in values {
            let Some((route, span)) = reader.route(value) else { continue };
            match self.names.get(&route.name) {
                Some(first) => {
                    let message = format!("there are two routes of the name `{}`", route.name);
                    reader.twice(span, message, *first);
                }
                None => {
                    self.names.insert(route.name.clone(), span);
                    self.routes.push(route);
                }
            }
        }
    }

    /// A table of settings.
    fn table(
        &mut self,
        reader: &mut Reader,
        entry: Entry,
        known: &Table,
        setting: fn(&mut Self, &mut Reader, &str, &Value),
    ) {
        let expected = format!("a table with {}", known.keys.join(", "));
        let Some(table) = reader.table(entry.value, &expected) else { return };
        for entry in reader.entries(table, known) {
            self.once(reader, known, &entry);
            setting(self, reader, entry.key, entry.value);
        }
    }

    /// Refuses a setting that another file sets: which of them counted would hang on the files' names.
    fn once(&mut self, reader: &mut Reader, table: &Table, entry: &Entry) {
        let name = table.full(entry.key);
        match self.set.get(&name) {
            Some(first) => {
                let message = format!("`{name}` is set in two files");
                reader.twice(entry.span, message, *first);
            }
            None => {
                self.set.insert(name, entry.span);
            }
        }
    }
}

impl Reader<'_> {
    /// A number that may be `"auto"`.
    fn number(&mut self, value: &Value, check: fn(i64) -> Result<Number, String>) -> Option<Number> {
        match value.get_ref() {
            DeValue::String(text) if text == "auto" => Some(Number::Auto),
            DeValue::Integer(_) => {
                let number = self.integer(value, "a number or \"auto\"")?;
                check(number).or_else(|error| self.wrong(self.span(value), error).ok_or(())).ok()
            }
            _ => self.mistyped(value, "a number or \"auto\""),
        }
    }

    fn duration(&mut self, value: &Value) -> Option<Duration> {
        self.checked(value, "a duration such as \"30s\"", numbers::reconcile)
    }

    /// A string of which `read` makes something, or says what it is instead.
    fn checked<T>(
        &mut self,
        value: &Value,
        expected: &str,
        read: fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.string(value, expected)?;
        read(text)
            .or_else(|error| self.wrong(self.span(value), format!("`{text}` is {error}")).ok_or(()))
            .ok()
    }

    fn directory(&mut self, value: &Value) -> Option<PathBuf> {
        let text = self.string(value, "the path of a directory")?;
        match Path::new(text).is_absolute() {
            true => Some(text.into()),
            false => self.wrong(self.span(value), format!("`{text}` is not an absolute path")),
        }
    }
}

fn store<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}
