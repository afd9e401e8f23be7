//! Whether an agent runs, and what one that does not has left.

use crate::{cleanup, finding::Finding, host};

/// Looks for an agent, and for things of ours.
pub fn look() -> Vec<Finding> {
    let agent = match host::running() {
        Ok(agent) => agent,
        Err(error) => return vec![Finding::failed("agent-running", &error.into())],
    };
    if let Some(agent) = agent {
        return vec![
            Finding::warn("agent-running", format!("an agent serves this network namespace ({agent})"))
                .fix("end it before you start another; `redirector status` tells how it fares"),
            Finding::ok("leftovers", "what is here of ours is the running agent's"),
        ];
    }
    let leftovers = match cleanup::find() {
        Ok(things) if things.is_empty() => Finding::ok("leftovers", "nothing of ours is here"),
        Ok(things) => {
            let more = things.len() - 1;
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            Finding::warn("leftovers", format!("an agent was killed and left {}{more}", things[0]))
                .fix("`redirector cleanup` takes it away; a new agent takes it over")
        }
        Err(failure) => {
            let finding = Finding::warn("leftovers", format!("cannot be told: {:#}", failure.error));
            failure.hint.into_iter().fold(finding, Finding::fix)
        }
    };
    vec![Finding::ok("agent-running", "no agent serves this network namespace"), leftovers]
}
