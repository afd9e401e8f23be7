//! Writes the routes, while packets are looked up in them. Each meets one whole route, that before a change or that after it:
//! what is pointed to is written before what points to it, and goes when nobody can be on the way to it any more.

use std::os::fd::AsFd as _;

use anyhow::{Context, Result, bail};
use aya::{
    Pod,
    maps::{
        Array, Map, MapData, MapError, SockMap,
        lpm_trie::{Key, LpmTrie},
    },
    util::nr_cpus,
};
use redirector_common::{
    Verdict,
    entries::{
        FragmentEntry, FragmentKey, LISTENERS_PER_PROXY, NextHopEntry, PortWord, PrefixEntry, PrefixKey,
        ProxyEntry, RouteCount, RouteEntry,
    },
};

use super::load::{Datapath, map_mut};
use crate::{
    routes::{
        Compiled, Prefix,
        live::{Delta, Unused},
    },
    sys::batch,
};

impl Datapath {
    /// Writes the routes into maps that hold none yet.
    ///
    /// # Errors
    ///
    /// As for [`Datapath::apply`].
    pub fn publish(&mut self, compiled: &Compiled) -> Result<()> {
        self.apply(&Delta::from(compiled))
    }

    /// Writes a change.
    ///
    /// # Errors
    ///
    /// A map is full or the kernel refused. A part is written then, and the change must be taken back.
    pub fn apply(&mut self, delta: &Delta) -> Result<()> {
        let mut proxies = self.array::<ProxyEntry>("PROXIES")?;
        for (slot, proxy) in &delta.proxies {
            proxies.set(*slot, proxy, 0).context("write PROXIES")?;
        }
        for (slot, hop) in &delta.next_hops {
            self.next_hops.insert(*slot, (hop.clone(), None));
        }
        self.clear_counters(
            delta.routes.iter().filter(|write| write.name.is_some()).map(|write| write.slot),
        )?;
        self.update("ROUTES", delta.routes.iter().map(|write| (write.slot, [write.entry])))?;
        let names = delta.routes.iter().filter_map(|write| Some((write.slot, write.name.as_ref()?)));
        self.write_route_names(names)?;
        self.insert("SOURCES", &delta.sources)?;
        self.insert("PREFIXES", &delta.prefixes)?;
        self.set_words(&delta.words)?;
        self.remove("PREFIXES", &delta.removed)
    }

    /// Removes what nothing led to any more before the last grace period.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn remove_unused(&mut self, unused: &Unused) -> Result<()> {
        self.remove("PREFIXES", &unused.prefixes)?;
        self.remove("SOURCES", &unused.sources)?;
        let mut routes = self.array::<RouteEntry>("ROUTES")?;
        for slot in &unused.routes {
            routes.set(*slot, RouteEntry::default(), 0).context("write ROUTES")?;
        }
        self.remove_route_names(&unused.routes)?;
        let mut proxies = self.array::<ProxyEntry>("PROXIES")?;
        for slot in &unused.proxies {
            proxies.set(*slot, ProxyEntry::default(), 0).context("write PROXIES")?;
        }
        let mut listeners: SockMap<&mut MapData> = SockMap::try_from(map_mut(&mut self.ebpf, "LISTENERS")?)?;
        for slot in &unused.proxies {
            for index in slot * LISTENERS_PER_PROXY..(slot + 1) * LISTENERS_PER_PROXY {
                // One that was never found is not there, which a SOCKMAP calls an invalid argument.
                let _ = listeners.clear_index(&index);
            }
        }
        let mut hops = self.array::<NextHopEntry>("NEXT_HOPS")?;
        for slot in &unused.next_hops {
            hops.set(*slot, NextHopEntry::default(), 0).context("write NEXT_HOPS")?;
        }
        for slot in &unused.next_hops {
            self.next_hops.remove(slot);
        }
        self.end_fragments(&unused.next_hops)
    }

    /// Has dropped what is still to come of packets whose first fragment went to one of these next hops: that slot may be
    /// another's soon, and the beginning is there already.
    fn end_fragments(&mut self, next_hops: &[u32]) -> Result<()> {
        if next_hops.is_empty() {
            return Ok(());
        }
        let mut begun = Vec::new();
        let Map::LruHashMap(map) = map_mut(&mut self.ebpf, "FRAGMENTS")? else {
            bail!("FRAGMENTS is of another kind")
        };
        batch::entries(map.fd().as_fd(), 1, |key: &FragmentKey, entries: &[FragmentEntry]| {
            let sent = entries.iter().filter(|entry| {
                entry.verdict == Verdict::Forwarded as u8 && next_hops.contains(&entry.next_hop.into())
            });
            begun.extend(
                sent.map(|entry| (*key, [FragmentEntry { verdict: Verdict::Dropped as u8, ..*entry }])),
            );
            true
        })
        .context("read FRAGMENTS")?;
        self.update("FRAGMENTS", begun.into_iter())
    }

    /// Writes words of ports.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn set_words(&mut self, words: &[(u32, PortWord)]) -> Result<()> {
        self.update("PORTS", words.iter().map(|(index, word)| (*index, [*word])))
    }

    /// A slot begins to count anew with its route.
    fn clear_counters(&mut self, slots: impl Iterator<Item = u32>) -> Result<()> {
        let cpus = nr_cpus().map_err(|(file, error)| anyhow::Error::from(error).context(file))?;
        let zeros = vec![RouteCount::default(); cpus];
        self.update("ROUTE_STATS", slots.map(|slot| (slot, &zeros)))
    }

    fn insert(&mut self, name: &str, prefixes: &[Prefix]) -> Result<()> {
        self.update(name, prefixes.iter().map(|prefix| (Key::new(prefix.bits, prefix.key), [prefix.entry])))
    }

    /// Writes many entries of a map, in their order.
    pub(super) fn update<K: Pod, V: Pod, C: AsRef<[V]>>(
        &mut self,
        name: &str,
        entries: impl Iterator<Item = (K, C)>,
    ) -> Result<()> {
        let (Map::Array(map)
        | Map::PerCpuArray(map)
        | Map::HashMap(map)
        | Map::LruHashMap(map)
        | Map::LpmTrie(map)) = map_mut(&mut self.ebpf, name)?
        else {
            bail!("{name} is of a kind that is written otherwise")
        };
        batch::update(map.fd().as_fd(), entries).with_context(|| format!("write {name}"))
    }

    fn remove(&mut self, name: &str, prefixes: &[Prefix]) -> Result<()> {
        let mut map = self.trie(name)?;
        for prefix in prefixes {
            let key = Key::new(prefix.bits, prefix.key);
            gone(map.remove(&key)).with_context(|| format!("write {name}"))?;
        }
        Ok(())
    }

    fn trie(&mut self, name: &str) -> Result<LpmTrie<&mut MapData, PrefixKey, PrefixEntry>> {
        Ok(LpmTrie::try_from(map_mut(&mut self.ebpf, name)?)?)
    }

    fn array<T: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, T>> {
        Ok(Array::try_from(map_mut(&mut self.ebpf, name)?)?)
    }
}

/// That something is gone already, by somebody else's hand, is as good.
pub(super) fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}
