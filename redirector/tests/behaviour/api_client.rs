//! `redirector route` and `interface` where there is no agent to ask, or nothing to ask it.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    process::Stdio,
    thread,
};

use crate::support::{agent::BINARY, command::Outcome, files::Directory, in_world};

#[test]
fn without_an_agent_commands_say_where_they_looked() {
    in_world(|world| {
        let socket = world.node.state_dir().join("api.sock").display().to_string();
        for command in
            ["route list", "route get web", "route add 80=drop", "route remove web", "interface list -o json"]
        {
            let outcome = world.redirector(command);
            outcome.assert_code(3);
            assert_says(
                &outcome,
                &["redirector: no agent serves ", &socket, "\n  hint: `redirector run` starts one"],
            );
        }
    });
}

#[test]
fn the_state_directory_is_that_of_the_flag_the_environment_or_the_file() {
    in_world(|world| {
        let directory = Directory::new();
        let file = directory.write("a.toml", "version = 1\nstate_dir = '/nonexistent/of-the-file'");
        let run = |arguments: &[&str], environment: Option<&str>| {
            let mut command = world.node.command(BINARY);
            command.args(["route", "list"]).args(arguments).env_remove("REDIRECTOR_STATE_DIR");
            command.envs(environment.map(|directory| ("REDIRECTOR_STATE_DIR", directory)));
            Outcome::of(command)
        };
        let config = ["--config", file.to_str().expect("UTF-8")];
        assert_says(&run(&config, None), &["/nonexistent/of-the-file/api.sock"]);
        assert_says(&run(&config, Some("/nonexistent/of-the-environment")), &["of-the-environment/api.sock"]);
        let flags = [&config[..], &["--state-dir", "/nonexistent/of-the-flag"]].concat();
        assert_says(&run(&flags, Some("/nonexistent/of-the-environment")), &["of-the-flag/api.sock"]);
        let wrong = directory.write("b.toml", "version = 1\nstat_dir = '/x'");
        let outcome = run(&["--config", wrong.to_str().expect("UTF-8")], None);
        assert_says(outcome.assert_code(5), &["b.toml:2:1", "did you mean `state_dir`?"]);
    });
}

#[test]
fn what_is_wrong_with_a_file_of_routes_is_said_with_its_place_before_anybody_is_asked() {
    in_world(|world| {
        let directory = Directory::new();
        let apply = |name: &str, text: &str| {
            let file = directory.write(name, text);
            world.redirector(&format!("route apply -f {}", file.display()))
        };
        let toml = "version = 1\n[[route]]\nprots = [80]\ntarget = 'drop'\n[[route]]\nports = [0]\ntarget = 'dorp'\n";
        let outcome = apply("a.toml", toml);
        assert_says(
            outcome.assert_code(5),
            &[
                "the document has 3 errors",
                "a.toml:3:1: `prots`",
                "did you mean `ports`?",
                "a.toml:6:10: 0 is not a port",
                "a.toml:7:10: ",
                "did you mean \"drop\"?",
            ],
        );
        let json = "{\n  \"version\": 1,\n  \"routes\": [{ \"prots\": [80], \"target\": \"drop\" },\n    { \"ports\": [0], \"target\": \"drop\" }]\n}";
        let outcome = apply("a.json", json);
        assert_says(
            outcome.assert_code(5),
            &["the document has 2 errors", "a.json:3:17: `prots`", "a.json:4:17: 0 is not a port", "^"],
        );
        assert_says(
            apply("b.toml", "version = 1\nmark = 2").assert_code(5),
            &["`mark` is not a key of this document"],
        );
        assert_says(apply("c.json", "{\"version\": 1}").assert_code(5), &["has no `routes`"]);
        assert_says(world.redirector("route apply -f /nonexistent").assert_code(4), &["read /nonexistent"]);
        assert_says(world.redirector("route add nonsense").assert_code(5), &["no `=` and target"]);
        world.redirector("route add").assert_code(2);
        // The same out of a pipe.
        let mut command = world.node.command(BINARY);
        command.args(["route", "apply", "-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("run it");
        child.stdin.take().expect("a pipe").write_all(toml.as_bytes()).expect("write");
        let output = child.wait_with_output().expect("wait for it");
        assert_eq!(output.status.code(), Some(5));
        assert!(String::from_utf8_lossy(&output.stderr).contains("stdin:3:1: `prots`"), "{output:?}");
    });
}

#[test]
fn what_is_no_agent_of_ours_is_told_from_one() {
    in_world(|world| {
        std::fs::create_dir_all(world.node.state_dir()).expect("make the directory");
        let socket = world.node.state_dir().join("api.sock");
        let listener = UnixListener::bind(&socket).expect("bind");
        thread::scope(|scope| {
            scope.spawn(|| {
                for answer in [
                    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
                    "SSH-2.0-x\r\n",
                    "HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"version\": 1}",
                ] {
                    let (mut stream, _) = listener.accept().expect("accept");
                    let read = stream.read(&mut [0; 4096]).expect("read");
                    assert!(read > 0, "it is asked before it answers");
                    stream.write_all(answer.as_bytes()).expect("write");
                }
            });
            let outcome = world.redirector("route list");
            assert_says(outcome.assert_code(1), &["read the answer of the agent at ", "HTTP status 200"]);
            assert_says(world.redirector("route list").assert_code(3), &["ask the agent at "]);
            world.redirector("route list").assert_code(1);
        });
        // Nobody listens any more, and the name is still there.
        drop(listener);
        world.redirector("route list").assert_code(3);
    });
}

/// Asserts that stderr has all of these and stdout nothing.
#[track_caller]
fn assert_says(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.stdout, "", "{outcome:#?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{word:?} is not in {}", outcome.stderr);
    }
}
