//! What the agent tells the service manager that started it, by systemd's notify protocol: a datagram to the socket
//! that NOTIFY_SOCKET names. Where there is none, nothing is told and nothing fails.

use std::{future, time::Duration};

use anyhow::{Context as _, Result};
use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Traffic is steered, and how things stand in one line.
///
/// # Errors
///
/// The manager could not be told.
pub fn ready(standing: &str) -> Result<()> {
    notify(&[NotifyState::Ready, NotifyState::Status(standing)])
}

/// A reload begins; [`ready`] ends it.
///
/// # Errors
///
/// As above.
pub fn reloading() -> Result<()> {
    // systemd 253 and newer (Type=notify-reload) tells by the time which of several reloads this one is.
    let now = NotifyState::monotonic_usec_now().context("read the clock")?;
    notify(&[NotifyState::Reloading, now, NotifyState::Status("reloading")])
}

/// The end begins: what follows is no crash.
///
/// # Errors
///
/// As above.
pub fn stopping() -> Result<()> {
    notify(&[NotifyState::Stopping, NotifyState::Status("taking everything away")])
}

/// The end is under way, and is to be waited for so long, whatever TimeoutStopSec= says.
///
/// # Errors
///
/// As above.
pub fn ending(left: &str, patience: Duration) -> Result<()> {
    let patience = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    let status = format!("nothing is redirected any more; {left} left to tidy");
    notify(&[NotifyState::ExtendTimeoutUsec(patience), NotifyState::Status(&status)])
}

/// The agent's loop is alive.
///
/// # Errors
///
/// As above.
pub fn alive() -> Result<()> {
    notify(&[NotifyState::Watchdog])
}

fn notify(states: &[NotifyState]) -> Result<()> {
    sd_notify::notify(states).context("tell the service manager")
}

/// When the manager wants to hear that the agent is alive.
pub struct Watchdog(Option<Interval>);

impl Watchdog {
    /// As the manager has asked for by WATCHDOG_USEC: twice in that time. Of a tokio runtime with timers.
    #[must_use]
    pub fn new() -> Self {
        // A period of zero is none.
        let period =
            sd_notify::watchdog_enabled().map(|timeout| timeout / 2).filter(|period| !period.is_zero());
        Self(period.map(Self::every))
    }

    fn every(period: Duration) -> Interval {
        let mut interval = interval(period);
        // One word after a long pause says as much as ten.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    }

    /// Waits until it is time; for ever where nobody wants to hear.
    pub async fn due(&mut self) {
        match &mut self.0 {
            Some(interval) => drop(interval.tick().await),
            None => future::pending().await,
        }
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self::new()
    }
}
