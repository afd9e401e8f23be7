//! The datapath without an agent: what a process leaves that holds links and no lock.

use redirector::{
    datapath::{Datapath, Hook, Marking},
    host,
    routes::Limits,
};

use super::World;

/// Programs attached by links that this process holds.
pub struct Left(Option<Datapath>, super::Netns);

impl Left {
    /// Attaches to the interface to the client, by TCX, and to the namespace.
    pub fn attach(world: &World) -> Self {
        let datapath = world.node.run(|| {
            let limits = Limits { routes: 8, prefixes: 8, sources: 8, proxies: 8 };
            let mut datapath = Datapath::load(&limits, Marking::new(0x2000)).expect("load the programs");
            datapath.attach_sk_lookup().expect("attach sk_lookup");
            let interfaces = host::interfaces().expect("list the interfaces");
            let interface = interfaces.iter().find(|interface| interface.name == "to-client");
            datapath.capture(interface.expect("it is there"), Hook::Tcx).expect("attach tc_ingress");
            datapath
        });
        Self(Some(datapath), world.node.clone())
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        let datapath = self.0.take();
        self.1.run(|| drop(datapath));
    }
}
