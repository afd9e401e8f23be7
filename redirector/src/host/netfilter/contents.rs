//! What is in an nft table of ours.

use redirector_common::Protocol;

use super::{expressions::Rule, nftables::hook};

/// The name of our tables.
pub const NAME: &str = "redirector";

/// What our tables do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first translation of a steered connection is to its own destination, and is the only one.
    Identity,
    /// Steered connections and their answers are not tracked.
    Notrack,
}

/// A base chain of ours.
pub struct Chain {
    pub name: &'static str,
    pub kind: &'static str,
    pub hook: u32,
    /// The chain with the lower sees packets first.
    pub priority: i32,
    pub rules: Vec<Rule>,
}

/// The chains of a table.
///
/// *Identity:* of all chains of type nat at a hook the first that translates a connection is the last
/// (net/netfilter/nf_nat_core.c, nf_nat_inet_fn): ours is before those at the usual -100.
///
/// *Notrack:* before connection tracking, which is at -200. Both ways must agree. Were an answer tracked whose
/// question was not, it would count as a new connection, and SO_ORIGINAL_DST would name the client. What arrives for
/// an address of this host has the mark at its SYN alone, and a datagram has none where a socket is connected, so there both ways ask for the transparent socket. Marked
/// packets are not asked about: the look-up would run `sk_lookup`, which would give away what was handed over. Nor is
/// what arrives for others: where it has no socket the look-up finds the proxy's listener, and what is translated and
/// forwarded since before us would be untracked. A packet without a socket that answers for a foreign address, such
/// as the last ACK of a connection in TIME_WAIT in older kernels (6.13 changed it: "ipv4: tcp: give socket pointer to
/// control skbs"), is known by that address.
pub fn chains(kind: Kind, mark: u32, family: u8) -> Vec<Chain> {
    const BEFORE_NAT: i32 = -110;
    const BEFORE_TRACKING: i32 = -300;
    match kind {
        Kind::Identity => vec![Chain {
            name: "identity",
            kind: "nat",
            hook: hook::PREROUTING,
            priority: BEFORE_NAT,
            rules: vec![Rule::new().marked(mark).keep_destination(family)],
        }],
        Kind::Notrack => {
            let chain =
                |name, hook, rules| Chain { name, kind: "filter", hook, priority: BEFORE_TRACKING, rules };
            let marked = Rule::new().marked(mark).untracked().accept();
            let local = [Protocol::Tcp, Protocol::Udp].map(|protocol| {
                Rule::new().of(protocol).of_local_destination().of_transparent_socket().untracked()
            });
            let transparent = [Protocol::Tcp, Protocol::Udp]
                .map(|protocol| Rule::new().of(protocol).of_transparent_socket().untracked().accept());
            let foreign = Rule::new().of(Protocol::Tcp).of_foreign_source().untracked();
            vec![
                chain("notrack-arriving", hook::PREROUTING, [marked].into_iter().chain(local).collect()),
                chain("notrack-leaving", hook::OUTPUT, transparent.into_iter().chain([foreign]).collect()),
            ]
        }
    }
}
