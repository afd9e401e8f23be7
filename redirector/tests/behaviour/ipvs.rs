//! Beside IPVS, as kube-proxy sets it up, where the kernel has it.

use std::net::SocketAddr;

use crate::support::{
    World, ask, at_each_hook,
    kernel::has_ipvs,
    world::{FAMILIES, Family, PORT},
};

#[test]
fn a_connection_to_a_service_of_ipvs_goes_to_its_server_and_is_shown_as_lost() {
    if !has_ipvs() {
        return;
    }
    at_each_hook(|world| {
        FAMILIES.iter().for_each(|family| serve(world, *family));
        let (_proxy, _real) = (world.proxy(), world.real_server(PORT));
        let agent = world.agent(&["all:8080,8081=proxy:15001"]);
        for family in FAMILIES {
            let answer = ask(&world.client, (family.service(), PORT).into()).expect("IPVS finds a server");
            assert_eq!(answer.name, "server");
            assert_eq!(answer.destination, (family.server(), PORT).into(), "IPVS translates");
            // What IPVS does not know, at the same address and elsewhere.
            world.assert_reaches((family.service(), PORT + 1), "proxy");
            world.assert_reaches((family.server(), PORT), "proxy");
        }
        let summary = agent.stop();
        assert_eq!((summary.connections("all"), summary.lost("all")), (6, 2));
    });
}

/// Has IPVS translate the service to the server, under an address that is the node's own: kube-proxy gives it one on a
/// device that it makes.
fn serve(world: &World, family: Family) {
    let service = SocketAddr::from((family.service(), PORT));
    let server = SocketAddr::from((family.server(), PORT));
    world.node.ip(&format!("address add {} dev lo", family.service()));
    world.node.output(&format!("ipvsadm -A -t {service} -s rr"));
    world.node.output(&format!("ipvsadm -a -t {service} -r {server} -m"));
}
