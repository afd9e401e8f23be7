//! What the agent is asked to do while it runs, and its files read again.

use tokio::time::Instant;

use super::{
    Agent,
    command::{Changed, Command, Refused, Unexplained},
    report, routes, views,
};
use crate::{
    config,
    explain::{self, Explanation, Question},
    routes::{Origin, live::Change},
    sys,
};

/// So many routes take much more memory while they are read than afterwards.
const MANY: usize = 1000;

impl Agent {
    /// Answers a command. Whoever asked may have stopped waiting.
    pub(super) fn answer(&mut self, command: Command) {
        match command {
            Command::Routes(reply) => match views::routes(&self.routes, &mut self.datapath) {
                Ok(views) => drop(reply.send(views)),
                Err(error) => report::failed(Err(error)),
            },
            Command::Interfaces(reply) => match views::interfaces(&self.datapath) {
                Ok(views) => drop(reply.send(views)),
                Err(error) => report::failed(Err(error)),
            },
            Command::Status(reply) => drop(reply.send(views::status(&self.routes, &self.metrics))),
            Command::Explain { question, reply } => drop(reply.send(self.explain(question))),
            Command::Change { request, dry_run, since, reply } => {
                let changed =
                    self.routes.requested(request).and_then(|change| self.change(&[change], dry_run));
                if changed.is_ok() && !dry_run {
                    self.metrics.propagated(Origin::Api, since.elapsed());
                }
                drop(reply.send(changed));
            }
            Command::Reload { dry_run: true, reply } => drop(reply.send(self.apply_files(true))),
            Command::Reload { dry_run: false, reply } => drop(reply.send(self.reload())),
        }
    }

    /// Why a connection is, or is not, redirected.
    fn explain(&mut self, question: Question) -> Result<Explanation, Unexplained> {
        let place = self.following.place(&question.interface, &self.datapath)?;
        explain::explain(question, &place, &self.routes.live, &mut self.datapath)
            .map_err(|error| Unexplained::Kernel(format!("{error:#}")))
    }

    /// Changes routes, and follows what comes of it.
    fn change(&mut self, changes: &[Change], dry_run: bool) -> Result<Changed, Refused> {
        let (changed, delta) = self.routes.change(&mut self.datapath, changes, dry_run)?;
        // What is written is live; the rest is reported, not refused.
        if !delta.next_hops.is_empty() {
            report::failed(self.following.describe(&mut self.datapath));
        }
        if !delta.proxies.is_empty() {
            report::failed(routes::learn(&mut self.datapath, delta.proxies));
        }
        if !delta.words.is_empty() || !delta.prefixes.is_empty() {
            report::failed(self.make_way());
        }
        self.metrics.published(&self.routes.live);
        if changes.iter().map(|change| change.remove.len() + change.add.len()).sum::<usize>() > MANY {
            sys::memory::give_back();
        }
        Ok(changed)
    }

    /// Reads the files again and applies their routes, or refuses them whole and keeps the old ones.
    pub(super) fn reload(&mut self) -> Result<Changed, String> {
        let begin = Instant::now();
        let result = self.apply_files(false);
        sys::memory::give_back();
        self.metrics.reloaded(result.is_ok());
        report::failed(self.routes.state.set_refusal(result.as_ref().err()));
        if let Ok(Changed { restart, .. }) = &result {
            self.metrics.propagated(Origin::Files, begin.elapsed());
            if *restart != self.restart {
                report::restart(restart);
                report::failed(self.routes.state.set_restart(restart));
                self.restart.clone_from(restart);
            }
        }
        result
    }

    fn apply_files(&mut self, dry_run: bool) -> Result<Changed, String> {
        let mut settings = config::read(self.config.as_deref()).map_err(|errors| {
            let errors: Vec<_> = errors.errors.iter().map(ToString::to_string).collect();
            errors.join("\n")
        })?;
        let routes = settings.routes.remove(&Origin::Files).unwrap_or_default();
        let change = self.routes.live.replacement(Origin::Files, routes);
        let changed = self.change(&[change], dry_run).map_err(|refused| match refused {
            Refused::Routes(refusals) => {
                let lines: Vec<_> =
                    refusals.iter().map(|refusal| settings.route_places.explain(refusal)).collect();
                lines.join("\n")
            }
            refused => refused.to_string(),
        })?;
        let restart = (self.over)(settings).differences(&self.settings);
        Ok(Changed { restart, ..changed })
    }
}
