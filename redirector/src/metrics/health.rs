//! Whether the agent lives, and whether it has traffic steered.

use std::time::Duration;

use super::record::Stage;

/// How often the loop comes round, whether or not there is something to do.
pub const BEAT: Duration = Duration::from_secs(1);

/// A loop that has not come round for so long is stuck. To apply a hundred thousand routes takes about a second.
const ALIVE: Duration = Duration::from_secs(10);

/// Whether the agent's loop comes round, which it did so long ago, and what to say.
pub fn live(since: Duration) -> (bool, String) {
    if since <= ALIVE {
        return (true, "ok\n".to_owned());
    }
    (false, format!("the agent's loop has not come round for {} s\n", since.as_secs()))
}

/// Whether traffic is steered by the routes that were given, and else why not.
///
/// An agent that no interface has come to yet is ready: its globs match none on an empty node, and one that waits for
/// the agent to be ready would wait for ever. Whether proxies listen is theirs to say: a route has its `else`.
pub fn ready(stage: Stage) -> (bool, String) {
    match stage {
        Stage::Steering => (true, "ok\n".to_owned()),
        Stage::Starting => {
            (false, "starting: the routes are not in force yet, nothing is steered\n".to_owned())
        }
        Stage::Ending => (false, "ending: nothing is steered any more\n".to_owned()),
    }
}
