//! docs/metrics.md, of which this is the source.

use std::fmt::Write as _;

use prometheus_client::metrics::MetricType;
use redirector_common::{Reason, Verdict};

use super::{
    families::{ALL, Family, Stability},
    record::{ATTACHED, InterfaceState, ORIGINS, Repaired},
};

const HEAD: &str = "\
# Metrics and health

`redirector run` serves them by HTTP at the address of `metrics.listen`, by default `127.0.0.1:9464`. Only addresses of
the loopback device are taken, because nobody is asked who they are; `\"off\"` serves nothing. This page is made from the
code: `REDIRECTOR_WRITE_DOCS=1 cargo test -p redirector --lib metrics` writes it anew.

| path | what it says |
|---|---|
| `/metrics` | the metrics below, in the text format of OpenMetrics 1.0 |
| `/livez` | 200 while the agent's loop comes round, 503 if it has not for 10 s: the agent is to be started again |
| `/readyz` | 200 while traffic is steered by the routes that were given; 503 before and after, with the reason as text |

An agent whose globs match no interface yet is ready, and so is one whose proxies do not listen: interfaces come, and a
route has its `else`. `redirector_interfaces` and `redirector_route_target_available` tell.

Packets, bytes and connections are counted in the kernel and read at each scrape, also while the agent is busy. They begin
at zero with the agent. At most 64 connections are served at once and 4 texts of `/metrics` are on their way; a request has
2 s to arrive and a connection ends after 10 s. A scraper that stalls holds up neither traffic nor the agent.

With very many routes, those with the label `route` are the first 1,000 and of the others those that decided any
connection, 10,000 in all; `redirector_routes_left_out` says how many are missing there. What they decided is in
`redirector_packets_total` all the same. Routes that have one name, of several origins, are one there.

## Metrics

What is stable keeps name, type and labels until the next major version; labels and their values may be added. What is
beta may change with any version.

| name | type | unit | labels | stability | what it is |
|---|---|---|---|---|---|
";

/// The page.
pub fn document() -> String {
    let mut page = HEAD.to_owned();
    for family in ALL {
        page += &row(family);
    }
    page += "\n## Values of labels\n\n| label | values |\n|---|---|\n";
    let code = |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let mut label = |name: &str, values: &str| {
        // A string takes everything.
        let _ = writeln!(page, "| `{name}` | {values} |");
    };
    label("verdict", &code(&Verdict::ALL.iter().map(|verdict| verdict.word()).collect::<Vec<_>>()));
    label("reason", "the next table");
    label("route", "the name of a route; of one longer than 64 bytes the beginning");
    label("address", "address and port of a proxy, such as `127.0.0.1:15001`");
    label("origin", &code(&ORIGINS.map(|origin| origin.word())));
    label("state", &code(&InterfaceState::ALL.map(InterfaceState::word)));
    label("hook", &code(&ATTACHED));
    label("what", &code(&Repaired::ALL.map(Repaired::word)));
    label(
        "cause",
        "`rate`: they were more than `events.per_second`; `full`: they came faster than the agent reads",
    );
    label("map", "`ROUTES`, `PREFIXES`, `SOURCES`, `PROXIES`");

    page += "\n## Reasons\n\nWith each of its verdicts a reason is there from the beginning, at zero.\n\n";
    page += "| reason | verdicts |\n|---|---|\n";
    for reason in Reason::ALL {
        let possible = Verdict::ALL.iter().filter(|verdict| reason.verdicts().any(|of| of == **verdict));
        let words: Vec<_> = possible.map(|verdict| verdict.word()).collect();
        let _ = writeln!(page, "| `{}` | {} |", reason.word(), code(&words));
    }
    page
}

fn row(family: &Family) -> String {
    let kind = match family.kind {
        MetricType::Counter => "counter",
        MetricType::Gauge => "gauge",
        MetricType::Histogram => "histogram",
        MetricType::Info => "info",
        MetricType::Unknown => "unknown",
    };
    let unit = family.unit.as_ref().map_or("", |unit| unit.as_str());
    let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    let stability = match family.stability {
        Stability::Stable => "stable",
        Stability::Beta => "beta",
    };
    let (name, labels, help) = (family.sample(), labels.join(", "), family.help.trim_end_matches('.'));
    format!("| `{name}` | {kind} | {unit} | {labels} | {stability} | {help} |\n")
}
