//! Which interfaces are captured, now and as they come and go.

use anyhow::{Context as _, Result, anyhow};
use glob::Pattern;

use super::report;
use crate::{
    datapath::{self, AttachMode, Datapath},
    failure::{Exit, Failure},
    host::{self, Change, Interface},
    metrics::InterfaceState,
    settings::InterfaceGlobs,
};

/// The interfaces that were asked for.
pub struct Captures {
    patterns: Vec<Pattern>,
    exclude: Vec<Pattern>,
    mode: AttachMode,
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
        Ok(Self { patterns: patterns?, exclude: exclude?, mode })
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

    /// How many interfaces that match are captured, were refused, and cannot be captured.
    pub fn count(
        &self,
        datapath: &Datapath,
        interfaces: impl Iterator<Item = Interface>,
    ) -> [(InterfaceState, usize); 3] {
        let state = |interface: Interface| match interface.unsupported {
            Some(_) => InterfaceState::Unsupported,
            None if datapath.is_captured(interface.index) => InterfaceState::Captured,
            None => InterfaceState::Failed,
        };
        let states: Vec<_> = interfaces.filter(|interface| self.wants(interface)).map(state).collect();
        InterfaceState::ALL.map(|wanted| (wanted, states.iter().filter(|state| **state == wanted).count()))
    }

    /// Captures the interface that was there when the agent began, if it is wanted, with what a killed one left taken away.
    pub fn begin(&self, datapath: &mut Datapath, interface: &Interface) -> Result<()> {
        if self.wants(interface) && interface.unsupported.is_none() {
            self.capture(datapath, interface)?;
            datapath.tidy(interface.index)?;
        }
        Ok(())
    }

    /// Captures, adapts or releases what has changed. Whether it took a while, which to attach or detach a program does.
    ///
    /// One that is down is captured too: what it receives first when it comes up would be missed otherwise.
    pub fn follow(&self, datapath: &mut Datapath, change: &Change) -> Result<bool> {
        let index = change.index;
        if let Some(name) = &change.gone
            && datapath.forget(index)?
        {
            report::interface_gone(name);
        }
        let Some(interface) = &change.now else { return Ok(false) };
        let wanted = self.wants(interface) && interface.unsupported.is_none();
        match (wanted, datapath.is_captured(index)) {
            (false, false) => Ok(false),
            (false, true) => {
                datapath.release(index)?;
                report::interface_released(&interface.name);
                Ok(true)
            }
            (true, true) => {
                let adapted = datapath.adapt(interface)?;
                if adapted {
                    report::interface_adapted(&interface.name, interface.link);
                }
                Ok(adapted)
            }
            (true, false) => match self.capture(datapath, interface) {
                // A notice of that is on its way.
                Err(error) if datapath::is_gone(&error) => Ok(false),
                captured => captured.map(|()| true),
            },
        }
    }

    fn capture(&self, datapath: &mut Datapath, interface: &Interface) -> Result<()> {
        let hook = datapath.capture(interface, self.mode)?;
        report::interface(&interface.name, hook);
        Ok(())
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
