//! The dashboard and the alerts in deploy/, by Prometheus' own tool. That their metrics exist the tests of `metrics` show.

use std::{env, fmt::Write as _, fs, path::Path, process::Command};

use serde_json::Value;

use crate::support::{command::Outcome, files::Directory};

const RULES: &str = include_str!("../../../deploy/prometheus-rules.yaml");
const RULES_TEST: &str = include_str!("../golden/prometheus-rules.test.yaml");
const DASHBOARD: &str = include_str!("../../../deploy/grafana-dashboard.json");

/// Runs promtool in a directory; nothing where there is none, which under CI is a failure.
fn promtool(directory: &Path, arguments: &[&str]) -> Option<Outcome> {
    let Some(promtool) = env::var_os("REDIRECTOR_PROMTOOL") else {
        assert!(env::var_os("CI").is_none(), "REDIRECTOR_PROMTOOL is not set: `cargo xtask test` sets it");
        println!("skipped: needs promtool");
        return None;
    };
    let mut command = Command::new(promtool);
    command.args(arguments).current_dir(directory);
    Some(Outcome::of(command))
}

#[test]
fn each_alert_fires_on_what_it_is_about() {
    let directory = Directory::new();
    directory.write("prometheus-rules.yaml", RULES);
    let test = directory.write("test.yaml", RULES_TEST);
    let place = test.parent().expect("it is in a directory");
    let Some(checked) = promtool(place, &["check", "rules", "prometheus-rules.yaml"]) else { return };
    checked.assert_code(0);
    promtool(place, &["test", "rules", "test.yaml"]).expect("it is there").assert_code(0);
    // No alert is left out.
    let alerts = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        assert!(RULES_TEST.contains(&format!("alertname: {alert}")), "{alert} is not tested");
    }
}

#[test]
fn every_panel_asks_what_prometheus_understands() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("it is JSON");
    let mut rules = "groups:\n  - name: panels\n    rules:\n".to_owned();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            let expression = target["expr"].as_str().expect("an expression");
            let expression = expression.replace("$__rate_interval", "5m").replace("$instance", ".*");
            // A string takes everything.
            let _ = writeln!(
                rules,
                "      - {{ record: panel, labels: {{ n: '{}-{}' }}, expr: '{expression}' }}",
                panel["id"],
                target["refId"].as_str().unwrap_or_default()
            );
        }
    }
    let directory = Directory::new();
    let file = directory.write("panels.yaml", &rules);
    if let Some(checked) = promtool(file.parent().expect("it has one"), &["check", "rules", "panels.yaml"]) {
        checked.assert_code(0);
    }
    fs::metadata(file).expect("it was written");
}
