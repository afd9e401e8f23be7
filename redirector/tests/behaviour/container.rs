//! The agent as a pod: the image of deploy/Dockerfile under exactly the restrictions of deploy/kubernetes.yaml, in the
//! node's network.

mod image;
mod manifest;

use std::net::SocketAddr;

use caps::CapsHashSet;

use crate::support::{
    World, at_each_hook,
    confined::{Confined, assert_confined},
    in_world,
    nat::TOOLS,
    snapshot::Snapshot,
    world::{FAMILIES, Family, PORT},
};
use image::{image, static_agent};
use manifest::{Manifest, Volumes};

#[test]
fn a_pod_steers_at_both_hooks_and_leaves_nothing_behind() {
    if static_agent().is_none() {
        return;
    }
    at_each_hook(|world| {
        let manifest = Manifest::read();
        let volumes = Volumes::new(&manifest);
        let _proxy = world.proxy();
        // As the ends of pods' links are called.
        world.node.ip("link set to-client name veth7");
        let before = Snapshot::take(&world.node);
        let capabilities = manifest.capabilities();
        let pod = start(world, &manifest, &volumes, &capabilities);
        pod.agent.wait_until_ready();
        assert_confined(pod.agent.pid(), &capabilities, &["/run/redirector"]);
        for family in FAMILIES {
            world.assert_reaches(service(family), "proxy");
        }
        // The first process of a pid namespace gets only signals that it listens for.
        let summary = pod.agent.stop();
        assert_eq!((summary.connections("services"), summary.lost("services")), (2, 0));
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

#[test]
fn a_pod_keeps_nat_away_from_what_it_steers_whatever_made_it() {
    if static_agent().is_none() {
        return;
    }
    for tool in TOOLS {
        in_world(|world| {
            let manifest = Manifest::read();
            let volumes = Volumes::new(&manifest);
            let _servers = (world.proxy(), world.real_server(PORT));
            world.node.ip("link set to-client name veth7");
            for family in FAMILIES {
                tool.translate(&world.node, service(family), (family.server(), PORT).into());
                world.assert_answers(service(family), "server");
            }
            let before = Snapshot::take(&world.node);
            let pod = start(world, &manifest, &volumes, &manifest.capabilities());
            pod.agent.wait_until_ready();
            for family in FAMILIES {
                world.assert_reaches(service(family), "proxy");
            }
            pod.agent.stop();
            before.assert_unchanged(&Snapshot::take(&world.node));
        });
    }
}

#[test]
fn what_is_run_in_a_pod_looks_at_its_node() {
    if static_agent().is_none() {
        return;
    }
    in_world(|world| {
        let manifest = Manifest::read();
        let volumes = Volumes::new(&manifest);
        let _proxy = world.proxy();
        world.node.ip("link set to-client name veth7");
        let line = ["check", "--config", "/etc/redirector/redirector.toml"].map(str::to_owned);
        let mut check = start_line(world, &manifest, &volumes, &manifest.capabilities(), &line);
        let code = check.agent.wait().code();
        let said = check.agent.output();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("interface-unsupported") && said.contains("veth7"), "{said}");
        assert!(!said.contains("FAIL"), "{said}");
    });
}

#[test]
fn a_pod_needs_each_of_its_capabilities() {
    if static_agent().is_none() {
        return;
    }
    in_world(|world| {
        let manifest = Manifest::read();
        let volumes = Volumes::new(&manifest);
        world.node.ip("link set to-client name veth7");
        let before = Snapshot::take(&world.node);
        let all = manifest.capabilities();
        assert_eq!(all.len(), 3);
        for missing in &all {
            let rest: CapsHashSet = all.iter().copied().filter(|capability| capability != missing).collect();
            let mut pod = start(world, &manifest, &volumes, &rest);
            let code = pod.agent.wait().code();
            assert_eq!(code, Some(6), "without {missing}: {:#?}", pod.agent.said());
        }
        before.assert_unchanged(&Snapshot::take(&world.node));
    });
}

/// A service of the cluster that the manifest's routes name.
fn service(family: Family) -> SocketAddr {
    let address = match family {
        Family::V4 => "10.96.0.10".parse(),
        Family::V6 => "fd00:10:96::10".parse(),
    };
    SocketAddr::new(address.expect("an address"), PORT)
}

fn start(world: &World, manifest: &Manifest, volumes: &Volumes, capabilities: &CapsHashSet) -> Confined {
    start_line(world, manifest, volumes, capabilities, manifest.arguments())
}

fn start_line(
    world: &World,
    manifest: &Manifest,
    volumes: &Volumes,
    capabilities: &CapsHashSet,
    arguments: &[String],
) -> Confined {
    let agent = static_agent().expect("it was here");
    let image = image(agent.parent().expect("it is in a directory"));
    let mut confinement = manifest.confinement(image.files, volumes);
    confinement.capabilities.clone_from(capabilities);
    let line: Vec<_> = image.entrypoint.iter().chain(arguments).cloned().collect();
    confinement.start(&world.node, &line, &[("REDIRECTOR_ATTACH", world.hook.to_string())])
}
