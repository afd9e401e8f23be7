//! Which interfaces are captured, now and as they come and go.

use anyhow::{Context as _, Result, anyhow};
use glob::Pattern;

use super::report;
use crate::{
    datapath::{AttachMode, Datapath},
    failure::{Exit, Failure},
    host::{self, Interface},
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
                    eprintln!("warning: no interface matches {pattern} yet");
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
    pub fn count(&self, datapath: &Datapath, interfaces: &[Interface]) -> [(InterfaceState, usize); 3] {
        let captured: Vec<u32> = datapath.captured().collect();
        let state = |interface: &Interface| match interface.unsupported {
            Some(_) => InterfaceState::Unsupported,
            None if captured.contains(&interface.index) => InterfaceState::Captured,
            None => InterfaceState::Failed,
        };
        let states = interfaces.iter().filter(|interface| self.wants(interface)).map(state);
        InterfaceState::ALL.map(|wanted| (wanted, states.clone().filter(|state| *state == wanted).count()))
    }

    /// Captures what matches and is not captured yet, and forgets what is gone. At the start a failure is an error;
    /// later it concerns the one interface, and the others go on.
    pub fn follow(&self, datapath: &mut Datapath, interfaces: &[Interface], starting: bool) -> Result<()> {
        let captured: Vec<u32> = datapath.captured().collect();
        for ifindex in &captured {
            if !interfaces.iter().any(|interface| interface.index == *ifindex) {
                datapath.release(*ifindex)?;
                report::interface_gone(*ifindex);
            }
        }
        for interface in interfaces {
            if !self.wants(interface) || interface.unsupported.is_some() {
                continue;
            }
            if captured.contains(&interface.index) {
                match datapath.adapt(interface) {
                    Ok(true) => report::interface_adapted(&interface.name, interface.link),
                    Ok(false) => {}
                    Err(error) => eprintln!("warning: {error:#}"),
                }
                continue;
            }
            match datapath.capture(interface, self.mode) {
                Ok(hook) => report::interface(&interface.name, hook),
                Err(error) if starting => return Err(error),
                Err(error) => eprintln!("warning: {error:#}"),
            }
        }
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
