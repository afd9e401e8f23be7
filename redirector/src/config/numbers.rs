//! Values that the files and the command line read alike: the numbers by which the agent's rules are known on the
//! host, the time between two repairs, and where metrics are served.

use std::{net::SocketAddr, time::Duration};

use crate::settings::{MetricsListen, Number};

/// Reads a mark.
///
/// # Errors
///
/// Not one bit of 32.
pub fn mark(number: i64) -> Result<Number, String> {
    match u32::try_from(number) {
        Ok(mark) if mark.is_power_of_two() => Ok(Number::Fixed(mark)),
        _ => Err(format!("{number:#x} is not one bit: a mark is 0x1, 0x2, 0x4 … 0x80000000")),
    }
}

/// Reads the number of a routing table.
///
/// # Errors
///
/// None, or one that the kernel keeps for itself.
pub fn table(number: i64) -> Result<Number, String> {
    match u32::try_from(number) {
        Ok(253..=255) => {
            Err(format!("table {number} is the kernel's own: default, main and local are 253 to 255"))
        }
        Ok(table @ 1..) => Ok(Number::Fixed(table)),
        _ => Err(format!("{number} is not a routing table: tables are 1 to {}", u32::MAX)),
    }
}

/// Reads the priority of the first of three rules.
///
/// # Errors
///
/// The three would not stand between the kernel's rule of the table local, 0, and that of main, 32766.
pub fn rule_priority(number: i64) -> Result<Number, String> {
    match u32::try_from(number) {
        Ok(priority @ 1..=32763) => Ok(Number::Fixed(priority)),
        _ => Err(format!("{number} is not a priority for three rules before that of main: 1 to 32763")),
    }
}

/// Reads one of these as a text: a number, in hexadecimal after `0x`, or `auto`.
///
/// # Errors
///
/// Neither, or what `check` says.
pub fn parse(text: &str, check: fn(i64) -> Result<Number, String>) -> Result<Number, String> {
    if text == "auto" {
        return Ok(Number::Auto);
    }
    let number = match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "neither a number nor `auto`".to_owned()).and_then(check)
}

/// Reads the time between two repairs.
///
/// # Errors
///
/// Not a duration, or one that would keep a CPU busy or repair nothing in a day.
pub fn reconcile(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_secs(1);
    const MOST: Duration = Duration::from_secs(24 * 60 * 60);
    match humantime::parse_duration(text) {
        Ok(time) if (LEAST..=MOST).contains(&time) => Ok(time),
        Ok(_) => Err("not between \"1s\" and \"1d\"".to_owned()),
        Err(error) => Err(format!("not a duration such as \"30s\": {error}")),
    }
}

/// Reads where metrics are served.
///
/// # Errors
///
/// Neither an address and port nor `off`; or an address at which others than this host could ask: nobody is asked who
/// they are.
pub fn metrics_listen(text: &str) -> Result<MetricsListen, String> {
    if text == "off" {
        return Ok(MetricsListen::Off);
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if !address.ip().is_loopback() => {
            Err(format!("not of the loopback device: {} would be asked by other hosts too", address.ip()))
        }
        Ok(address) if address.port() == 0 => Err("without a port".to_owned()),
        Ok(address) => Ok(MetricsListen::At(address)),
        Err(error) => {
            Err(format!("not an address and port such as \"127.0.0.1:9464\", nor \"off\": {error}"))
        }
    }
}
