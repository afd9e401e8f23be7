//! The programs, in a namespace with sockets and routes, and what the reference is told of it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use aya::{
    maps::{HashMap as BpfHashMap, MapData, PerCpuArray},
    programs::{TestRun as _, TestRunOptions},
};
use redirector::{
    datapath::{Datapath, Marking},
    routes::{Limits, live::Live},
};
use redirector_common::{
    Protocol, Reason, Verdict,
    entries::{CapturedEntry, FragmentEntry, FragmentKey, Handoff, PortWord},
};

use crate::{
    case::Setting,
    effects::{self, CONTEXT_SIZE, Context},
    generate::interface,
    listed,
    others::Others,
    packet::Segment,
    reference::{Flow, HandedOver, Host, Interface, Memory, Packet},
    sockets::{Sockets, proxy},
    support::{
        Netns,
        world::{FAMILIES, Family},
    },
};

/// The mark of steered packets.
const MARK: u32 = 0x2000;

/// MAC address of the bridge, where the interface is a port of one.
const BRIDGE: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

/// MTU of the interfaces that routes lead to: smaller than some packets, in bytes.
const MTU: usize = 1300;

/// The programs, and all that they find.
pub struct Stage {
    pub host: Host,
    /// What the reference remembers of packets that came in pieces.
    pub memory: Memory,
    pub datapath: Datapath,
    pub live: Live,
    pub setting: Setting,
    /// Words of ports, and what stood there before.
    pub led_to_itself: Vec<(u32, PortWord)>,
    _sockets: Sockets,
    _others: Others,
}

/// What a packet caused, as far as it is seen at each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub returned: i32,
    pub bytes: Vec<u8>,
    pub mark: u32,
    /// Whether something else of the packet's context is not as it was.
    pub context_changed: bool,
}

/// What was counted: packets and bytes by verdict and reason, connections and unavailable ones by slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub reasons: BTreeMap<(Verdict, Reason), (u64, u64)>,
    pub routes: BTreeMap<u32, (u64, u64)>,
}

impl Stage {
    /// In a new namespace, which is that of the calling thread.
    pub fn new(netns: &Netns, setting: Setting) -> Self {
        let limits = Limits { routes: 64, prefixes: 1 << 16, sources: 1 << 14, proxies: 64 };
        let mut datapath = Datapath::load(&limits, Marking::new(MARK)).expect("load the programs");
        let locals = FAMILIES.map(|family| family.node());
        datapath.set_locals(&locals).expect("write the addresses");
        netns.ip(&format!(
            "link add {0} mtu {MTU} type veth peer name hop-end\nlink set {0} up\nlink set hop-end up",
            interface::HOP
        ));
        if setting.attached {
            datapath.attach_sk_lookup().expect("attach sk_lookup");
        }
        if setting.bridge {
            let map = datapath.ebpf().map_mut("CAPTURED").expect("the programs have CAPTURED");
            let mut captured: BpfHashMap<&mut MapData, u32, CapturedEntry> =
                BpfHashMap::try_from(map).expect("it is a hash");
            // As if the device of a test run, the loopback device, were a port of a bridge.
            captured.insert(1, CapturedEntry { bridge: BRIDGE, pad: 0 }, 0).expect("write CAPTURED");
        }
        let sockets = Sockets::new(netns);
        let others = Others::new(netns);
        let hop = |ethernet| Interface { mtu: MTU, ethernet };
        let host = Host {
            mark: MARK,
            attached: setting.attached,
            bridge: setting.bridge.then_some(BRIDGE),
            // A slot of `LOCALS` that is empty reads as the unspecified address: it counts as this host's.
            locals: locals.into_iter().chain(FAMILIES.map(unspecified)).collect(),
            connections: listed::connections(),
            listeners: listed::listeners(),
            interfaces: [(interface::HOP.to_owned(), hop(true)), (interface::BARE.to_owned(), hop(false))]
                .into(),
            cookies: sockets.cookies.iter().map(|(_, segment)| cookie(segment)).collect(),
            cookie_listeners: FAMILIES.map(|at| SocketAddr::new(at.loopback(), proxy::TRANSPARENT)).into(),
            ..Host::default()
        };
        let led_to_itself = Vec::new();
        Self {
            host,
            memory: Memory::new(),
            datapath,
            live: Live::new(limits),
            setting,
            led_to_itself,
            _sockets: sockets,
            _others: others,
        }
    }

    /// Runs the program of the packet's link on it; none where the kernel takes no such packet for a test run.
    pub fn run(&mut self, packet: &Packet) -> Option<Found> {
        let context = Context::of(packet.mark, packet.gso_size);
        let (written, mut context_out) = (context.write(), [0; CONTEXT_SIZE]);
        let mut bytes = vec![0; 4096];
        let program = self.datapath.classifier(packet.link.program()).expect("the programs have it");
        let result = program.test_run(TestRunOptions {
            data_in: Some(&packet.bytes),
            data_out: Some(&mut bytes),
            ctx_in: Some(&written),
            ctx_out: Some(&mut context_out),
            ..TestRunOptions::new()
        });
        let result = match result {
            Err(_) if is_refused(packet) => return None,
            result => result.unwrap_or_else(|error| panic!("run {packet:?}: {error}")),
        };
        bytes.truncate(result.data_size_out as usize);
        let after = Context::read(&context_out);
        Some(Found {
            returned: result.return_value as i32,
            bytes,
            mark: after.mark,
            context_changed: Context { mark: packet.mark, ..after } != context,
        })
    }

    /// Forgets what packets before have left behind.
    pub fn forget(&mut self) {
        if self.memory.is_empty() {
            return;
        }
        self.memory.clear();
        let map = self.datapath.ebpf().map_mut("FRAGMENTS").expect("the programs have FRAGMENTS");
        let mut map: BpfHashMap<&mut MapData, FragmentKey, FragmentEntry> =
            BpfHashMap::try_from(map).expect("FRAGMENTS is a hash");
        let keys: Vec<_> = map.keys().collect::<Result<_, _>>().expect("list FRAGMENTS");
        for key in &keys {
            map.remove(key).expect("empty FRAGMENTS");
        }
    }

    /// What stands in `HANDOFF` on the CPU of this thread.
    pub fn handed_over(&mut self) -> Handoff {
        let map = self.datapath.ebpf().map_mut("HANDOFF").expect("the programs have HANDOFF");
        let map: PerCpuArray<&mut MapData, Handoff> =
            PerCpuArray::try_from(map).expect("HANDOFF is an array per CPU");
        let values = map.get(&0, 0).expect("read HANDOFF");
        values[nix::sched::sched_getcpu().expect("ask for the CPU")]
    }

    /// What was counted up to now.
    pub fn totals(&mut self) -> Totals {
        let reasons = self.datapath.counters().expect("read REASONS");
        let reasons = reasons
            .into_iter()
            .map(|(verdict, reason, count)| ((verdict, reason), (count.packets, count.bytes)))
            .collect();
        let mut totals = Totals { reasons, routes: BTreeMap::new() };
        for slot in 0..self.live.slots_end() {
            let route = self.datapath.route_totals(slot).expect("read ROUTE_STATS");
            totals.routes.insert(slot, (route.connections, route.unavailable));
        }
        totals
    }
}

impl Totals {
    /// What was added since, without zeros.
    pub fn since(&self, before: &Self) -> Self {
        Self { reasons: added(&self.reasons, &before.reasons), routes: added(&self.routes, &before.routes) }
    }
}

fn added<K: Ord + Copy>(
    now: &BTreeMap<K, (u64, u64)>,
    before: &BTreeMap<K, (u64, u64)>,
) -> BTreeMap<K, (u64, u64)> {
    let moved = now.iter().map(|(key, now)| {
        let was = before.get(key).copied().unwrap_or_default();
        (*key, (now.0 - was.0, now.1 - was.1))
    });
    moved.filter(|(_, moved)| *moved != (0, 0)).collect()
}

/// As it stands in `HANDOFF`.
pub fn handoff(handed: &HandedOver) -> Handoff {
    let HandedOver { state, route, proxy, flow } = handed;
    let segment = Segment::syn(
        SocketAddr::new(flow.source, flow.source_port),
        SocketAddr::new(flow.destination, flow.destination_port),
    );
    effects::handoff(*state, &Segment { protocol: flow.protocol, ..segment }, *route, *proxy)
}

fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// What the kernel takes for no packet, or for one that ends within its IP header, which newer ones refuse to run.
pub fn is_refused(packet: &Packet) -> bool {
    let header = match packet.bytes.get(12..14) {
        Some([8, 0]) => 20,
        Some([0x86, 0xdd]) => 40,
        _ => 1,
    };
    packet.bytes.len() < 14 + header
}

fn cookie(segment: &Segment) -> (Flow, u32, u32) {
    let flow = Flow {
        protocol: Protocol::Tcp,
        source: segment.source.ip(),
        destination: segment.destination.ip(),
        source_port: segment.source.port(),
        destination_port: segment.destination.port(),
    };
    (flow, segment.sequence, segment.acknowledgment)
}
