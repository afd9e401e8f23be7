//! Follows interfaces and addresses as they come, go and change.
//!
//! The kernel tells of each change, so that none costs a look at everything that there is. Everything is looked at when the
//! agent begins, when notices were lost, and at each reconcile.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use tokio::{
    task::yield_now,
    time::{Instant, sleep_until},
};

use super::{SETTLED, capture::Captures, command::Unexplained, report, rereading::Rereading};
use crate::{
    datapath::{Datapath, Repair},
    explain::Place,
    host::{Image, Interface, Notices, Received},
    metrics::InterfaceState,
};

/// For how long programs are attached where they are to be when the agent begins. Those of the interfaces that are left then are
/// moved there later: whoever started the agent waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// For how long changes are followed before notices, signals and commands are heard again.
const TURN: Duration = Duration::from_millis(10);

/// What is followed.
pub struct Following {
    captures: Captures,
    notices: Notices,
    image: Image,
    rereading: Rereading,
    /// When to look at the hook of an interface at which something changed, by ifindex.
    hooks: BTreeMap<u32, Instant>,
}

impl Following {
    /// Begins to listen, and then reads the host, so that no change is missed in between.
    pub fn new(captures: Captures) -> Result<Self> {
        let notices = Notices::new()?;
        let mut image = Image::default();
        image.read()?;
        Ok(Self { captures, notices, image, rereading: Rereading::default(), hooks: BTreeMap::new() })
    }

    /// Writes what the programs have to know of the host.
    pub fn describe(&mut self, datapath: &mut Datapath) -> Result<()> {
        for (address, is_ours) in self.image.take_changed_addresses() {
            if is_ours { datapath.add_local(address)? } else { datapath.remove_local(address)? }
        }
        report::next_hops(&datapath.set_next_hops(|name| self.image.named(name))?);
        Ok(())
    }

    /// Captures the interfaces that are there. Here a failure is an error; later it concerns the one interface, and
    /// the others go on.
    pub fn begin(&mut self, datapath: &mut Datapath) -> Result<()> {
        let hurry_at = Instant::now() + PATIENCE;
        while let Some(change) = self.image.next_change() {
            if let Some(interface) = &change.now {
                self.captures.begin(datapath, interface, Instant::now() > hurry_at)?;
            }
        }
        Ok(())
    }

    /// Waits until something may have changed, or until what has changed is to be followed further.
    pub async fn changed(&self) {
        if self.image.has_changed() {
            // So that signals and commands are heard in between.
            return yield_now().await;
        }
        let due =
            self.hooks.values().copied().chain(self.captures.moves.due()).chain(self.rereading.due()).min();
        match due {
            None => self.notices.arrive().await,
            Some(due) => tokio::select! {
                () = self.notices.arrive() => {}
                () = sleep_until(due) => {}
            },
        }
    }

    /// Takes in what has come, and follows it for a while: what comes meanwhile may be more urgent. Moves one of the programs
    /// that were attached in a hurry when there is nothing else to do. Returns how many hooks were repaired.
    pub fn follow(&mut self, datapath: &mut Datapath) -> Result<usize> {
        self.receive()?;
        let hooks = self.image.take_changed_hooks();
        self.look_at_hooks(hooks.into_iter().collect());
        if self.image.has_changed() {
            self.describe(datapath)?;
        }
        let until = Instant::now() + TURN;
        while let Some(change) = self.image.next_change() {
            let hurry = self.image.has_changed() || self.captures.moves.is_storm();
            match self.captures.follow(datapath, &change, hurry) {
                Ok(false) => {}
                Ok(true) => self.captures.moves.put_off(),
                Err(error) => report::failed(Err(error)),
            }
            if Instant::now() > until {
                break;
            }
        }
        if !self.image.has_changed() {
            report::failed(self.captures.move_next(datapath, |index| self.image.interface(index)));
        }
        Ok(self.repair(datapath))
    }

    /// Has everything looked at, also what no notice told of and what failed before.
    pub fn look_at_all(&mut self) -> Result<()> {
        self.rereading.ask();
        self.receive()
    }

    /// How many interfaces of those that were asked for are in each state.
    pub fn count(&self) -> [(InterfaceState, usize); 3] {
        self.captures.states.count()
    }

    /// All interfaces whose programs are where they are to be: of the others the hooks are not looked at.
    pub fn settled(&self) -> impl Iterator<Item = Interface> {
        self.image.interfaces().filter(|interface| !self.captures.moves.waits(interface.index))
    }

    /// An interface, as what becomes of its packets depends on it.
    ///
    /// # Errors
    ///
    /// There is none of this name.
    pub fn place(&self, name: &str, datapath: &Datapath) -> Result<Place, Unexplained> {
        let Some(Interface { index, .. }) = self.image.named(name) else {
            let names: Vec<_> = self.image.interfaces().map(|interface| interface.name).collect();
            return Err(Unexplained::NoInterface(names.join(", ")));
        };
        let captured = datapath.attachments().find(|(captured, ..)| *captured == index);
        let captured = captured.map(|(_, hook, link)| (hook, link));
        Ok(Place { index, mac: self.image.mac(index), captured })
    }

    /// Takes in the notices that have arrived, and reads everything if some were lost.
    fn receive(&mut self) -> Result<()> {
        let mut lost = false;
        self.notices.receive(|received| match received {
            Received::Notice(notice) => self.image.apply(&notice),
            Received::Lost => lost = true,
        })?;
        if lost {
            report::notices_lost();
            self.rereading.ask();
            self.look_at_hooks(self.image.interfaces().map(|interface| interface.index).collect());
        }
        // After the notices: of an interface that went, and whose number another one has, only they tell.
        if self.rereading.is_due() {
            let read = self.image.read();
            self.rereading.done(read.is_ok());
            read?;
        }
        Ok(())
    }

    /// Changes at a hook come in groups: the kernel takes a program with its qdisc.
    fn look_at_hooks(&mut self, indices: Vec<u32>) {
        let due = Instant::now() + SETTLED;
        for index in indices {
            self.hooks.entry(index).or_insert(due);
        }
    }

    fn repair(&mut self, datapath: &mut Datapath) -> usize {
        let mut repaired = 0;
        let now = Instant::now();
        let due: Vec<u32> =
            self.hooks.iter().filter(|(_, due)| **due <= now).map(|(index, _)| *index).collect();
        for index in due {
            self.hooks.remove(&index);
            if self.captures.moves.waits(index) {
                continue;
            }
            if let Some(interface) = self.image.interface(index) {
                let repair = datapath.repair_hook(&interface);
                repaired += usize::from(matches!(repair, Some(Repair::Done(_))));
                report::repairs(repair.as_slice());
            }
        }
        repaired
    }
}
