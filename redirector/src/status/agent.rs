//! What only the running agent knows, asked by its API: who gave the routes, what was repaired, who watches.

use std::{path::Path, time::Duration};

use hyper::Method;
use redirector_common::entries::EventLosses;
use serde_json::{Value, json};

use crate::{agent::report::count, api::Client, datapath::FoundMaps, failure::Failure, finding::Finding};

/// How long the agent may take. One that is stuck does not keep the rest from being shown.
const PATIENCE: Duration = Duration::from_secs(5);

/// A line for each, or why the agent did not say.
pub fn known(state_dir: &Path, maps: Option<&FoundMaps>) -> Vec<Finding> {
    let answer = Client::new(state_dir).patience(PATIENCE).ask(Method::GET, "/v1/status", None);
    let losses = maps.and_then(|maps| maps.event_losses().ok()).unwrap_or_default();
    match answer {
        Ok(status) => vec![origins(&status), repairs(&status), flows(&status, losses)],
        Err(failure) => vec![silent(&failure)],
    }
}

/// It runs, and does not answer here.
fn silent(failure: &Failure) -> Finding {
    Finding::warn("api", format!("{:#}", failure.error))
        .fix("--state-dir says where the agent's socket is, if it was told another directory")
}

fn origins(status: &Value) -> Finding {
    let routes = &status["routes"];
    let named: Vec<_> = numbers(routes).map(|(origin, number)| format!("{number} by {origin}")).collect();
    let what = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
    Finding::ok("origins", format!("routes: {what}")).facts(json!({ "routes": routes }))
}

fn repairs(status: &Value) -> Finding {
    let repaired = &status["repaired"];
    let named: Vec<_> = numbers(repaired).map(|(what, number)| format!("{what} ({number})")).collect();
    let what = match &named[..] {
        [] => "nothing of ours was changed by others".to_owned(),
        // What is as it was is no fault; what goes on is somebody's, whom docs/coexistence.md may name.
        named => format!("put back what others had changed: {}", named.join(", ")),
    };
    Finding::ok("repairs", what).facts(json!({ "repaired": repaired }))
}

fn flows(status: &Value, EventLosses { rate, full }: EventLosses) -> Finding {
    let watchers = status["watchers"].as_u64().unwrap_or_default() as usize;
    let mut what = match watchers {
        0 => "nobody watches".to_owned(),
        1 => "1 client watches".to_owned(),
        more => format!("{} watch", count(more, "client")),
    };
    if rate > 0 {
        what += &format!("; {rate} connections were not told of, for they were more than events.per_second");
    }
    if full > 0 {
        what += &format!("; {full} were not, for they came faster than the agent reads");
    }
    let facts = json!({ "watchers": watchers, "lost": { "rate": rate, "full": full } });
    let finding = if full > 0 {
        Finding::warn("flows", what).fix("lower events.per_second: the agent has not the time for so many")
    } else {
        Finding::ok("flows", what)
    };
    finding.facts(facts)
}

/// Those that are not zero.
fn numbers(object: &Value) -> impl Iterator<Item = (&String, u64)> {
    let members = object.as_object().into_iter().flatten();
    members.filter_map(|(name, number)| Some((name, number.as_u64().filter(|number| *number > 0)?)))
}
