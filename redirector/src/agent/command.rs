//! What others ask of the running agent, which alone owns the datapath: they send commands and await answers.

#[cfg(test)]
pub(crate) mod fake;

use std::{fmt, time::Instant};

use tokio::sync::{mpsc, oneshot};

pub use crate::routes::live::Override;
use crate::{
    explain::{Explanation, Question},
    routes::{Origin, Refusal, Route},
};

/// A way to the agent. It may be cloned, and used from any task.
#[derive(Clone, Debug)]
pub struct Handle(mpsc::Sender<Command>);

/// What is asked.
#[derive(Debug)]
pub(super) enum Command {
    Routes(oneshot::Sender<Vec<RouteView>>),
    Interfaces(oneshot::Sender<Vec<InterfaceView>>),
    Status(oneshot::Sender<StatusView>),
    Explain {
        question: Question,
        reply: oneshot::Sender<Result<Explanation, Unexplained>>,
    },
    Change {
        request: Request,
        dry_run: bool,
        since: Instant,
        reply: oneshot::Sender<Result<Changed, Refused>>,
    },
    Reload {
        dry_run: bool,
        reply: oneshot::Sender<Result<Changed, String>>,
    },
}

/// A change of the routes that the API gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Adds routes, none of whose names is there.
    Add(Vec<Route>),
    /// Takes routes away, all of which are there.
    Remove(Vec<String>),
    /// Creates or replaces routes.
    Apply(Vec<Route>),
    /// Leaves these routes and no others.
    Replace(Vec<Route>),
}

/// What a change did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Names of routes that came.
    pub added: Vec<String>,
    /// Names of routes that are others now.
    pub replaced: Vec<String>,
    /// Names of routes that went.
    pub removed: Vec<String>,
    /// Full names of settings that the files say otherwise than the agent runs with: it reads them when it starts.
    pub restart: Vec<&'static str>,
}

/// Why a change was refused, as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is a route of this name already.
    Exists(Vec<String>),
    /// There is no route of this name among those that the API gave.
    Unknown(Vec<String>),
    /// The routes are wrong, do not go together, or there is no room for them.
    Routes(Vec<Refusal>),
    /// This host cannot do what a route asks for.
    Host(String),
    /// It could not be written, to the state directory or to the maps; everything is as it was.
    Kernel(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(names) => write!(f, "there is a route of this name already: {}", names.join(", ")),
            Self::Unknown(names) => write!(f, "the API gave no route of this name: {}", names.join(", ")),
            Self::Routes(refusals) => {
                let lines: Vec<_> = refusals.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Host(what) | Self::Kernel(what) => f.write_str(what),
        }
    }
}

/// A route as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// Who gave it.
    pub origin: Origin,
    /// The route.
    pub route: Route,
    /// Whether its target takes connections now: `None` for one that always does. What is wrong is said.
    pub available: Option<Result<(), String>>,
    /// New connections that got its target.
    pub connections: u64,
    /// New connections that got its `else`.
    pub unavailable: u64,
    /// Connections that were steered and that nobody took.
    pub lost: u64,
    /// Where other routes win, and which.
    pub overridden: Vec<Override>,
}

/// A captured interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceView {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The hook, as `tcx` or `clsact`.
    pub hook: String,
    /// The program there.
    pub program: String,
    /// The kind of link: `ethernet`, `bridge-port` or `layer3`.
    pub link: &'static str,
}

/// What only the running agent knows of how things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusView {
    /// Routes by origin.
    pub routes: Vec<(Origin, usize)>,
    /// What others changed and was repaired: what, and how often.
    pub repaired: Vec<(&'static str, u64)>,
}

/// Why a connection could not be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unexplained {
    /// There is no such interface; the names of those that there are.
    NoInterface(String),
    /// The kernel did not say what it has.
    Kernel(String),
}

/// The agent has ended, or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

impl Handle {
    /// A handle, and where its commands arrive.
    pub(super) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(16);
        (Self(sender), receiver)
    }

    /// Every route, of all origins.
    ///
    /// # Errors
    ///
    /// The agent has ended.
    pub async fn routes(&self) -> Result<Vec<RouteView>, Ended> {
        self.ask(Command::Routes).await
    }

    /// Every interface that is captured.
    ///
    /// # Errors
    ///
    /// The agent has ended.
    pub async fn interfaces(&self) -> Result<Vec<InterfaceView>, Ended> {
        self.ask(Command::Interfaces).await
    }

    /// What only the agent knows of how things stand.
    ///
    /// # Errors
    ///
    /// The agent has ended.
    pub async fn status(&self) -> Result<StatusView, Ended> {
        self.ask(Command::Status).await
    }

    /// Why a connection is, or is not, redirected.
    ///
    /// # Errors
    ///
    /// The agent has ended. The inner error is that it cannot tell.
    pub async fn explain(&self, question: Question) -> Result<Result<Explanation, Unexplained>, Ended> {
        self.ask(|reply| Command::Explain { question, reply }).await
    }

    /// Changes the routes that the API gives, or says what that would do. It is done when the answer is there: the next
    /// connection gets what the routes say then.
    ///
    /// # Errors
    ///
    /// The agent has ended. The inner error is that the change was refused.
    pub async fn change(&self, request: Request, dry_run: bool) -> Result<Result<Changed, Refused>, Ended> {
        let since = Instant::now();
        self.ask(|reply| Command::Change { request, dry_run, since, reply }).await
    }

    /// Reads the configuration files again and applies them, or refuses them whole; or says what that would do.
    ///
    /// # Errors
    ///
    /// The agent has ended. The inner error is what is wrong with the files.
    pub async fn reload(&self, dry_run: bool) -> Result<Result<Changed, String>, Ended> {
        self.ask(|reply| Command::Reload { dry_run, reply }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Ended> {
        let (reply, answer) = oneshot::channel();
        self.0.send(command(reply)).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }
}
