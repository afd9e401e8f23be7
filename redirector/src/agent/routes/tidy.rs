//! What changes of routes leave behind, and when it goes.

use std::{
    cell::OnceCell,
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result};
use redirector_common::{Family, entries::port_index};

use super::Routes;
use crate::{agent::report, datapath::Datapath, host, routes::live::Unused, sys};

impl Routes {
    /// Waits until what is unused may go, and then until it went. Nothing to do: waits for ever.
    pub async fn tidied(&mut self, datapath: &mut Datapath) -> Result<()> {
        if self.grace.is_none() {
            if self.unused.is_empty() {
                return std::future::pending().await;
            }
            let unused = std::mem::take(&mut self.unused);
            // Not on this thread, which has other things to do.
            let grace = tokio::task::spawn_blocking(|| report::failed(grace_period()));
            self.grace = Some((grace, unused));
        }
        if let Some((grace, _)) = &mut self.grace {
            // Whoever is no longer waited for, for something else came first, is waited for again.
            grace.await.context("wait for a grace period")?;
        }
        match self.grace.take() {
            Some((_, unused)) => self.remove(datapath, &unused),
            None => Ok(()),
        }
    }

    /// Has packets of ports that no route steers any more pass without a look-up of their connection, when the last connection
    /// to a foreign address has ended that was steered there.
    pub fn unsteer(&mut self, datapath: &mut Datapath) -> Result<()> {
        if !self.outlived {
            return Ok(());
        }
        // Most changes leave no such port, and then nobody has to be asked.
        let steered = OnceCell::new();
        let mut outlived = false;
        let forgotten = self.live.unsteer(|index| {
            let ended =
                steered.get_or_init(steered_ports).as_ref().is_ok_and(|ports| !ports.contains(&index));
            outlived |= !ended;
            ended
        });
        datapath.set_words(&forgotten)?;
        self.outlived = outlived;
        match steered.into_inner() {
            Some(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits until what is unused may go, and removes it.
    pub(super) fn tidy_now(&mut self, datapath: &mut Datapath) -> Result<()> {
        grace_period()?;
        if let Some((grace, unused)) = self.grace.take() {
            grace.abort();
            self.remove(datapath, &unused)?;
        }
        let unused = std::mem::take(&mut self.unused);
        self.remove(datapath, &unused)
    }

    fn remove(&mut self, datapath: &mut Datapath, unused: &Unused) -> Result<()> {
        // What they decided is told by their names.
        self.flows.read();
        datapath.remove_unused(unused)?;
        self.live.give_back(unused);
        Ok(())
    }
}

/// The ports, by their index in `PORTS`, at which a connection ends here that is to a foreign address.
fn steered_ports() -> Result<HashSet<u32>> {
    let own: HashSet<IpAddr> = host::addresses()?.into_iter().collect();
    let foreign = host::connections()?.into_iter();
    let foreign = foreign.filter(|(_, end)| !end.ip().is_loopback() && !own.contains(&end.ip()));
    let family = |end: SocketAddr| if end.is_ipv4() { Family::V4 } else { Family::V6 };
    Ok(foreign.map(|(protocol, end)| port_index(family(end), protocol, end.port())).collect())
}

/// Where the kernel was built without the call, a while does: no packet is so long on its way.
fn grace_period() -> Result<()> {
    match sys::grace_period() {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            std::thread::sleep(std::time::Duration::from_millis(100));
            Ok(())
        }
        result => result.context("wait until no packet is on its way with an older route"),
    }
}
