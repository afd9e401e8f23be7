//! All maps and globals: who writes, who reads, and what a missing entry means.

use aya_ebpf::{
    Global,
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SockMap},
    macros::btf_map,
};
use redirector_common::entries::{
    CapturedEntry, DatagramKey, EventLosses, EventRate, EventSettings, FLOW_EVENTS_BYTES,
    FRAGMENTS as FRAGMENTS_ROOM, FlowEvent, FragmentEntry, FragmentKey, Handoff, LISTENERS_PER_PROXY,
    LOCALS_PER_FAMILY, NEXT_HOPS as NEXT_HOPS_ROOM, NextHopEntry, PORT_WORDS, PacketCount, PortWord,
    PrefixEntry, PrefixKey, ProxyEntry, ROUTE_NAME_BYTES, RouteCount, RouteEntry, Settings,
};
use redirector_common::{Address, Family, reason::COUNTER_SLOTS};

/// Room in the maps; the agent sets the real figures from its limits when it loads the programs.
const ROUTES_ROOM: usize = 1024;
const PROXIES_ROOM: usize = 256;

/// Settings, written by the agent once, before the programs are attached. Mark 0: nothing is steered yet.
#[btf_map]
pub static REDIRECTOR: Array<Settings, 1> = Array::new();

/// What the routes say of each port. Written by the agent; zero means that no route names the port.
#[btf_map]
pub static PORTS: Array<PortWord, { PORT_WORDS as usize }> = Array::new();

/// Destination prefixes of ports whose routes have conditions. Written by the agent; a miss is final.
#[btf_map]
pub static PREFIXES: LpmTrie<PrefixKey, PrefixEntry, ROUTES_ROOM> = LpmTrie::new();

/// Source prefixes of the destinations where the source decides. Written by the agent; a miss is final.
#[btf_map]
pub static SOURCES: LpmTrie<PrefixKey, PrefixEntry, ROUTES_ROOM> = LpmTrie::new();

/// What each route does. Written by the agent; an unused slot reads as `pass`.
#[btf_map]
pub static ROUTES: Array<RouteEntry, ROUTES_ROOM> = Array::new();

/// What each route is called, for whoever looks at the maps without the agent. Written by the agent and read by no
/// program; a slot that is missing holds no route. Takes room for the routes that there are, not for those that
/// there could be.
#[btf_map]
pub static ROUTE_NAMES: HashMap<u32, [u8; ROUTE_NAME_BYTES], ROUTES_ROOM, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// Where each proxy's listener is looked for. Written by the agent.
#[btf_map]
pub static PROXIES: Array<ProxyEntry, PROXIES_ROOM> = Array::new();

/// The interfaces that routes lead to. Written by the agent, as they come and go.
#[btf_map]
pub static NEXT_HOPS: Array<NextHopEntry, { NEXT_HOPS_ROOM as usize }> = Array::new();

/// The proxies' listeners. Written by `learn_listener` and `tc_ingress`; an empty slot is looked for anew.
#[btf_map]
pub static LISTENERS: SockMap<{ PROXIES_ROOM * LISTENERS_PER_PROXY as usize }> = SockMap::new();

/// Addresses of this host, by a seeded hash. Written by the agent; a miss costs a socket look-up, no more.
#[btf_map]
pub static LOCALS: Array<Address, { (LOCALS_PER_FAMILY * Family::COUNT) as usize }> = Array::new();

/// Captured interfaces by ifindex, for the look-up of what was not handed over, and for frames that a bridge would carry
/// on. Written by the agent; a missing entry is an interface that is none of ours. Takes room for those that there are.
#[btf_map]
pub static CAPTURED: HashMap<u32, CapturedEntry, 16384, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// From `tc_ingress` to `sk_lookup` on the same CPU.
#[btf_map]
pub static HANDOFF: PerCpuArray<Handoff, 1> = PerCpuArray::new();

/// What became of packets that come in fragments. Written and read by `tc_ingress`; a missing entry is a packet of which
/// nothing was seen, or not for long. The oldest give way to new ones.
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentEntry, { FRAGMENTS_ROOM as usize }> = LruHashMap::new();

/// Packets and bytes by verdict and reason. Written by `tc_ingress`, read by the agent.
#[btf_map]
pub static REASONS: PerCpuArray<PacketCount, { COUNTER_SLOTS as usize }> = PerCpuArray::new();

/// Connections by route. Written by `tc_ingress` and `sk_lookup`, read by the agent.
#[btf_map]
pub static ROUTE_STATS: PerCpuArray<RouteCount, ROUTES_ROOM> = PerCpuArray::new();

/// New connections. Written by `tc_ingress`, read by the agent; one that finds no room is counted in `EVENT_LOSSES`.
#[btf_map]
pub static FLOW_EVENTS: RingBuf<FlowEvent, { FLOW_EVENTS_BYTES as usize }> = RingBuf::new();

/// What is to be told of new connections. Written by the agent; zero: nothing.
#[btf_map]
pub static EVENTS: Array<EventSettings, 1> = Array::new();

/// What was told in this second. Written by `tc_ingress`.
#[btf_map]
pub static EVENT_RATE: Array<EventRate, 1> = Array::new();

/// Connections that were not told of. Written by `tc_ingress`, read by the agent.
#[btf_map]
pub static EVENT_LOSSES: PerCpuArray<EventLosses, 1> = PerCpuArray::new();

/// Whose datagrams were told of, and when. Written by `tc_ingress`; a missing entry is one that was not, or is forgotten.
#[btf_map]
pub static DATAGRAMS: LruHashMap<DatagramKey, u64, 4096> = LruHashMap::new();

/// Offset in `struct tcp_sock` of the byte that holds the IP_TRANSPARENT flag. The agent reads it from the
/// kernel's BTF: the flag moved in 6.6 (c274af224269, "inet: introduce inet->inet_flags").
#[unsafe(no_mangle)]
pub static TRANSPARENT_BYTE: Global<u32> = Global::new(0);

/// The flag's bit in that byte.
#[unsafe(no_mangle)]
pub static TRANSPARENT_MASK: Global<u8> = Global::new(0);

/// The settings; `None` until the agent has written them.
#[inline(always)]
pub fn settings() -> Option<&'static Settings> {
    REDIRECTOR.get(0).filter(|settings| settings.mark != 0)
}
