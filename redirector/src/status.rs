//! How things stand in this network namespace, by what the kernel has and not by what an agent says.

mod agent;
mod hooks;
mod host;
mod routes;

use std::path::Path;

pub use routes::accept_rules;
use serde_json::json;

use crate::{
    datapath::{Found, FoundMaps},
    failure::Failure,
    finding::Finding,
    host::{Running, running},
    proxies, state,
};

/// What there is to see.
struct Scene {
    agent: Option<Running>,
    found: Found,
    maps: Option<FoundMaps>,
    /// Why the agent keeps routes that its files no longer say.
    refusal: Option<String>,
    /// Settings of the files that need a restart.
    restart: Vec<String>,
}

/// Looks at every part: the agent, which has this state directory, its programs, what it relies on, the proxies, the routes and the room that is left.
///
/// # Errors
///
/// The caller may not look, or the kernel refused.
pub fn look(state_dir: &Path) -> Result<Vec<Finding>, Failure> {
    let agent = running()?;
    let found = Found::look()?;
    let maps = found.maps();
    let (refusal, restart) = (state::refusal(state_dir), state::restart(state_dir));
    let scene = Scene { agent, found, maps, refusal, restart };
    let mut findings = vec![scene.agent()];
    if scene.agent.is_none() && scene.found.is_empty() {
        // An agent that was killed leaves rules even where its programs are gone with it.
        findings.extend(scene.routing()?.filter(|rules| rules.level > crate::finding::Level::Ok));
        return Ok(findings);
    }
    findings.extend(scene.configuration());
    findings.extend(scene.restart());
    findings.extend(scene.hooks());
    findings.extend(scene.routing()?);
    findings.push(scene.netfilter()?);
    if let Some(maps) = &scene.maps {
        // What another build has filled may not be readable, and does not hide the rest.
        let part = |id, result: anyhow::Result<Vec<Finding>>| {
            result.unwrap_or_else(|error| vec![Finding::failed(id, &error.into())])
        };
        findings.extend(part("proxy", listeners(maps)));
        findings.extend(part("routes", routes::routes(maps)));
        findings.extend(part("maps", routes::fill(maps).map(|finding| vec![finding])));
    }
    if scene.agent.is_some() {
        findings.extend(agent::known(state_dir, scene.maps.as_ref()));
    }
    Ok(findings)
}

fn listeners(maps: &FoundMaps) -> anyhow::Result<Vec<Finding>> {
    let proxies: Vec<_> = maps.proxies()?.into_iter().map(|(_, proxy)| proxy).collect();
    let probes = proxies::probe(&proxies)?;
    Ok(probes.iter().map(|probe| probe.finding("proxy")).collect())
}

impl Scene {
    fn agent(&self) -> Finding {
        match self.agent {
            Some(agent) => {
                Finding::ok("agent", format!("running, {agent}")).facts(json!({ "pid": agent.pid }))
            }
            None if self.found.is_empty() => {
                Finding::fail("agent", "not running, and no program of ours is here: nothing is redirected")
                    .fix("`redirector run` starts it, `redirector check` says whether it can")
            }
            None => Finding::fail("agent", "not running: what follows was left when it ended")
                .fix("`redirector run` starts it and takes over, `redirector cleanup` takes everything away"),
        }
    }

    /// That the files say what only a restart brings, if they do.
    fn restart(&self) -> Option<Finding> {
        if self.agent.is_none() || self.restart.is_empty() {
            return None;
        }
        let what = format!("changed, and in force after a restart only: {}", self.restart.join(", "));
        let fix = "restart the agent: open connections go on, and new ones pass until it steers again";
        Some(Finding::warn("configuration", what).fix(fix).facts(json!({ "restart": self.restart })))
    }

    /// That the files were refused, if they were.
    fn configuration(&self) -> Option<Finding> {
        let (Some(_), Some(refusal)) = (self.agent, &self.refusal) else { return None };
        // What belongs to an error stands indented below it.
        let errors: Vec<_> = refusal.lines().filter(|line| !line.starts_with(' ')).collect();
        let more = if errors.len() > 1 { format!(" (and {} more)", errors.len() - 1) } else { String::new() };
        let first = errors.first().unwrap_or(&"");
        let what = format!("refused as a whole, and the routes before are in force: {first}{more}");
        let fix = "correct the file: the agent reads it again when it changes";
        Some(Finding::warn("configuration", what).fix(fix).facts(json!({ "errors": errors })))
    }
}
