//! An agent without a datapath: it keeps routes, by the same rules, and answers as the real one does.

use std::{thread, time::Duration};

use redirector_common::{Reason, Verdict};

use super::{
    Changed, Command, Handle, InterfaceView, Override, Refused, Request, RouteView, StatusView, Unexplained,
};
use crate::{
    explain::{Explanation, Outcome, Program, Question, Step},
    routes::{Limits, Origin, Route, RouteSets, compile},
};

/// What the fake does other than a real one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fake {
    /// It never answers.
    pub is_stuck: bool,
    /// Room for routes, of all origins.
    pub routes: Option<u32>,
}

impl Fake {
    /// Starts it on a thread of its own, which ends with the last handle.
    pub fn start(self, files: &[&str]) -> Handle {
        let (handle, mut commands) = Handle::new();
        let files: Vec<Route> = files.iter().map(|text| text.parse().expect("a route")).collect();
        thread::spawn(move || {
            let mut sets = RouteSets::from([(Origin::Files, files), (Origin::Api, Vec::new())]);
            let mut held = Vec::new();
            while let Some(command) = commands.blocking_recv() {
                if self.is_stuck {
                    held.push(command);
                } else {
                    self.answer(command, &mut sets);
                }
            }
        });
        handle
    }

    fn answer(self, command: Command, sets: &mut RouteSets) {
        // Whoever asked may be gone.
        match command {
            Command::Routes(reply) => drop(reply.send(views(sets))),
            Command::Interfaces(reply) => drop(reply.send(vec![InterfaceView {
                index: 7,
                name: "eth0".to_owned(),
                hook: "tcx".to_owned(),
                program: "tc_ingress".to_owned(),
                link: "ethernet",
            }])),
            Command::Status(reply) => {
                let routes = sets.iter().map(|(origin, routes)| (*origin, routes.len())).collect();
                drop(reply.send(StatusView { routes, repaired: vec![("rules", 2)] }));
            }
            Command::Explain { question, reply } => drop(reply.send(explain(question))),
            Command::Change { request, dry_run, since, reply } => {
                assert!(since.elapsed() < Duration::from_secs(60));
                drop(reply.send(self.change(request, dry_run, sets)));
            }
            Command::Reload { dry_run: true, reply } => drop(reply.send(Ok(Changed::default()))),
            Command::Reload { dry_run: false, reply } => {
                drop(reply.send(Err("a.toml:1:1: this is the fake".to_owned())))
            }
        }
    }

    fn change(self, request: Request, dry_run: bool, sets: &mut RouteSets) -> Result<Changed, Refused> {
        let old = sets[&Origin::Api].clone();
        let has = |routes: &[Route], name: &str| routes.iter().any(|route| route.name == name);
        let mut new = old.clone();
        match request {
            Request::Add(routes) => {
                let names = routes.iter().map(|route| route.name.clone());
                let there: Vec<_> = names.filter(|name| has(&old, name)).collect();
                if !there.is_empty() {
                    return Err(Refused::Exists(there));
                }
                new.extend(routes);
            }
            Request::Remove(names) => {
                let unknown: Vec<_> = names.iter().filter(|name| !has(&old, name)).cloned().collect();
                if !unknown.is_empty() {
                    return Err(Refused::Unknown(unknown));
                }
                new.retain(|route| !names.contains(&route.name));
            }
            Request::Apply(routes) => {
                new.retain(|route| !has(&routes, &route.name));
                new.extend(routes);
            }
            Request::Replace(routes) => new = routes,
        }
        let mut all = sets.clone();
        all.insert(Origin::Api, new.clone());
        let limits = Limits { routes: self.routes.unwrap_or(Limits::default().routes), ..Limits::default() };
        compile(&all, &limits).map_err(Refused::Routes)?;
        let mut changed = Changed::default();
        for route in &new {
            match old.iter().find(|other| other.name == route.name) {
                None => changed.added.push(route.name.clone()),
                Some(other) if other != route => changed.replaced.push(route.name.clone()),
                Some(_) => {}
            }
        }
        changed.removed =
            old.iter().filter(|route| !has(&new, &route.name)).map(|route| route.name.clone()).collect();
        if !dry_run {
            *sets = all;
        }
        Ok(changed)
    }
}

/// A connection to port 80 by eth0 is steered; the others pass, and eth7 there is none.
fn explain(question: Question) -> Result<Explanation, Unexplained> {
    let passed =
        Outcome { verdict: Verdict::Passed, reason: Some(Reason::NoRoute), route: None, target: None };
    let (outcome, program) = match (&*question.interface, question.destination.port()) {
        ("eth0", 80) => {
            let steered = Outcome {
                verdict: Verdict::Steered,
                reason: Some(Reason::Proxy),
                route: Some((Origin::Files, "web".to_owned())),
                target: Some("127.0.0.1:15001".to_owned()),
            };
            (steered.clone(), Some(steered))
        }
        ("eth0", _) => (passed.clone(), Some(passed)),
        ("eth1", _) => (Outcome { reason: None, ..passed }, None),
        ("eth2", _) => return Err(Unexplained::Kernel("this is the fake".to_owned())),
        _ => return Err(Unexplained::NoInterface("eth0, eth1, eth2".to_owned())),
    };
    let steps = vec![Step { what: "port".to_owned(), found: "named".to_owned(), so: "match".to_owned() }];
    let program = program.map(|outcome| Program { name: "tc_ingress", outcome, agrees: true });
    Ok(Explanation { question, steps, outcome, program })
}

fn views(sets: &RouteSets) -> Vec<RouteView> {
    let by = Override { both: "tcp/22".to_owned(), origin: Origin::BuiltIn, name: "tcp/22".to_owned() };
    let each = |(origin, routes): (&Origin, &Vec<Route>)| {
        let origin = *origin;
        let view = |route: &Route| RouteView {
            origin,
            route: route.clone(),
            available: route.own_port().map(|_| Err("not listening yet".to_owned())),
            connections: 12,
            unavailable: 3,
            lost: 0,
            overridden: vec![by.clone()],
        };
        routes.iter().map(view).collect::<Vec<_>>()
    };
    sets.iter().flat_map(each).collect()
}
