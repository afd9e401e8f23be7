//! The text and the page, without a kernel.

use std::{
    collections::{BTreeMap, HashSet},
    env, fs,
    path::Path,
    time::Duration,
};

use redirector_common::{
    Protocol, Reason, Verdict,
    entries::{EventLosses, PacketCount},
};

use super::{
    document, encode,
    families::{ALL, Family},
    health,
    process::Process,
    record::{Metrics, Stage},
    snapshot::{Kernel, Routes, Snapshot},
};
use crate::{
    datapath::{Fill, ListenerAddress},
    routes::Origin,
};

#[test]
fn the_page_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = document();
    if env::var_os("REDIRECTOR_WRITE_DOCS").is_some() {
        fs::write(&path, &page).expect("write the page");
    }
    let written = fs::read_to_string(&path).expect("read the page");
    assert!(written == page, "docs/metrics.md is not what the code says: REDIRECTOR_WRITE_DOCS=1 writes it");
    let words = Reason::ALL.iter().map(|reason| reason.word());
    for word in words.chain(Verdict::ALL.iter().map(|verdict| verdict.word())) {
        assert!(page.contains(&format!("`{word}`")), "{word} is on the page");
    }
}

#[test]
fn every_family_is_written_with_its_labels_and_no_other() {
    let text = encode::encode(snapshot()).expect("a string takes everything");
    assert!(text.ends_with("\n# EOF\n"));
    let described: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(described.len(), ALL.len());
    for family in ALL {
        let samples: Vec<_> = text.lines().filter(|line| is_of(family, line)).collect();
        assert!(!samples.is_empty(), "{} has samples", family.sample());
        for sample in samples {
            let labels = sample.split_once('{').map_or("", |(_, rest)| rest);
            for label in family.labels {
                assert!(labels.contains(&format!("{label}=\"")), "{sample} has {label}");
            }
        }
    }
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let unknown: Vec<_> = samples.filter(|line| !ALL.iter().any(|family| is_of(family, line))).collect();
    assert_eq!(unknown, [""; 0]);
}

#[test]
fn a_name_is_what_its_family_says_it_is() {
    let names: HashSet<_> = ALL.iter().map(|family| family.sample()).collect();
    assert_eq!(names.len(), ALL.len(), "each is there once");
    for family in ALL {
        let name = family.sample();
        assert!(name.starts_with("redirector_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(family.help.ends_with('.') && !family.help.contains('\n'), "{name}: {}", family.help);
    }
}

#[test]
fn a_label_s_value_cannot_break_its_line() {
    let mut snapshot = snapshot();
    let routes = &mut snapshot.kernel.as_mut().expect("it has one").routes;
    routes.lost.insert("a\"b\\c\nd".to_owned(), 7);
    let text = encode::encode(snapshot).expect("a string takes everything");
    assert!(text.contains("\nredirector_steered_lost_total{route=\"a\\\"b\\\\c\\nd\"} 7\n"), "{text}");
}

#[test]
fn what_is_recorded_is_written() {
    let metrics = Metrics::new();
    metrics.propagated(Origin::Api, Duration::from_millis(2));
    metrics.reconciled(Duration::from_secs(60));
    metrics.reloaded(false);
    let snapshot = Snapshot { recorded: metrics, kernel: None, process: Process::default() };
    let text = encode::encode(snapshot).expect("a string takes everything");
    for line in [
        "redirector_propagation_delay_seconds_bucket{le=\"0.001\",origin=\"api\"} 0",
        "redirector_propagation_delay_seconds_bucket{le=\"0.0025\",origin=\"api\"} 1",
        "redirector_propagation_delay_seconds_count{origin=\"files\"} 0",
        "redirector_reconcile_duration_seconds_bucket{le=\"30.0\"} 0",
        "redirector_reconcile_duration_seconds_bucket{le=\"+Inf\"} 1",
        "redirector_config_last_reload_successful 0",
    ] {
        assert!(text.lines().any(|written| written == line), "{line} is in {text}");
    }
    assert!(!text.contains("redirector_packets"), "nothing is read before there are programs");
}

#[test]
fn a_loop_that_does_not_come_round_is_not_alive() {
    assert!(health::live(Duration::from_secs(10)).0);
    let (alive, why) = health::live(Duration::from_secs(11));
    assert!(!alive && why.contains("not come round for 11 s"), "{why}");
    let metrics = Metrics::new();
    metrics.beat();
    assert!(health::live(metrics.since_beat()).0);
}

#[test]
fn an_agent_is_ready_between_its_beginning_and_its_end() {
    for (stage, ready, word) in [
        (Stage::Starting, false, "starting"),
        (Stage::Steering, true, "ok"),
        (Stage::Ending, false, "ending"),
    ] {
        let (is, said) = health::ready(stage);
        assert_eq!((is, said.starts_with(word)), (ready, true), "{said}");
        let metrics = Metrics::new();
        metrics.enter(stage);
        assert_eq!(metrics.stage(), stage);
    }
}

#[test]
fn the_process_knows_itself() {
    let process = Process::read();
    assert!(process.resident > 1 << 20 && process.resident < 1 << 40, "{process:?}");
    assert!(process.fds >= 3, "{process:?}");
    assert!(process.cpu >= 0.0);
}

#[test]
fn the_dashboard_and_the_alerts_name_metrics_and_labels_that_there_are() {
    // What Prometheus itself adds.
    const OTHERS: [&str; 4] = ["instance", "job", "le", "up"];
    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../../deploy/grafana-dashboard.json")).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let rules: serde_json::Value =
        serde_saphyr::from_str(include_str!("../../../deploy/prometheus-rules.yaml")).expect("it is YAML");
    let rules = rules["groups"][0]["rules"].as_array().expect("rules").iter();
    let expressions: Vec<&str> =
        targets.chain(rules).map(|asks| asks["expr"].as_str().expect("an expression")).collect();
    let mut named = HashSet::new();
    for expression in &expressions {
        let words: Vec<&str> = expression
            .split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
            .filter(|word| word.starts_with("redirector_") || word.starts_with("process_"))
            .collect();
        let families: Vec<&Family> = words
            .iter()
            .map(|word| {
                let family = ALL.iter().find(|family| is_of(family, word));
                *family.unwrap_or_else(|| panic!("there is no {word}, of which {expression:?} speaks"))
            })
            .collect();
        named.extend(families.iter().map(|family| family.name));
        for label in labels(expression) {
            let known =
                OTHERS.contains(&label) || families.iter().any(|family| family.labels.contains(&label));
            assert!(known, "there is no label {label} in what {expression:?} speaks of");
        }
    }
    // What is stable and of connections is shown.
    for family in ["redirector_connections", "redirector_steered_lost", "redirector_flow_events_lost"] {
        assert!(named.contains(family), "{family}");
    }
    assert!(expressions.len() > 20, "{}", expressions.len());
}

/// The labels of a query: those that select, and those that sums are by.
fn labels(expression: &str) -> Vec<&str> {
    let selects = expression.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let selects =
        selects.flat_map(|inside| inside.split(',')).filter_map(|pair| pair.split(['=', '!']).next());
    let by = expression.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
    selects.chain(by.flat_map(|inside| inside.split(','))).map(str::trim).collect()
}

fn is_of(family: &Family, line: &str) -> bool {
    let name = line.split(['{', ' ']).next().unwrap_or_default();
    let suffix = name.strip_prefix(&family.sample());
    suffix.is_some_and(|suffix| ["", "_bucket", "_sum", "_count"].contains(&suffix))
}

fn snapshot() -> Snapshot {
    let web = || "web".to_owned();
    let routes = Routes {
        connections: BTreeMap::from([((web(), Verdict::Steered), 3)]),
        lost: BTreeMap::from([(web(), 1)]),
        available: BTreeMap::from([(web(), true)]),
        left_out: 0,
    };
    let kernel = Kernel {
        packets: vec![(Verdict::Steered, Reason::Proxy, PacketCount { packets: 3, bytes: 222 })],
        routes,
        fill: vec![("ROUTES", Fill { entries: 1, capacity: 2 })],
        proxies: BTreeMap::from([(
            ListenerAddress { protocol: Protocol::Udp, at: ([127, 0, 0, 1], 15053).into() },
            false,
        )]),
        events_lost: EventLosses { rate: 2, full: 1 },
    };
    Snapshot { recorded: Metrics::new(), kernel: Some(kernel), process: Process::default() }
}
