//! Who may use it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown},
    process::Command,
};

use super::Stage;
use crate::api::SOCKET;

/// Asks by curl as another user, in these groups: the status, and what it wrote.
fn ask_as(stage: &Stage, groups: &[&str]) -> (String, String) {
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534"])
        .args(groups)
        .args(["curl", "--silent", "--max-time", "20", "--write-out", "%{http_code}", "--unix-socket"])
        .arg(stage.directory.join(SOCKET))
        .arg("http://redirector/v1/interfaces")
        .output()
        .expect("run setpriv and curl");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (body, status) = text.split_at(text.len() - 3);
    (status.to_owned(), body.to_owned())
}

#[test]
fn others_are_kept_away_by_the_mode_and_refused_without_it() {
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "this test needs root");
        println!("skipped: needs root, to be somebody else");
        return;
    }
    let stage = Stage::new();
    let socket = stage.directory.join(SOCKET);
    assert_eq!(ask_as(&stage, &["--clear-groups"]).0, "000", "the kernel does not let it connect");
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).expect("change the mode");
    let (status, body) = ask_as(&stage, &["--clear-groups"]);
    assert_eq!(status, "403");
    assert!(body.contains("\"not-permitted\"") && body.contains("user 65534"), "{body}");
    // The group of the socket may, whether it is the process's first or one of its others.
    fs::set_permissions(&socket, Permissions::from_mode(0o660)).expect("change the mode");
    chown(&socket, None, Some(4242)).expect("change the group");
    assert_eq!(ask_as(&stage, &["--groups=4242"]).0, "200");
    assert_eq!(ask_as(&stage, &["--groups=4243"]).0, "000");
    chown(&socket, None, Some(65534)).expect("change the group");
    assert_eq!(ask_as(&stage, &["--clear-groups"]).0, "200");
}
