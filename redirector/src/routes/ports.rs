//! The words of `PORTS`, and the prefixes in the spaces to which they lead.

use redirector_common::{
    Family, Protocol,
    entries::{PortWord, Space, port_index},
};

use super::{
    Limits, Origin, PortRange, Prefix, Refusal, Route, Target,
    nodes::{Node, Nodes},
    spaces::{Claim, Claimed, Spaces},
};

/// The entries of `PORTS` and `PREFIXES`, as far as they are known.
pub(super) struct Ports<'a> {
    routes: &'a [(Origin, &'a Route)],
    pub nodes: Nodes<'a>,
    pub words: Vec<(u32, PortWord)>,
    pub prefixes: Vec<Prefix>,
    /// Range classes that have a number.
    classes: u32,
}

/// What is decided in a space.
struct Decided {
    nodes: Vec<Node>,
    /// Whether a proxy route has a claim on the ports.
    steered: bool,
    /// Whether a route to an interface has.
    forwarded: bool,
    /// The number of a range class, once a port needs one.
    class: Option<u32>,
}

impl<'a> Ports<'a> {
    pub fn new(routes: &'a [(Origin, &'a Route)], limits: &Limits) -> Self {
        let nodes = Nodes::new(routes, limits);
        Self { routes, nodes, words: Vec::new(), prefixes: Vec::new(), classes: 0 }
    }

    pub fn fill(&mut self) -> Result<(), Refusal> {
        for family in [Family::V4, Family::V6] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                self.fill_protocol(family, protocol)?;
            }
        }
        self.prefixes.sort_by_key(|prefix| prefix.key.scope);
        Ok(())
    }

    fn fill_protocol(&mut self, family: Family, protocol: Protocol) -> Result<(), Refusal> {
        let spans = spans(self.routes, family, protocol);
        let spaces = Spaces::new(spans, &mut self.nodes.budget)?;
        let classes: Result<Vec<_>, _> =
            spaces.classes.iter().map(|class| self.decide(family, protocol, class)).collect();
        let mut classes = classes?;
        for port in spaces.ports() {
            let single = spaces.singles.get(&port).map(|single| self.decide(family, protocol, single));
            let single = single.transpose()?;
            let class = spaces.class_of(port).map(|index| &mut classes[index]);
            let direct = match (&single, &class) {
                (None, None) => continue,
                (Some(only), None) => only.direct(),
                (None, Some(only)) => only.direct(),
                // The single port is the narrower range.
                (Some(single), Some(class)) => single.direct().filter(|_| class.direct().is_some()),
            };
            let spaces = single.iter().chain(class.as_deref());
            let (steered, forwarded) = spaces.fold((false, false), |(steered, forwarded), space| {
                (steered | space.steered, forwarded | space.forwarded)
            });
            let word = match direct {
                Some(route) => PortWord::direct(route),
                None => {
                    if let Some(single) = &single {
                        self.write(Space::port(family, protocol, port), &single.nodes);
                    }
                    PortWord::spaces(single.is_some(), class.map(|class| self.class(class)))
                }
            };
            let word = if steered { word.with_steered() } else { word };
            let word = if forwarded { word.with_forwarded() } else { word };
            self.words.push((port_index(family, protocol, port), word));
        }
        Ok(())
    }

    fn decide(&mut self, family: Family, protocol: Protocol, space: &Claimed) -> Result<Decided, Refusal> {
        let target = |claim: &Claim| &self.routes[claim.slot as usize].1.target;
        let steered = space.claims.iter().any(|claim| matches!(target(claim), Target::Proxy(_)));
        let forwarded = space.claims.iter().any(|claim| matches!(target(claim), Target::Interface(_)));
        let nodes = self.nodes.decide(family, protocol, space)?;
        Ok(Decided { nodes, steered, forwarded, class: None })
    }

    /// The number of a class, whose prefixes are written when the first port needs them.
    fn class(&mut self, class: &mut Decided) -> u32 {
        *class.class.get_or_insert_with(|| {
            let number = self.classes;
            self.classes += 1;
            self.write(Space::class(number), &class.nodes);
            number
        })
    }

    fn write(&mut self, space: Space, nodes: &[Node]) {
        self.prefixes.extend(nodes.iter().map(|node| Prefix::new(space.0, &node.destination, node.entry)));
    }
}

impl Decided {
    /// The route for every packet, where no address decides.
    fn direct(&self) -> Option<u32> {
        match self.nodes[..] {
            [Node { destination, entry }] if destination.prefix_len() == 0 && !entry.is_table() => {
                Some(entry.number())
            }
            _ => None,
        }
    }
}

/// Ports on which the routes have a claim.
fn spans(
    routes: &[(Origin, &Route)],
    family: Family,
    protocol: Protocol,
) -> impl Iterator<Item = (PortRange, Claim)> {
    let routes = routes
        .iter()
        .zip(0..)
        .filter(move |((_, route), _)| route.protocol == protocol && route.is_in(family));
    routes.flat_map(|((_, route), slot)| {
        route.ports.iter().flat_map(move |range| {
            // The width as written decides the rank, also where the proxy's own port is left out.
            let claim = Claim { slot, width: range.width() };
            range.without(route.own_port()).map(move |ports| (ports, claim))
        })
    })
}
