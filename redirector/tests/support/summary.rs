//! What the agent prints at its end.

use std::collections::BTreeMap;

/// Its two tables.
#[derive(Debug)]
pub struct Summary {
    routes: BTreeMap<String, [u64; 3]>,
    packets: BTreeMap<(String, String), u64>,
}

impl Summary {
    /// Reads them.
    pub fn read(text: &str) -> Self {
        println!("{text}");
        let (routes, packets) = text.split_once("\n\n").expect("the summary has two tables");
        let rows = |table: &str| -> Vec<Vec<String>> {
            let rows = table.lines().skip(1);
            rows.map(|row| row.split_whitespace().map(str::to_owned).collect()).collect()
        };
        let routes = rows(routes).into_iter().map(|row| {
            // A route that was given no name is called by its match, which may have spaces.
            let (name, numbers) = row.split_at(row.len() - 3);
            let numbers: Vec<_> = numbers.iter().map(|number| number.parse().expect("a number")).collect();
            (name.join(" "), numbers.try_into().expect("three numbers"))
        });
        let packets = rows(packets).into_iter().map(|row| {
            let [verdict, reason, packets, _bytes] = &row[..] else {
                panic!("not a row of counters: {row:?}")
            };
            ((verdict.clone(), reason.clone()), packets.parse().expect("a number"))
        });
        Self { routes: routes.collect(), packets: packets.collect() }
    }

    /// Connections that got a route's target.
    #[track_caller]
    pub fn connections(&self, route: &str) -> u64 {
        self.route(route)[0]
    }

    /// Connections that got a route's `else`.
    #[track_caller]
    pub fn unavailable(&self, route: &str) -> u64 {
        self.route(route)[1]
    }

    /// Connections that were steered and did not reach the proxy.
    #[track_caller]
    pub fn lost(&self, route: &str) -> u64 {
        self.route(route)[2]
    }

    /// Packets with this verdict and this reason.
    pub fn packets(&self, verdict: &str, reason: &str) -> u64 {
        self.packets.get(&(verdict.to_owned(), reason.to_owned())).copied().unwrap_or_default()
    }

    /// The verdicts and reasons that any packet had.
    pub fn reasons(&self) -> Vec<String> {
        self.packets.keys().map(|(verdict, reason)| format!("{verdict} {reason}")).collect()
    }

    #[track_caller]
    fn route(&self, name: &str) -> [u64; 3] {
        *self.routes.get(name).unwrap_or_else(|| panic!("no route {name} in {self:#?}"))
    }
}
