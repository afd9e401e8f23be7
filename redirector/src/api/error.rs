//! Why a request was not done.

use std::path::Path;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::document;
use crate::{
    agent::command::{Ended, Refused, Unexplained},
    config::{Error, Errors},
    explain::Question,
    routes::{Refusal, Tie},
};

/// An error as a client gets it.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    body: Body,
}

#[derive(Clone, Debug, Serialize)]
struct Body {
    /// One word for programs.
    code: &'static str,
    /// One line for people.
    message: String,
    /// Everything that is wrong.
    details: Vec<Detail>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Default, Serialize)]
struct Detail {
    message: String,
    /// Names of the routes that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<String>,
    /// Where it stands in the request's document, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// The character in that line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
}

#[derive(Serialize)]
struct Document {
    version: u32,
    error: Body,
}

/// What the document of a request is called. People see its line and column alone.
pub(super) fn document_path() -> &'static Path {
    Path::new("request")
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, body: Body { code, message: message.into(), details: Vec::new() } }
    }

    fn details(mut self, details: impl IntoIterator<Item = Detail>) -> Self {
        self.body.details = details.into_iter().collect();
        self
    }

    fn about(self, names: &[String]) -> Self {
        let message = self.body.message.clone();
        self.details([Detail { message, routes: names.to_vec(), ..Detail::default() }])
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    pub fn not_permitted(who: &str) -> Self {
        let message = format!("{who} may not: root may, the agent's own user, and the group of the socket");
        Self::new(StatusCode::FORBIDDEN, "not-permitted", message)
    }

    pub fn no_such_path(path: &str) -> Self {
        let message = format!("there is no {path}: docs/openapi.json has what there is");
        Self::new(StatusCode::NOT_FOUND, "not-found", message)
    }

    pub fn no_such_method(method: &str, path: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", format!("{path} has no {method}"))
    }

    pub fn no_such_routes(names: &[String]) -> Self {
        let message = match names {
            [name] => format!("there is no route {name}"),
            names => format!("there are no routes {}", names.join(", ")),
        };
        Self::new(StatusCode::NOT_FOUND, "not-found", message).about(names)
    }

    pub fn too_large(most: usize) -> Self {
        let message = format!("the document is longer than {} MiB", most >> 20);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message)
    }

    pub fn too_many_watch(most: u32) -> Self {
        let message = format!("{most} clients watch already, and no more can");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", message)
    }

    pub fn client_is_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "timed-out", "the document did not arrive in time")
    }

    pub fn agent_is_slow() -> Self {
        let message =
            "the agent did not answer in time: what was asked may be done yet, so look before you ask again";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timed-out", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        document::json(self.status, &Document { version: 1, error: self.body })
    }
}

impl From<Ended> for ApiError {
    fn from(_: Ended) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ended", "the agent ends")
    }
}

/// What is wrong with a document.
impl From<Errors> for ApiError {
    fn from(errors: Errors) -> Self {
        let details = errors.errors.iter().map(|error| match error {
            Error::Wrong { place, message, .. } => Detail {
                message: message.clone(),
                line: Some(place.line),
                column: Some(place.column),
                ..Detail::default()
            },
            Error::Unreadable { .. } => Detail { message: error.to_string(), ..Detail::default() },
        });
        let more = (errors.more > 0)
            .then(|| Detail { message: format!("and {} more", errors.more), ..Detail::default() });
        let count = errors.errors.len() + errors.more;
        let message = match &errors.errors[..] {
            [Error::Wrong { message, .. }] => message.clone(),
            _ => format!("the document has {count} errors"),
        };
        Self::invalid(message).details(details.chain(more))
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unknown(names) => Self::no_such_routes(&names),
            Refused::Exists(names) => {
                let message = match &names[..] {
                    [name] => format!("there is a route {name} already"),
                    names => format!("there are routes {} already", names.join(", ")),
                };
                Self::new(StatusCode::CONFLICT, "exists", message).about(&names)
            }
            Refused::Routes(refusals) => {
                let message = match &refusals[..] {
                    [refusal] => refusal.to_string(),
                    refusals => format!("there are {} reasons against it", refusals.len()),
                };
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", message)
                    .details(refusals.iter().map(Detail::from))
            }
            Refused::Host(message) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "host", message),
            Refused::Kernel(message) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "kernel", message),
        }
    }
}

/// Why a connection was not explained.
pub(super) fn unexplained(question: &Question, error: Unexplained) -> ApiError {
    match error {
        Unexplained::NoInterface(names) => {
            let message = format!("there is no interface {}: there are {names}", question.interface);
            ApiError::new(StatusCode::NOT_FOUND, "not-found", message)
        }
        Unexplained::Kernel(message) => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "kernel", message),
    }
}

/// What is wrong with the files.
pub(super) fn files(message: String) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
}

impl From<&Refusal> for Detail {
    fn from(refusal: &Refusal) -> Self {
        let routes = match refusal {
            Refusal::Route { name, .. } | Refusal::SameName { name, .. } => vec![name.clone()],
            Refusal::Tie(Tie { names, .. }) => names.to_vec(),
            Refusal::Limit { .. } => Vec::new(),
        };
        Self { message: refusal.to_string(), routes, ..Self::default() }
    }
}
