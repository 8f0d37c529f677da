//! The function of a saga, by the name under which it is stored.

use std::{fmt, future::Future, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, Saga};

/// What a saga starts from.
pub trait Input: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name of the saga, in kebab case: `place-order`. Sagas under way are known by it, so it must stay.
    const SAGA: &'static str;
}

/// What a saga's function comes to.
pub(crate) type Running = BoxFuture<'static, Result<(), Failure>>;

type Start = dyn Fn(Saga, &str) -> serde_json::Result<Running> + Send + Sync;

/// A saga's function, its types forgotten.
#[derive(Clone)]
pub struct Definition {
    name: &'static str,
    start: Arc<Start>,
}

impl Definition {
    /// Of an `async fn(Saga, I) -> Result<(), Failure>`.
    ///
    /// The function cannot bring anything along, such as a database or a client: it is run again and again, and what
    /// it does by itself would be done again and again. So this does not compile:
    ///
    /// ```compile_fail
    /// # use outrigger_saga as saga;
    /// # use saga::{Definition, Failure, Input, Saga};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Order;
    /// # impl Input for Order { const SAGA: &'static str = "place-order"; }
    /// let db = std::sync::Arc::new("a connection");
    /// Definition::of(move |saga: Saga, order: Order| {
    ///     let db = db.clone();
    ///     async move { drop((saga, order, db)); Ok::<(), Failure>(()) }
    /// });
    /// ```
    ///
    /// And without what it brings along, it does:
    ///
    /// ```
    /// # use outrigger_saga as saga;
    /// # use saga::{Definition, Failure, Input, Saga};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Order;
    /// # impl Input for Order { const SAGA: &'static str = "place-order"; }
    /// Definition::of(move |saga: Saga, order: Order| {
    ///     async move { drop((saga, order)); Ok::<(), Failure>(()) }
    /// });
    /// ```
    pub fn of<I, F, Fut>(function: F) -> Self
    where
        I: Input,
        F: Fn(Saga, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        const {
            assert!(
                size_of::<F>() == 0,
                "a saga's function brings nothing along: what talks to the outside belongs into the handler of a \
                 command, and what the saga is about into its input"
            );
        }
        let start = move |saga: Saga, input: &str| {
            let input = serde_json::from_str(input)?;
            Ok(function(saga, input).boxed())
        };
        Self {
            name: I::SAGA,
            start: Arc::new(start),
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn start(&self, saga: Saga, input: &str) -> serde_json::Result<Running> {
        (self.start)(saga, input)
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Definition").field(&self.name).finish()
    }
}
