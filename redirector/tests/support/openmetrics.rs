//! Reads the text format of OpenMetrics 1.0, and refuses what it does not allow.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::{Netns, World, http};

/// Where the agent serves unless it is told otherwise.
pub const METRICS: ([u8; 4], u16) = ([127, 0, 0, 1], 9464);

/// A text that was read.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Values by the sample's name and labels, as `name{a="b",c="d"}` with the labels sorted.
    pub samples: BTreeMap<String, f64>,
    /// Names and types of the families.
    pub families: BTreeMap<String, String>,
}

impl World {
    /// Scrapes the agent in the node.
    #[track_caller]
    pub fn metrics(&self) -> Page {
        Page::scrape(&self.node, METRICS.into())
    }
}

impl Page {
    /// Scrapes an agent.
    #[track_caller]
    pub fn scrape(netns: &Netns, from: SocketAddr) -> Self {
        let answer = http::request(netns, from, "GET", "/metrics").expect("the agent answers");
        assert_eq!(answer.status, 200, "{answer:?}");
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!(answer.headers.get("content-type").map(String::as_str), Some(kind));
        assert_eq!(answer.headers.get("content-length"), Some(&answer.body.len().to_string()));
        Self::read(&answer.body).unwrap_or_else(|error| panic!("{error}\n{}", answer.body))
    }

    /// Reads a text.
    pub fn read(text: &str) -> Result<Self, String> {
        let body = text.strip_suffix("# EOF\n").ok_or("it does not end in # EOF")?;
        let mut page = Self::default();
        let mut family = Family::default();
        for line in body.split_terminator('\n') {
            let wrong = |what: &str| format!("{what}: {line:?}");
            if let Some(rest) = line.strip_prefix("# ") {
                let (keyword, rest) = rest.split_once(' ').ok_or_else(|| wrong("no keyword"))?;
                let (name, said) = rest.split_once(' ').ok_or_else(|| wrong("no text"))?;
                if name != family.name {
                    page.add(&family)?;
                    family = Family { name: name.to_owned(), ..Family::default() };
                    is_name(name).then_some(()).ok_or_else(|| wrong("not a name"))?;
                }
                if !family.samples.is_empty()
                    || family.said.insert(keyword.to_owned(), said.to_owned()).is_some()
                {
                    return Err(wrong("said twice or too late"));
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').ok_or_else(|| wrong("no value"))?;
            let value: f64 = value.parse().map_err(|_| wrong("not a number"))?;
            let (name, labels) = match series.split_once('{') {
                None => (series, Vec::new()),
                Some((name, rest)) => {
                    let labels = rest.strip_suffix('}').and_then(labels);
                    (name, labels.ok_or_else(|| wrong("labels"))?)
                }
            };
            family.samples.push((name.to_owned(), labels, value));
        }
        page.add(&family)?;
        Ok(page)
    }

    /// Value of a sample, such as `redirector_packets_total{reason="proxy",verdict="steered"}`.
    #[track_caller]
    pub fn value(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("no {sample} in {:#?}", self.samples))
    }

    /// What is not as in an earlier text, by how much.
    pub fn since(&self, before: &Self) -> BTreeMap<String, f64> {
        let change = |(name, value): (&String, &f64)| {
            let change = value - before.samples.get(name).copied().unwrap_or_default();
            (change != 0.0).then(|| (name.clone(), change))
        };
        self.samples.iter().filter_map(change).collect()
    }

    fn add(&mut self, family: &Family) -> Result<(), String> {
        if family.name.is_empty() {
            return family.samples.is_empty().then_some(()).ok_or("a sample of no family".to_owned());
        }
        let kind = family.check()?;
        if self.families.insert(family.name.clone(), kind.to_owned()).is_some() {
            return Err(format!("{} is there twice", family.name));
        }
        for (name, labels, value) in &family.samples {
            let mut labels: Vec<_> =
                labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
            labels.sort();
            let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let series = format!("{name}{braces}");
            if self.samples.insert(series.clone(), *value).is_some() {
                return Err(format!("{series} is there twice"));
            }
        }
        Ok(())
    }
}

type Labels = Vec<(String, String)>;

#[derive(Default)]
struct Family {
    name: String,
    said: BTreeMap<String, String>,
    samples: Vec<(String, Labels, f64)>,
}

impl Family {
    /// Its type, if everything in it is as that wants it.
    fn check(&self) -> Result<&str, String> {
        let name = &self.name;
        let known = ["HELP", "TYPE", "UNIT"];
        let said = |keyword: &str| self.said.get(keyword).map(String::as_str);
        if let Some(other) = self.said.keys().find(|keyword| !known.contains(&keyword.as_str())) {
            return Err(format!("{name}: # {other}"));
        }
        if said("UNIT").is_some_and(|unit| !name.ends_with(&format!("_{unit}"))) {
            return Err(format!("{name} does not end in its unit"));
        }
        let kind = said("TYPE").ok_or_else(|| format!("{name} has no type"))?;
        said("HELP").filter(|help| !help.is_empty()).ok_or_else(|| format!("{name} has no help"))?;
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => return Err(format!("{name} is a {kind}")),
        };
        for (sample, labels, value) in &self.samples {
            let suffix = sample.strip_prefix(name.as_str()).ok_or_else(|| format!("{sample} in {name}"))?;
            if !suffixes.contains(&suffix) {
                return Err(format!("{sample} in the {kind} {name}"));
            }
            if labels.iter().map(|(label, _)| label).collect::<BTreeSet<_>>().len() != labels.len() {
                return Err(format!("{sample}: a label twice"));
            }
            if kind != "gauge" && (!value.is_finite() || *value < 0.0) {
                return Err(format!("{sample} is {value}"));
            }
        }
        if kind == "histogram" { self.check_buckets().map(|()| kind) } else { Ok(kind) }
    }

    /// That the buckets of each series add up, in the order of their bounds.
    fn check_buckets(&self) -> Result<(), String> {
        let mut series = BTreeMap::<Labels, Vec<(f64, f64)>>::new();
        for (sample, labels, value) in &self.samples {
            let (bound, others): (Labels, Labels) =
                labels.iter().cloned().partition(|(label, _)| label == "le");
            match (sample.ends_with("_bucket"), &bound[..]) {
                (true, [(_, bound)]) => {
                    let bound = if bound == "+Inf" { Ok(f64::INFINITY) } else { bound.parse() };
                    let bound = bound.map_err(|_| format!("{sample}: not a bound"))?;
                    series.entry(others).or_default().push((bound, *value));
                }
                (false, []) => {}
                _ => return Err(format!("{sample}: {labels:?}")),
            }
        }
        for (labels, buckets) in series {
            let ascend = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
            let counted = format!("{}_count", self.name);
            let is_count = |(name, of, _): &&(String, Labels, f64)| *name == counted && *of == labels;
            let count = self.samples.iter().find(is_count).map(|(.., value)| *value);
            let last = buckets.last().copied().unwrap_or_default();
            if !ascend || last.0 != f64::INFINITY || Some(last.1) != count {
                return Err(format!("the buckets of {} {labels:?}: {buckets:?}", self.name));
            }
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// What stands between braces. A value keeps its escapes.
fn labels(mut text: &str) -> Option<Labels> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").filter(|(name, _)| is_name(name) && !name.is_empty())?;
        let mut escaped = false;
        let end = rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        labels.push((name.to_owned(), rest[..end].to_owned()));
        text = &rest[end + 1..];
        if !text.is_empty() {
            text = text.strip_prefix(',').filter(|rest| !rest.is_empty())?;
        }
    }
    Some(labels)
}

#[test]
fn what_is_not_openmetrics_is_refused() {
    let good = "# HELP a Words.\n# TYPE a counter\na_total{b=\"c\\\"},\"} 1\n# EOF\n";
    assert_eq!(Page::read(good).expect("it is right").value("a_total{b=\"c\\\"},\"}"), 1.0);
    for (part, wrong) in [
        ("# EOF\n", ""),
        ("a_total", "a"),
        ("} 1", "} -1"),
        ("} 1", "} one"),
        ("} 1\n", "} 1\na_total{b=\"c\\\"},\"} 1\n"),
        ("} 1\n", "} 1\n# TYPE a gauge\n"),
        ("# HELP a Words.\n", ""),
        ("# TYPE a counter\n", ""),
        ("# TYPE a counter\n", "# TYPE a counter\n# UNIT a seconds\n"),
        ("b=\"c", "b=c\""),
        ("a_total", "z_total"),
    ] {
        assert!(good.contains(part));
        assert!(Page::read(&good.replacen(part, wrong, 1)).is_err(), "{wrong:?} for {part:?}");
    }
    let histogram = "# HELP h Words.\n# TYPE h histogram\nh_sum 1.0\nh_count 2\nh_bucket{le=\"1.0\"} 1\n\
                     h_bucket{le=\"+Inf\"} 2\n# EOF\n";
    assert!(Page::read(histogram).is_ok());
    assert!(Page::read(&histogram.replace("h_count 2", "h_count 3")).is_err());
    assert!(Page::read(&histogram.replace("\"+Inf\"", "\"0.5\"")).is_err());
}
