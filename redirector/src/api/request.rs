//! What is asked: the parameters after the path, and the document.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use percent_encoding::percent_decode_str;
use redirector_common::Protocol;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{connection::Bounds, error::ApiError};
use crate::{config::keys::nearest, explain::Question, flows::Filters, logs, routes::Origin};

/// The parameters after the path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    /// Say what would happen, and change nothing.
    pub dry_run: bool,
    /// Leave no other routes.
    pub replace: bool,
    /// Connections to ports that no route names too.
    pub all: bool,
    /// Only what this origin gives.
    pub origin: Option<Origin>,
    /// The others, with their texts.
    texts: BTreeMap<String, String>,
}

impl Parameters {
    /// Reads them, and refuses what this request does not have: `?dryrun=true` would change everything else.
    pub fn read(query: Option<&str>, known: &[&str]) -> Result<Self, ApiError> {
        let mut parameters = Self::default();
        let mut seen = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&key) {
                let near = nearest(key, known).map(|near| format!(": did you mean `{near}`?"));
                let near = near.unwrap_or_else(|| match known {
                    [] => ": there are none".to_owned(),
                    known => format!(": there are {}", known.join(", ")),
                });
                return Err(ApiError::invalid(format!("`{key}` is not a parameter here{near}")));
            }
            if seen.contains(&key) {
                return Err(ApiError::invalid(format!("`{key}` is there twice")));
            }
            seen.push(key);
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| ApiError::invalid(format!("`{key}` is no UTF-8")))?;
            match key {
                "dry_run" => parameters.dry_run = yes_or_no(key, &value)?,
                "replace" => parameters.replace = yes_or_no(key, &value)?,
                "all" => parameters.all = yes_or_no(key, &value)?,
                "origin" => parameters.origin = Some(origin(&value)?),
                key => drop(parameters.texts.insert(key.to_owned(), value.into_owned())),
            }
        }
        Ok(parameters)
    }
}

impl Parameters {
    /// The connection that is asked about.
    pub fn question(mut self) -> Result<Question, ApiError> {
        let mut text = |key: &str| {
            self.texts.remove(key).ok_or_else(|| ApiError::invalid(format!("`{key}` is missing")))
        };
        let protocol = match &*text("protocol")? {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            word => return Err(ApiError::invalid(format!("`protocol` is tcp or udp, not `{word}`"))),
        };
        let (source, destination) = (text("source")?, text("destination")?);
        let source = address(&source).ok_or_else(|| {
            ApiError::invalid(format!(
                "`{source}` is no source: ADDRESS or ADDRESS:PORT, an IPv6 address with a port in brackets"
            ))
        })?;
        let destination = destination.parse().ok().filter(|destination: &SocketAddr| destination.port() != 0);
        let destination = destination
            .ok_or_else(|| ApiError::invalid("`destination` is ADDRESS:PORT, an IPv6 address in brackets"))?;
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(ApiError::invalid("source and destination are of two address families"));
        }
        Ok(Question { protocol, source, destination, interface: text("interface")? })
    }
}

impl Parameters {
    /// What of the flows is wanted, of which there are names with `not_` before them too.
    pub const FLOWS: [&str; 16] = [
        "from",
        "not_from",
        "to",
        "not_to",
        "port",
        "not_port",
        "verdict",
        "not_verdict",
        "reason",
        "not_reason",
        "route",
        "not_route",
        "interface",
        "not_interface",
        "last",
        "all",
    ];

    /// Which flows are wanted.
    pub fn filters(&self) -> Result<Filters, ApiError> {
        let mut filters = Filters::default();
        let names = self.texts.iter().filter(|(name, _)| *name != "last");
        for (name, values) in names {
            filters.add(name, values).map_err(|error| ApiError::invalid(format!("`{name}`: {error}")))?;
        }
        Ok(filters)
    }

    /// How much is to be written to the log.
    pub fn level(&self) -> Result<logs::Level, ApiError> {
        let words = logs::Level::ALL.map(logs::Level::word).join(", ");
        let word = self.texts.get("level").ok_or_else(|| ApiError::invalid("`level` is missing"))?;
        logs::Level::from_word(word)
            .ok_or_else(|| ApiError::invalid(format!("`{word}` is no level: there are {words}")))
    }

    /// How many of those that are kept are wanted, if that was said.
    pub fn last(&self) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.texts.get("last") else { return Ok(None) };
        let number = text.parse().map_err(|_| ApiError::invalid(format!("`last` is a number, not `{text}`")));
        number.map(Some)
    }
}

/// An address, with a port or without.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(address) => Some(SocketAddr::new(address, 0)),
        Err(_) => text.parse().ok(),
    }
}

fn yes_or_no(key: &str, value: &str) -> Result<bool, ApiError> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(ApiError::invalid(format!("`{key}` is true or false, not `{value}`"))),
    }
}

fn origin(word: &str) -> Result<Origin, ApiError> {
    let words = Origin::ALL.map(Origin::word);
    Origin::ALL.into_iter().find(|origin| origin.word() == word).ok_or_else(|| {
        ApiError::invalid(format!("`{word}` is not an origin: there are {}", words.join(", ")))
    })
}

/// Bytes of a document, which count until this is dropped.
pub(super) struct Document {
    pub bytes: Vec<u8>,
    /// Held, not read.
    pub _room: OwnedSemaphorePermit,
}

/// Room for the documents that are read at a time, in KiB.
#[derive(Clone)]
pub(super) struct Room {
    free: Arc<Semaphore>,
    bounds: Bounds,
}

impl Room {
    pub fn new(bounds: Bounds) -> Self {
        Self { free: Arc::new(Semaphore::new(bounds.documents >> 10)), bounds }
    }

    /// Reads a document, once there is room for it, within the time that clients have.
    pub async fn read(&self, body: Body) -> Result<Document, ApiError> {
        let most = self.bounds.document;
        let said = body.size_hint();
        if said.lower() > most as u64 {
            return Err(ApiError::too_large(most));
        }
        // Of one that does not say how long it is, as much as it may be.
        let length = said.upper().map_or(most, |upper| upper as usize).min(most);
        let read = async {
            let room = self.free.clone().acquire_many_owned((length >> 10) as u32 + 1).await;
            let _room = room.map_err(|_| ApiError::client_is_slow())?;
            match Limited::new(body, most).collect().await {
                Ok(body) => Ok(Document { bytes: body.to_bytes().into(), _room }),
                Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(most)),
                Err(_) => Err(ApiError::invalid("the document broke off")),
            }
        };
        timeout(self.bounds.body, read).await.unwrap_or_else(|_| Err(ApiError::client_is_slow()))
    }
}
