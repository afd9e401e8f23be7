//! Texts from users, spoilt in every way: routes of the command line, documents of the API, configuration files.
//!
//! Of whatever bytes: nothing panics, nothing runs long, what is wrong is said with its place, and what is accepted is
//! written back as it was. Inputs are made of a corpus of valid texts (`corpus`), which grows by every input of which
//! something new is said (`engine`). With `--soak` fifty times as many are tried.

mod corpus;
mod engine;
#[path = "../support/mod.rs"]
mod support;
mod targets;

use engine::Engine;
use support::files::Directory;

#[test]
fn route_texts() {
    Engine::new("a route", corpus::routes(), corpus::ROUTE_WORDS).try_all(60_000, targets::route);
}

#[test]
fn documents_of_routes() {
    let engine = Engine::new("a document of routes", corpus::documents(), corpus::DOCUMENT_WORDS);
    engine.try_all(15_000, targets::routes);
}

#[test]
fn documents_of_names() {
    let engine = Engine::new("a document of names", corpus::names(), corpus::DOCUMENT_WORDS);
    engine.try_all(30_000, targets::names);
}

#[test]
fn configuration_files() {
    let directory = Directory::new();
    let engine = Engine::new("a configuration", corpus::configurations(), corpus::DOCUMENT_WORDS);
    engine.try_all(4_000, |input| targets::configuration(&directory, input));
}
