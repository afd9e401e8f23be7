//! Which interfaces are captured, now and as they come and go.

use anyhow::{Context as _, Result, anyhow};
use glob::Pattern;

use super::{moves::Moves, report, states::States};
use crate::{
    datapath::{self, AttachMode, Datapath, Hook, has_tcx},
    failure::{Exit, Failure},
    host::{self, Change, Interface},
    metrics::InterfaceState,
    settings::InterfaceGlobs,
};

/// The interfaces that were asked for.
pub struct Captures {
    patterns: Vec<Pattern>,
    exclude: Vec<Pattern>,
    /// Where the programs are to be.
    hook: Hook,
    /// Where they are attached while others wait, which there takes no grace period of RCU.
    hurried: Hook,
    /// From there to where they are to be.
    pub moves: Moves,
    pub states: States,
}

impl Captures {
    /// Reads the patterns.
    pub fn new(globs: &InterfaceGlobs, mode: AttachMode) -> Result<Self, Failure> {
        if globs.include.is_empty() {
            let names = list(&host::interfaces()?);
            return Err(Failure::new(Exit::Usage, anyhow!("no interface is given"))
                .hint(format!("name them with --interface; interfaces here: {names}")));
        }
        let [patterns, exclude] = [&globs.include, &globs.exclude].map(|globs| parse(globs));
        let (hook, hurried) = match mode {
            AttachMode::Clsact => (Hook::Clsact, Hook::Clsact),
            AttachMode::Tcx => (Hook::Tcx, Hook::Tcx),
            // Whoever may not ask is told when the programs are loaded.
            AttachMode::Auto if has_tcx().unwrap_or(true) => (Hook::Tcx, Hook::Clsact),
            AttachMode::Auto => (Hook::Clsact, Hook::Clsact),
        };
        let (moves, states) = (Moves::new(), States::default());
        Ok(Self { patterns: patterns?, exclude: exclude?, hook, hurried, moves, states })
    }

    /// Refuses a name that no interface has, and an interface that was named but cannot be captured. A glob that
    /// matches none is no mistake: interfaces come.
    pub fn check(&self, interfaces: &[Interface]) -> Result<(), Failure> {
        for pattern in &self.patterns {
            let is_glob = pattern.as_str().contains(['*', '?', '[']);
            let matching = interfaces.iter().find(|interface| pattern.matches(&interface.name));
            match matching {
                None if is_glob => {
                    tracing::warn!("no interface matches {pattern} yet");
                }
                None => {
                    return Err(Failure::new(
                        Exit::NotFound,
                        anyhow!("attach tc_ingress to {pattern}: no such interface"),
                    )
                    .hint(format!("interfaces here: {}", list(interfaces))));
                }
                Some(Interface { name, unsupported: Some(why), .. }) if !is_glob => {
                    return Err(Failure::new(Exit::Invalid, anyhow!("attach tc_ingress to {name}: {why}"))
                        .hint(format!("interfaces here: {}", list(interfaces))));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn wants(&self, interface: &Interface) -> bool {
        let matches = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(&interface.name));
        matches(&self.patterns) && !matches(&self.exclude)
    }

    /// Captures the interface that was there when the agent began, if it is wanted, with what a killed one left taken away.
    pub fn begin(&mut self, datapath: &mut Datapath, interface: &Interface, hurry: bool) -> Result<()> {
        if self.wants(interface) && interface.unsupported.is_none() {
            self.capture(datapath, interface, hurry)?;
            datapath.tidy(interface.index)?;
        }
        self.record(datapath, interface.index, Some(interface));
        Ok(())
    }

    /// Captures, adapts or releases what has changed; in a hurry if others wait. Whether an interface came or went by that.
    ///
    /// One that is down is captured too: what it receives first when it comes up would be missed otherwise.
    pub fn follow(&mut self, datapath: &mut Datapath, change: &Change, hurry: bool) -> Result<bool> {
        let followed = self.change(datapath, change, hurry);
        self.record(datapath, change.index, change.now.as_ref());
        followed
    }

    fn change(&mut self, datapath: &mut Datapath, change: &Change, hurry: bool) -> Result<bool> {
        let index = change.index;
        let mut went = false;
        if let Some(name) = &change.gone {
            self.moves.forget(index);
            went = datapath.forget(index)?;
            if went {
                report::interface_gone(name);
            }
        }
        let Some(interface) = &change.now else { return Ok(went) };
        let wanted = self.wants(interface) && interface.unsupported.is_none();
        match (wanted, datapath.hook(index)) {
            (false, None) => Ok(went),
            (false, Some(_)) => {
                self.moves.forget(index);
                datapath.release(index)?;
                report::interface_released(&interface.name);
                Ok(true)
            }
            (true, Some(hook)) => {
                let adapted = match datapath.adapt(interface) {
                    // A notice of that is on its way.
                    Err(error) if datapath::is_gone(&error) => return Ok(went),
                    adapted => adapted?,
                };
                if adapted {
                    report::interface_adapted(&interface.name, interface.link);
                }
                if hook != self.hook {
                    // Where that failed before, it is tried again when everything is looked at.
                    self.moves.add(index);
                }
                Ok(adapted || went)
            }
            (true, None) => match self.capture(datapath, interface, hurry) {
                // A notice of that is on its way.
                Err(error) if datapath::is_gone(&error) => Ok(went),
                captured => captured.map(|()| true),
            },
        }
    }

    /// Moves one that was captured in a hurry, if it is time.
    pub fn move_next(
        &mut self,
        datapath: &mut Datapath,
        interface: impl FnOnce(u32) -> Option<Interface>,
    ) -> Result<()> {
        let Some(interface) = self.moves.next().and_then(interface) else { return Ok(()) };
        match datapath.move_to_tcx(&interface) {
            Err(error) if datapath::is_gone(&error) => Ok(()),
            moved => moved.map(|()| report::interface_moved(&interface.name, self.hook)),
        }
    }

    fn capture(&mut self, datapath: &mut Datapath, interface: &Interface, hurry: bool) -> Result<()> {
        let at_once = hurry
            && self.hook != self.hurried
            && datapath
                .capture(interface, self.hurried)
                .inspect_err(|error| tracing::debug!("{error:#}"))
                .is_ok();
        let hook = if at_once { self.hurried } else { self.hook };
        if at_once {
            self.moves.add(interface.index);
        } else {
            datapath.capture(interface, hook)?;
        }
        report::interface(&interface.name, hook);
        Ok(())
    }

    fn record(&mut self, datapath: &Datapath, index: u32, interface: Option<&Interface>) {
        let wanted = interface.filter(|interface| self.wants(interface));
        let state = wanted.map(|interface| match interface.unsupported {
            Some(_) => InterfaceState::Unsupported,
            None if datapath.hook(index).is_some() => InterfaceState::Captured,
            None => InterfaceState::Failed,
        });
        self.states.set(index, state);
    }
}

fn parse(globs: &[String]) -> Result<Vec<Pattern>, Failure> {
    let patterns = globs
        .iter()
        .map(|glob| Pattern::new(glob).with_context(|| format!("read the interface glob {glob:?}")));
    patterns.collect::<Result<_>>().map_err(|error| Failure::new(Exit::Usage, error))
}

fn list(interfaces: &[Interface]) -> String {
    let names: Vec<_> = interfaces
        .iter()
        .filter(|interface| interface.unsupported.is_none())
        .map(|interface| &*interface.name)
        .collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
