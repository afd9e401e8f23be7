//! A route that is written as JSON is read as the same route.

use std::path::Path;

use proptest::prelude::*;

use crate::{
    config::{self, Syntax},
    routes::{Route, random_route},
};

proptest! {
    #[test]
    fn json_of_a_route_is_read_as_the_route(routes in proptest::collection::vec(random_route(), 1..5)) {
        let mut routes = routes;
        routes.sort_by(|a, b| a.name.cmp(&b.name));
        routes.dedup_by(|a, b| a.name == b.name);
        let bytes = config::write_routes(&routes).expect("it is written");
        let (read, _) = config::routes(Path::new("a"), bytes.clone(), Syntax::Json)
            .unwrap_or_else(|errors| panic!("{errors}"));
        prop_assert_eq!(&read, &routes);
        let again = config::write_routes(&read).expect("it is written");
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn whatever_the_bytes_they_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = config::routes(Path::new("a"), bytes, Syntax::Json);
    }

    #[test]
    fn a_document_with_changes_is_read_or_refused_with_places(
        at in any::<proptest::sample::Index>(), count in 0_usize..6, instead in "[\\PC\"\\[\\]{}:,0-9]{0,4}",
    ) {
        let routes: Vec<Route> = ["web:10.0.0.0/8:80,90-91=proxy:15001 from 10.0.0.1 else reset", "9=interface:eth1 via 10.0.0.1"]
            .map(|text| text.parse().expect("a route")).into();
        let mut bytes = config::write_routes(&routes).expect("it is written");
        let at = at.index(bytes.len());
        let end = (at + count).min(bytes.len());
        bytes.splice(at..end, instead.bytes());
        if let Err(errors) = config::routes(Path::new("a"), bytes, Syntax::Json) {
            prop_assert!(!errors.errors.is_empty());
            for error in errors.errors {
                prop_assert!(error.to_string().starts_with("a:1:"), "{}", error);
            }
        }
    }
}
