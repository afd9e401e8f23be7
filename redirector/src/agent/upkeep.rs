//! What others change, of the host and of what is ours: followed and repaired.

use super::{Agent, report};
use crate::{
    datapath::{Hook, Repair},
    host::{self, Order},
    metrics::Repaired,
};

impl Agent {
    /// Repairs what others have changed, and says so.
    pub(super) fn reconcile(&mut self) -> anyhow::Result<()> {
        self.following.look_at_all()?;
        self.follow()?;
        let rules = self.routing.repair()?;
        self.metrics.repaired(Repaired::Rules, rules.len());
        let rules = rules
            .into_iter()
            .map(|rule| Repair::Done(format!("{rule}: added again, for somebody had removed it")));
        report::repairs(&rules.collect::<Vec<_>>());
        let order = self.routing.come_first(self.movable)?;
        self.metrics.repaired(Repaired::Order, matches!(order, Some(Order::Moved { .. })).into());
        report::order(order);
        let programs = self.datapath.repair(self.following.settled());
        let done = programs.iter().filter(|repair| matches!(repair, Repair::Done(_))).count();
        self.metrics.repaired(Repaired::Programs, done);
        report::repairs(&programs);
        self.observe()?;
        report::failed(self.routes.unsteer(&mut self.datapath));
        if !self.netfilter.repair()? {
            return Ok(());
        }
        self.metrics.repaired(Repaired::Netfilter, 1);
        self.make_way()
    }

    /// Follows interfaces and addresses.
    pub(super) fn follow(&mut self) -> anyhow::Result<()> {
        let repaired = self.following.follow(&mut self.datapath)?;
        self.metrics.repaired(Repaired::Programs, repaired);
        self.observe()
    }

    /// Records what is attached.
    pub(super) fn observe(&self) -> anyhow::Result<()> {
        for (state, number) in self.following.count() {
            self.metrics.interfaces(state, number);
        }
        for hook in [Hook::Tcx, Hook::Clsact] {
            self.metrics.attached(hook, self.datapath.attached_at(hook));
        }
        self.metrics.takes(self.datapath.takes());
        Ok(())
    }

    /// Follows NAT that comes and goes.
    pub(super) fn follow_nat(&mut self) -> anyhow::Result<()> {
        if self.netfilter.follow()? { self.make_way() } else { Ok(()) }
    }

    /// Has connections that NAT has translated make way for steered ones. What the host itself opened is never
    /// steered.
    pub(super) fn make_way(&self) -> anyhow::Result<()> {
        if !self.netfilter.is_active() {
            return Ok(());
        }
        let own = host::addresses()?;
        let live = &self.routes.live;
        self.netfilter.make_way(|flow| live.is_steered(flow) && !own.contains(&flow.source.ip(flow.family)))
    }
}
