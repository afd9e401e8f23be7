//! The examples of docs/api.md, run by the shell as they stand there.

use std::{fs, path::Path, process::Command};

use super::Stage;

/// The examples: each a command after `$`, and the lines that it prints.
fn examples(text: &str) -> Vec<(String, String)> {
    let mut examples = Vec::<(String, String)>::new();
    for block in text.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        for line in block.lines() {
            match line.strip_prefix("$ ") {
                Some(command) => examples.push((command.to_owned(), String::new())),
                None => {
                    let (command, printed) = examples.last_mut().expect("a block begins with a command");
                    match command.ends_with('\\') {
                        true => *command = format!("{}\n{line}", command),
                        false => *printed += &format!("{line}\n"),
                    }
                }
            }
        }
    }
    examples
}

#[test]
fn the_examples_do_what_they_say() {
    if Command::new("curl").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "this test needs curl");
        println!("skipped: needs curl");
        return;
    }
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md")).expect("read it");
    let examples = examples(&text);
    assert!(examples.len() >= 8, "{examples:#?}");
    let stage = Stage::new();
    for (command, printed) in examples {
        let here = command.replace("/run/redirector", &stage.directory.display().to_string());
        let output = Command::new("sh").args(["-c", &here]).output().expect("run sh");
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(said, printed, "of {command}");
    }
}
