//! The agent's log: as text or as JSON, and as much as it is told.

use serde_json::Value;

use crate::support::in_world;

const ROUTES: &[&str] = &["web:8080=proxy:15001"];

#[test]
fn a_running_agent_writes_as_much_as_it_is_told() {
    in_world(|world| {
        let agent = world.agent_with(ROUTES, &["--log-level", "info"]);
        assert_eq!(world.redirector("log").assert_code(0).stdout, "info\n");
        let details = |said: &[String]| said.iter().filter(|line| line.starts_with("debug: ")).count();
        assert_eq!(details(&agent.said()), 0);
        assert_eq!(world.redirector("log debug").assert_code(0).stdout, "debug\n");
        // An interface that is captured is a step of which the log tells then.
        world.node.ip("link set to-client down\nlink set to-client name to-client2");
        agent.wait_for("interface to-client: ");
        agent.wait_for("debug: ");
        assert_eq!(world.redirector("log error").assert_code(0).stdout, "error\n");
        let before = agent.said().len();
        world.node.ip("link set to-client2 name to-client");
        world.node.ip("link set to-client up");
        // It has answered once it has followed: commands wait for their turn.
        world.redirector("route list").assert_code(0);
        assert_eq!(agent.said().len(), before);
        assert_eq!(world.redirector("log loud").code, 2);
        agent.stop();
        world.redirector("log").assert_code(3);
    });
}

#[test]
fn each_line_is_a_document_where_programs_read_it() {
    in_world(|world| {
        let mut command = world.node.command(crate::support::agent::BINARY);
        command
            .args(["run", "--interface", "to-client", "--route", ROUTES[0], "--log-format", "json"])
            .args(["--log-level", "debug"]);
        let agent = crate::support::Agent::spawn(command);
        agent.wait_for_nth(1, "ready", |line| line.contains("\"message\":\"ready: "));
        let documents: Vec<Value> =
            agent.said().iter().map(|line| serde_json::from_str(line).expect("a document")).collect();
        for document in &documents {
            for key in ["timestamp", "level", "target", "message"] {
                assert!(document[key].is_string(), "{key} of {document}");
            }
        }
        let attached = documents.iter().find(|document| document["message"] == "attached");
        assert_eq!(attached.expect("it is told")["program"], "sk_lookup");
        agent.stop();
    });
}
