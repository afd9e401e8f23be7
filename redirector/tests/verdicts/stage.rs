//! Where the packets of the table are run: a namespace with the programs, the routes, and the sockets that they find.

use std::{collections::BTreeMap, env};

use aya::{
    maps::{Array, MapData, PerCpuArray, PerCpuValues},
    programs::{TestRun as _, TestRunOptions},
    util::nr_cpus,
};
use redirector::{
    datapath::{Datapath, Marking},
    host,
    routes::{Compiled, Limits, Origin, Route, compile},
};
use redirector_common::{
    Family, Protocol, Verdict,
    entries::{Handoff, PortWord, ProxyEntry, port_index},
};

use crate::{
    effects::{CONTEXT_SIZE, Context, Counts, Effects, UNTOUCHED, handoff},
    packet::Packet,
    sockets::Sockets,
    support::{Netns, world::FAMILIES},
    table::{Counted, Expected},
};

pub use crate::sockets::proxy;

/// The mark of steered packets.
pub const MARK: u32 = 0x2000;

/// What the program returns (include/uapi/linux/bpf.h, `enum tcx_action_base`).
const TCX_NEXT: i32 = -1;
const TCX_DROP: i32 = 2;
const TCX_REDIRECT: i32 = 7;

/// The routes, each on a port of its own.
pub const ROUTES: &[&str] = &[
    "web:8080=proxy:15001",
    "near:192.0.2.0/24,[2001:db8:2::/64]:8081=proxy:15001 from 10.0.1.0/24,2001:db8:1::/64",
    "plain:8082=proxy:15002",
    "plain-drop:8083=proxy:15002 else drop",
    "mptcp:8084=proxy:15003",
    "mptcp-drop:8085=proxy:15003 else drop",
    "device:8086=proxy:15004",
    "device-drop:8087=proxy:15004 else drop",
    "nobody:8088=proxy:15005",
    "nobody-drop:8089=proxy:15005 else drop",
    "leave:8090=pass",
    "refuse:8091=drop",
    "v4-only:8092=proxy:127.0.0.1:15006",
    "range:192.0.2.0/24,[2001:db8:2::/64]:9000-9099=drop",
    "hole:192.0.2.0/24,[2001:db8:2::/64]:9050=pass",
    "host:192.0.2.1,[2001:db8:2::1]:9000-9099=proxy:15001",
    "web-drop:8093=proxy:15001 else drop",
    "away:8094=interface:hop",
    "away-via:8095=interface:hop via 2001:db8:9::2",
    "gone:8096=interface:gone",
    "gone-drop:8097=interface:gone else drop",
    "gone-reset:8098=interface:gone else reset",
    "nobody-reset:8099=proxy:15005 else reset",
    "span:9200-9210=interface:hop",
    "span-host:10.0.1.1,[2001:db8:1::1]:9200=proxy:15001",
    "router-v4:9300=interface:hop via 10.0.9.2",
    "udp-leave:udp/8190=pass",
    "udp-refuse:udp/8191=drop",
    "udp-near:udp/192.0.2.0/24,[2001:db8:2::/64]:8192=drop from 10.0.1.0/24,2001:db8:1::/64",
    "udp-away:udp/8194=interface:hop",
    "dns:udp/8380=proxy:15053",
    "dns-near:udp/192.0.2.0/24,[2001:db8:2::/64]:8381=proxy:15053 from 10.0.1.0/24,2001:db8:1::/64",
    "dns-both:udp/8382=proxy:15001",
    "dns-plain:udp/8383=proxy:15054",
    "dns-device:udp/8386=proxy:15055",
    "dns-device-drop:udp/8387=proxy:15055 else drop",
    "dns-nobody:udp/8388=proxy:15056",
    "dns-nobody-drop:udp/8389=proxy:15056 else drop",
    "dns-v4:udp/8392=proxy:127.0.0.1:15057",
    "dns-drop:udp/8393=proxy:15053 else drop",
    "dns-gone:udp/8396=interface:gone",
    "dns-gone-drop:udp/8397=interface:gone else drop",
    "dns-gone-reset:udp/8398=interface:gone else reset",
    "dns-nobody-reset:udp/8399=proxy:15056 else reset",
];

/// The programs and what they find.
pub struct Stage {
    pub datapath: Datapath,
    pub sockets: Sockets,
    compiled: Compiled,
    seen: Counts,
}

/// Whether `sk_lookup` is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkLookup {
    Attached,
    Detached,
}

/// Runs a test on a stage of its own.
///
/// Where namespaces or programs are not to be had the test is skipped, and says so; under CI it fails.
pub fn on_stage(sk_lookup: SkLookup, test: impl FnOnce(&mut Stage) + Send) {
    if !nix::unistd::geteuid().is_root() {
        assert!(
            env::var_os("CI").is_none(),
            "these tests need root with CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_BPF"
        );
        println!("skipped: needs root");
        return;
    }
    let netns = Netns::new("verdicts");
    netns.run(|| test(&mut Stage::new(&netns, sk_lookup)));
}

impl Stage {
    fn new(netns: &Netns, sk_lookup: SkLookup) -> Self {
        let routes: Vec<Route> = ROUTES
            .iter()
            .map(|text| text.parse().unwrap_or_else(|error| panic!("{text}: {error}")))
            .collect();
        // Small maps: every entry is read.
        let limits = Limits { routes: 64, prefixes: 64, sources: 64, proxies: 16 };
        let compiled =
            compile(&BTreeMap::from([(Origin::CommandLine, routes)]), &limits).expect("compile the routes");
        let mut datapath = Datapath::load(&limits, Marking::new(MARK)).expect("load the programs");
        datapath.publish(&compiled).expect("write the routes");
        datapath.set_locals(&FAMILIES.map(|family| family.node())).expect("write the addresses");
        // Smaller than the packets of some rows.
        netns.ip("link add hop mtu 1300 type veth peer name hop-end\nlink set hop up\nlink set hop-end up");
        write_next_hops(&mut datapath);
        if sk_lookup == SkLookup::Attached {
            datapath.attach_sk_lookup().expect("attach sk_lookup");
        }
        let mut stage = Self { datapath, sockets: Sockets::new(netns), compiled, seen: Counts::default() };
        stage.lead_proxy_port_to_itself();
        stage.seen = stage.counts();
        stage
    }

    /// What the compiler never writes: a route names its own proxy's port. The program does not rely on that.
    fn lead_proxy_port_to_itself(&mut self) {
        let own = [(Protocol::Tcp, "web", proxy::TRANSPARENT), (Protocol::Udp, "dns", proxy::UDP)];
        let own = own.map(|(protocol, route, port)| {
            (protocol, port, PortWord::direct(self.route(route)).with_steered())
        });
        let map = self.datapath.ebpf().map_mut("PORTS").expect("the programs have PORTS");
        let mut ports: Array<&mut MapData, PortWord> = Array::try_from(map).expect("PORTS is an array");
        for family in [Family::V4, Family::V6] {
            for (protocol, port, word) in own {
                ports.set(port_index(family, protocol, port), word, 0).expect("write PORTS");
            }
        }
    }

    /// Slot of a route.
    pub fn route(&self, name: &str) -> u32 {
        let slot = self.compiled.routes.iter().position(|route| route.name == name);
        slot.unwrap_or_else(|| panic!("there is no route {name}")) as u32
    }

    /// Slot of what a route leads to.
    pub fn target(&self, route: &str) -> u32 {
        self.compiled.routes[self.route(route) as usize].entry.target
    }

    /// Slot of the proxy with a port of a protocol.
    fn proxy(&self, protocol: Protocol, port: u16) -> u32 {
        let is_it = |proxy: &ProxyEntry| proxy.port == port && proxy.protocol() == protocol;
        let slot = self.compiled.proxies.iter().position(is_it);
        slot.unwrap_or_else(|| panic!("there is no proxy with port {port}")) as u32
    }

    /// Runs a program once on a packet that has this mark.
    ///
    /// # Errors
    ///
    /// The kernel refused the run.
    pub fn run(
        &mut self,
        program: &str,
        packet: &Packet,
        mark: u32,
    ) -> Result<Effects, aya::programs::ProgramError> {
        self.write_handoff();
        let context = Context::of(mark, packet.gso_size).write();
        let mut frame = vec![0; 4096];
        let mut context_out = [0; CONTEXT_SIZE];
        let program = self.datapath.classifier(program).expect("the programs have it");
        let result = program.test_run(TestRunOptions {
            data_in: Some(&packet.frame),
            data_out: Some(&mut frame),
            ctx_in: Some(&context),
            ctx_out: Some(&mut context_out),
            ..TestRunOptions::new()
        })?;
        frame.truncate(result.data_size_out as usize);
        let now = self.counts();
        let counts = now.since(&self.seen);
        self.seen = now;
        Ok(Effects {
            return_value: result.return_value as i32,
            frame,
            context: Context::read(&context_out),
            counts,
            handoffs: self.read_handoff(),
        })
    }

    /// Runs a packet of which only what follows is to be seen.
    pub fn run_unseen(&mut self, program: &str, packet: &Packet) {
        let program = self.datapath.classifier(program).expect("the programs have it");
        let options = TestRunOptions { data_in: Some(&packet.frame), ..TestRunOptions::new() };
        program.test_run(options).expect("run a program");
    }

    /// What was counted so far is none of what is counted next.
    pub fn look_away(&mut self) {
        self.seen = self.counts();
    }

    /// All that a packet with this mark is to cause.
    pub fn effects(&self, packet: &Packet, mark: u32, expected: &Expected) -> Effects {
        let frame = match expected.verdict {
            Verdict::Forwarded => packet.clone().after_a_hop().frame,
            Verdict::Reset => packet.refusal(),
            _ => packet.frame.clone(),
        };
        self.effects_with(packet, mark, expected, frame)
    }

    /// The same, with this frame for the outcome.
    pub fn effects_with(&self, packet: &Packet, mark: u32, expected: &Expected, frame: Vec<u8>) -> Effects {
        let steered = expected.verdict == Verdict::Steered;
        let out = if steered { mark | MARK } else { mark };
        let bytes = packet.frame.len() as u64;
        let mut counts = Counts::default();
        counts.reasons.insert((expected.verdict, expected.reason), (1, bytes));
        if let Some((route, counted)) = expected.route {
            let count = match counted {
                Counted::Connection => (1, 0, 0),
                Counted::Unavailable => (0, 1, 0),
            };
            counts.routes.insert(self.route(route), count);
        }
        let handoffs = expected.handoff.map(|(state, route, port)| {
            let proxy = self.proxy(packet.segment.protocol, port);
            handoff(state, &packet.segment, self.route(route), proxy)
        });
        Effects {
            return_value: match expected.verdict {
                Verdict::Dropped => TCX_DROP,
                Verdict::Forwarded | Verdict::Reset => TCX_REDIRECT,
                _ => TCX_NEXT,
            },
            frame,
            context: Context::of(out, packet.gso_size),
            counts,
            handoffs: handoffs.into_iter().collect(),
        }
    }

    fn counts(&mut self) -> Counts {
        let reasons = self.datapath.counters().expect("read REASONS");
        let reasons = reasons
            .into_iter()
            .map(|(verdict, reason, count)| ((verdict, reason), (count.packets, count.bytes)))
            .collect();
        let mut routes = BTreeMap::new();
        for slot in 0..64 {
            let totals = self.datapath.route_totals(slot).expect("read ROUTE_STATS");
            routes.insert(slot, (totals.connections, totals.unavailable, totals.taken));
        }
        Counts { reasons, routes }
    }

    fn write_handoff(&mut self) {
        let values = vec![UNTOUCHED; nr_cpus().expect("count the CPUs")];
        let values = PerCpuValues::try_from(values).expect("a value for each CPU");
        self.handoff().set(0, values, 0).expect("write HANDOFF");
    }

    /// What was handed over, on any CPU, and not taken back.
    fn read_handoff(&mut self) -> Vec<Handoff> {
        let values = self.handoff().get(&0, 0).expect("read HANDOFF");
        values.iter().copied().filter(|handoff| handoff.state != UNTOUCHED.state).collect()
    }

    fn handoff(&mut self) -> PerCpuArray<&mut MapData, Handoff> {
        let map = self.datapath.ebpf().map_mut("HANDOFF").expect("the programs have HANDOFF");
        PerCpuArray::try_from(map).expect("HANDOFF is an array per CPU")
    }
}

/// Writes which interfaces the next hops are now.
pub fn write_next_hops(datapath: &mut Datapath) {
    let interfaces = host::interfaces().expect("list interfaces");
    datapath
        .set_next_hops(|name| interfaces.iter().find(|interface| interface.name == name).cloned())
        .expect("write the next hops");
}
