//! What is to hold for whatever bytes: each says what is said of an input, and panics if a claim does not hold.

use std::{fs, path::Path};

use redirector::{
    config::{self, Error, Errors, Syntax},
    routes::Route,
};

use crate::support::files::Directory;

/// The text of a route, as the command line has it.
pub fn route(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    match text.parse::<Route>() {
        Ok(route) => {
            let canonical = route.to_string();
            let again: Route =
                canonical.parse().unwrap_or_else(|error| panic!("{canonical:?} is not read again: {error}"));
            assert_eq!(again, route, "{canonical:?}");
            assert_eq!(again.to_string(), canonical);
            "a route".to_owned()
        }
        Err(error) => {
            let column = error.column().expect("an error in a text has a place");
            assert!((1..=text.chars().count() + 1).contains(&column), "column {column}: {error}");
            assert!(!error.message().is_empty());
            error.message().to_owned()
        }
    }
}

/// A document of routes: the body of a request, or a file for `route apply`.
pub fn routes(input: &[u8]) -> String {
    match config::routes(Path::new("document"), input.to_vec(), Syntax::of(input)) {
        Ok((routes, _)) => {
            assert_written_back(&routes);
            format!("{} routes", routes.len().min(3))
        }
        Err(errors) => located(input, &errors),
    }
}

/// A document of names: the body of a request.
pub fn names(input: &[u8]) -> String {
    match config::names(Path::new("document"), input.to_vec()) {
        Ok(names) => {
            let text = serde_json::json!({ "version": 1, "names": names }).to_string();
            let again =
                config::names(Path::new("again"), text.into_bytes()).expect("the same names are read again");
            assert_eq!(again, names);
            format!("{} names", names.len().min(3))
        }
        Err(errors) => located(input, &errors),
    }
}

/// A configuration file.
pub fn configuration(directory: &Directory, input: &[u8]) -> String {
    let path = directory.path().join("a.toml");
    fs::write(&path, input).expect("write a file");
    match config::read(Some(&path)) {
        Ok(settings) => {
            for routes in settings.routes.values() {
                assert_written_back(routes);
            }
            "a configuration".to_owned()
        }
        Err(errors) => located(input, &errors),
    }
}

/// Routes are read as they are written.
fn assert_written_back(routes: &[Route]) {
    for route in routes {
        let canonical = route.to_string();
        let again: Route =
            canonical.parse().unwrap_or_else(|error| panic!("{canonical:?} is not read again: {error}"));
        assert_eq!(again, *route, "{canonical:?}");
    }
    let bytes = config::write_routes(routes).expect("routes are written");
    let (again, _) = config::routes(Path::new("again"), bytes, Syntax::Json)
        .unwrap_or_else(|errors| panic!("what was written is not read again: {errors}"));
    assert_eq!(again, routes);
}

/// Each error has a place in the text, on one line, and what is shown leaves the terminal alone.
fn located(input: &[u8], errors: &Errors) -> String {
    assert!(!errors.errors.is_empty() && errors.errors.len() <= 1000);
    let text = String::from_utf8_lossy(input);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines: Vec<&str> = text.split('\n').collect();
    for error in &errors.errors {
        let Error::Wrong { place, message, .. } = error else { panic!("{error}") };
        let line =
            lines.get(place.line.wrapping_sub(1)).unwrap_or_else(|| panic!("line {}: {error}", place.line));
        assert!((1..=line.chars().count() + 1).contains(&place.column), "column {}: {error}", place.column);
        assert!(!message.contains('\n'), "{message:?}");
    }
    let shown = errors.to_string();
    let obeyed = shown.chars().find(|character| character.is_control() && *character != '\n');
    assert!(obeyed.is_none(), "{obeyed:?} in {shown:?}");
    match &errors.errors[0] {
        Error::Wrong { message, .. } => message.clone(),
        error => panic!("{error}"),
    }
}
