//! What a packet got, and why.

use crate::entries::OnUnavailable;

/// Defines a fieldless enum with the words that users see, each written once.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// The one with this number, if there is one.
            pub fn from_number(number: u8) -> Option<Self> {
                Self::ALL.get(usize::from(number)).copied()
            }

            /// The word for it in counters, metrics and messages.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The one that this is the word for.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.word() == word)
            }
        }
    };
}

words! {
    /// What a packet got.
    Verdict {
        /// Went on, untouched by us.
        Passed = "passed",
        /// Led to a proxy on this node.
        Steered = "steered",
        /// Sent to a backend.
        Balanced = "balanced",
        /// Sent out of another interface.
        Forwarded = "forwarded",
        /// Dropped.
        Dropped = "dropped",
        /// Answered with a reset.
        Reset = "reset",
    }
}

words! {
    /// Why a packet got its verdict: the counter's slot, the metric's label and the word in every output.
    Reason {
        /// Neither IPv4 nor IPv6: ARP, for example.
        NotIp = "not-ip",
        /// Carries a VLAN tag: its addresses are of another network.
        Vlan = "vlan",
        /// Its frame is for another host, or for many: what a promiscuous interface overhears.
        OtherHost = "other-host",
        /// Carries our mark already: the interface that it came by before, of the same bridge or bond, is captured too.
        Marked = "marked",
        /// Ends before its headers do.
        Truncated = "truncated",
        /// A header contradicts itself: a wrong version or a header length that is too small.
        Malformed = "malformed",
        /// A fragment without ports: to an address of this host, or not the first, and then it gets what that got.
        Fragment = "fragment",
        /// IPv6 with an extension header that is not to be redirected, or with too many of them.
        ExtensionHeader = "extension-header",
        /// Neither TCP nor UDP: nothing that routes can name.
        OtherProtocol = "other-protocol",
        /// No route matches.
        NoRoute = "no-route",
        /// A loopback, link-local, multicast, broadcast or unspecified address: never redirected.
        SpecialAddress = "special-address",
        /// The destination port is the proxy's own: never redirected.
        ProxyPort = "proxy-port",
        /// A `pass` route matches.
        PassRoute = "pass-route",
        /// A `drop` route matches.
        DropRoute = "drop-route",
        /// Goes to the next hop of a route.
        Interface = "interface",
        /// A new connection goes to the proxy's listener.
        Proxy = "proxy",
        /// Part of a steered connection to an address that is not of this host: marked, so that it stays here.
        Established = "established",
        /// The last step of a handshake by SYN cookie with the proxy's listener.
        SynCookie = "syn-cookie",
        /// An ICMP error for the proxy, at an address that is not of this host: marked, so that it stays here.
        IcmpError = "icmp-error",
        /// Part of a connection to an address of this host: needs nothing from us.
        Local = "local",
        /// Not the start of a connection, and no socket here has it: it began before us or is not ours.
        NotNew = "not-new",
        /// The proxy has no listener.
        NoListener = "no-listener",
        /// The listener lacks IP_TRANSPARENT and cannot answer for an address that is not of this host.
        NotTransparent = "not-transparent",
        /// The listener is an MPTCP socket, which a SOCKMAP cannot hold.
        MptcpListener = "mptcp-listener",
        /// The listener is bound to a device (SO_BINDTODEVICE).
        DeviceBound = "device-bound",
        /// The program at sk_lookup is gone: nothing would take what is steered.
        Detached = "detached",
        /// The next hop's interface does not exist or is down.
        NoInterface = "no-interface",
        /// Larger than the next hop's interface can send.
        TooBig = "too-big",
        /// Has no hop left to a next hop: the host answers it, if it routes.
        HopLimit = "hop-limit",
    }
}

impl Reason {
    /// Whether the route's target could not take the connection, so that `on_unavailable` decides.
    #[inline(always)]
    pub const fn is_unavailable(self) -> bool {
        matches!(
            self,
            Self::NoListener
                | Self::NotTransparent
                | Self::MptcpListener
                | Self::DeviceBound
                | Self::Detached
                | Self::NoInterface
                | Self::TooBig
        )
    }

    /// The verdict for this reason: the one place where that is decided.
    ///
    /// Where the target is unavailable, the route's `on_unavailable` decides. A fragment passes where nothing is known of
    /// the first.
    #[inline(always)]
    pub const fn verdict(self, on_unavailable: u8) -> Verdict {
        match self {
            Self::Proxy | Self::Established | Self::SynCookie | Self::IcmpError => Verdict::Steered,
            Self::Interface => Verdict::Forwarded,
            Self::DropRoute => Verdict::Dropped,
            _ if self.is_unavailable() && on_unavailable == OnUnavailable::Drop as u8 => Verdict::Dropped,
            _ if self.is_unavailable() && on_unavailable == OnUnavailable::Reset as u8 => Verdict::Reset,
            _ => Verdict::Passed,
        }
    }

    /// The verdicts that there can be for this reason, some of them more than once.
    pub fn verdicts(self) -> impl Iterator<Item = Verdict> {
        let otherwise = [OnUnavailable::Pass, OnUnavailable::Drop, OnUnavailable::Reset];
        let by_route = otherwise.into_iter().map(move |otherwise| self.verdict(otherwise as u8));
        // What the first fragment got, the others get as well.
        let by_first: &[Verdict] = match self {
            Self::Fragment => &[Verdict::Steered, Verdict::Forwarded, Verdict::Dropped],
            _ => &[],
        };
        by_route.chain(by_first.iter().copied())
    }
}

/// Slot of a reason and verdict in the map `REASONS`.
#[inline(always)]
pub const fn counter_slot(verdict: Verdict, reason: Reason) -> u32 {
    verdict as u32 * Reason::COUNT + reason as u32
}

/// Number of slots in the map `REASONS`.
pub const COUNTER_SLOTS: u32 = Verdict::COUNT * Reason::COUNT;
