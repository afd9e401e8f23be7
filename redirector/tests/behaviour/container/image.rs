//! The container image, from deploy/Dockerfile: what it says is laid out, without a container engine.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::support::confined::Bind;

const TEXT: &str = include_str!("../../../../deploy/Dockerfile");

/// An image that begins empty.
pub struct Image {
    /// What is copied into it.
    pub files: Vec<Bind>,
    /// The program, and what always comes first among its arguments.
    pub entrypoint: Vec<String>,
}

/// Where the static agent is, which is the only file of its directory. Where there is none the test is skipped, and says
/// so; under CI it fails.
pub fn static_agent() -> Option<PathBuf> {
    let agent = env::var_os("REDIRECTOR_STATIC").map(PathBuf::from);
    if agent.is_none() {
        assert!(env::var_os("CI").is_none(), "REDIRECTOR_STATIC does not say where the static agent is");
        println!(
            "skipped: needs the static agent, which `cargo xtask test` builds and REDIRECTOR_STATIC names"
        );
    }
    agent
}

/// What the Dockerfile makes of the files in a directory.
pub fn image(context: &Path) -> Image {
    let mut image = Image { files: Vec::new(), entrypoint: Vec::new() };
    let lines = TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for (number, line) in lines.enumerate() {
        let (instruction, rest) = line.split_once(' ').expect("an instruction has arguments");
        match (number, instruction) {
            (0, "FROM") => assert_eq!(rest, "scratch"),
            (_, "COPY") => {
                let (source, target) = rest.split_once(' ').expect("from where and to where");
                image.files.push(Bind::readable(context.join(source), target));
            }
            (_, "ENTRYPOINT") => image.entrypoint = serde_json::from_str(rest).expect("a list"),
            (_, "CMD") => assert_eq!(rest, r#"["run"]"#),
            _ => panic!("not known: {line}"),
        }
    }
    image
}

#[test]
fn the_image_is_the_static_agent_and_nothing_else() {
    let Some(agent) = static_agent() else { return };
    let context = agent.parent().expect("it is in a directory");
    let image = image(context);
    let copied: Vec<_> = image.files.iter().map(|bind| bind.source.clone()).collect();
    let there: Vec<_> =
        fs::read_dir(context).expect("list it").map(|entry| entry.expect("list it").path()).collect();
    assert_eq!(copied, [agent]);
    assert_eq!(copied, there, "what is sent to the engine");
    assert_eq!(image.entrypoint, [image.files[0].target.to_str().expect("UTF-8")]);
}
