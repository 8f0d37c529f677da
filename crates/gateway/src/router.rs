//! Which route takes a request: exact segments before parameters, parameters before the rest.
//!
//! Pure: paths and methods in, the index of a route out.

use std::{collections::BTreeMap, fmt};

use http::Method;

use crate::{Error, config::Route};

/// Finds routes. What it answers is a route's place in the list that it was made of.
#[derive(Clone)]
pub struct Router {
    paths: matchit::Router<Targets>,
    /// Paths that end in `{*rest}`. They stand apart, for next to a parameter they would be ambiguous.
    rests: matchit::Router<Targets>,
}

type Targets = Vec<(Method, usize)>;

/// What there is at a path for a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// The route of that place in the list.
    Found(usize),
    /// There are routes at that path, and none takes the method.
    MethodNotAllowed {
        /// What they take, for the `Allow` header.
        allow: String,
    },
    /// No route has that path.
    NotFound,
}

impl Router {
    /// Makes the router of `routes`.
    ///
    /// # Errors
    /// [`Error::Path`], [`Error::DuplicateRoute`] and [`Error::AmbiguousPath`].
    pub fn new(routes: &[Route]) -> Result<Self, Error> {
        let mut by_path = BTreeMap::<&str, Targets>::new();
        for (index, route) in routes.iter().enumerate() {
            check_path(&route.path)?;
            let targets = by_path.entry(&route.path).or_default();
            for method in &route.methods {
                if targets.iter().any(|(taken, _)| taken == method) {
                    return Err(Error::DuplicateRoute {
                        method: method.to_string(),
                        path: route.path.clone(),
                    });
                }
                targets.push((method.clone(), index));
            }
        }
        let mut router = Self {
            paths: matchit::Router::new(),
            rests: matchit::Router::new(),
        };
        for (path, targets) in by_path {
            let is_rest = path.contains("{*");
            let paths = if is_rest {
                &mut router.rests
            } else {
                &mut router.paths
            };
            paths
                .insert(path, targets)
                .map_err(|error| refusal(path, error))?;
        }
        Ok(router)
    }

    /// The route of `method` and `path`. HEAD goes where GET goes, unless a route takes it.
    pub fn find(&self, method: &Method, path: &str) -> Match {
        let Ok(found) = self.paths.at(path).or_else(|_| self.rests.at(path)) else {
            return Match::NotFound;
        };
        let target = |wanted: &Method| {
            let mut targets = found.value.iter();
            targets.find(|(taken, _)| taken == wanted)
        };
        let or_get = || {
            (method == Method::HEAD)
                .then(|| target(&Method::GET))
                .flatten()
        };
        match target(method).or_else(or_get) {
            Some((_, index)) => Match::Found(*index),
            None => Match::MethodNotAllowed {
                allow: allow(found.value),
            },
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").finish_non_exhaustive()
    }
}

fn allow(targets: &Targets) -> String {
    let takes = |wanted: &Method| targets.iter().any(|(taken, _)| taken == wanted);
    let mut names: Vec<_> = targets.iter().map(|(method, _)| method.as_str()).collect();
    if takes(&Method::GET) && !takes(&Method::HEAD) {
        names.push("HEAD");
    }
    names.sort_unstable();
    names.join(", ")
}

fn check_path(path: &str) -> Result<(), Error> {
    let refuse = |reason: &str| {
        Err(Error::Path {
            path: path.to_owned(),
            reason: reason.to_owned(),
        })
    };
    if !path.starts_with('/') {
        return refuse("it must begin with `/`");
    }
    if path.contains(['?', '#']) {
        return refuse("it must have neither a query nor a fragment");
    }
    if path.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return refuse("it must be of printable ASCII without blanks; write others as %XX");
    }
    Ok(())
}

fn refusal(path: &str, error: matchit::InsertError) -> Error {
    match error {
        matchit::InsertError::Conflict { with } => Error::AmbiguousPath {
            path: path.to_owned(),
            with,
        },
        error => Error::Path {
            path: path.to_owned(),
            reason: error.to_string(),
        },
    }
}
