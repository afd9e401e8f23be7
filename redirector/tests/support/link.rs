//! Links of many kinds between the node and a client.

use std::{io::Write as _, process::Stdio};

use super::{Netns, World, world::Family};

/// The node's end of such a link.
pub const LINK: &str = "link0";

/// The private and the public key of each end, made for these tests.
const KEYS: [[&str; 2]; 2] = [
    ["mFnQLScmrv5CNZ38t3OChobHo6WuLYbPLqmmH9/qg2A=", "78dsXo/apKj6WMrZGp75KHzMXE+5+fHASidLsPTnG0k="],
    ["6L7MlpuGVCKqb2CrF416P5I+Z0RRSdgoZEU+Yqv4xWg=", "TuFy3tYf8AEBM1IbQyi+UmZ4IZw9L4XMQYfLcz6q3Ts="],
];

/// A client whose only link is a tunnel of this type, which the client's host carries to the node.
///
/// `local` and `remote` are put behind the type with addresses of this family.
pub fn tunnel(world: &World, kind: &str, outer: Family) -> Netns {
    let client = Netns::new("tunnel's client");
    let (node, host) = (outer.node(), outer.client());
    for (netns, local, remote) in [(&world.node, node, host), (&world.client, host, node)] {
        netns.ip(&format!("link add {LINK} type {kind} local {local} remote {remote}"));
    }
    move_to(world, &client);
    set_up(world, &client);
    client
}

/// A client whose only link is WireGuard's, which the client's host carries to the node.
pub fn wireguard(world: &World) -> Netns {
    let client = Netns::new("tunnel's client");
    let outer = Family::V4;
    let ends =
        [(&world.node, KEYS[0], KEYS[1], outer.client()), (&world.client, KEYS[1], KEYS[0], outer.node())];
    for (netns, [private, _], [_, public], remote) in ends {
        netns.ip(&format!("link add {LINK} type wireguard"));
        let mut command = netns.command("wg");
        command.args(["set", LINK, "listen-port", "51820", "private-key", "/proc/self/fd/0", "peer", public]);
        command.args(["endpoint", &format!("{remote}:51820"), "allowed-ips", "0.0.0.0/0,::/0"]);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("run wg");
        let mut input = child.stdin.take().expect("stdin is a pipe");
        input.write_all(private.as_bytes()).expect("write to wg");
        drop(input);
        assert!(child.wait().expect("wait for wg").success(), "set a tunnel up");
    }
    move_to(world, &client);
    set_up(world, &client);
    client
}

/// A client whose only link is a netkit pair, without neighbours, as it is by itself.
pub fn netkit(world: &World) -> Netns {
    let client = Netns::new("netkit's client");
    // Not every `ip` can name the other end, whose name the kernel then chooses.
    world.node.ip(&format!(
        "link add {LINK} type netkit
         link set nk0 netns {}",
        client.path()
    ));
    client.ip(&format!("link set nk0 name {LINK}"));
    set_up(world, &client);
    client
}

/// Moves the client's end from its host to a namespace of its own; what it carries goes by the host all the same.
fn move_to(world: &World, client: &Netns) {
    world.client.ip(&format!("link set {LINK} netns {}", client.path()));
}

/// Gives both ends of a link without neighbours their addresses.
fn set_up(world: &World, client: &Netns) {
    for (netns, host) in [(&world.node, 1), (client, 2)] {
        netns.ip(&format!(
            "link set {LINK} addrgenmode none
             address add 10.0.7.{host}/24 dev {LINK}
             address add 2001:db8:7::{host}/64 dev {LINK} nodad
             link set {LINK} up"
        ));
    }
    client.ip(&format!("route add default dev {LINK}\nroute add ::/0 dev {LINK}"));
}
