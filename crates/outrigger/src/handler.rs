//! What the handlers of a service look like, and how they come to their [`Context`].
//!
//! Each is a trait of its own only because its future borrows the transaction, which a bound of `Fn` cannot
//! say. Write an `async fn`.

use data::Transaction;
use env::BoxError;
use saga::{Command, command};

use crate::Context;

/// `async fn(Context, &mut Transaction, E) -> Result<(), BoxError>`.
pub trait EventHandler<'a, E>: Clone + Send + Sync + 'static {
    /// What the handler does.
    type Future: Future<Output = Result<(), BoxError>> + Send + 'a;

    /// Starts it.
    fn handle(&self, ctx: Context, tx: &'a mut Transaction, event: E) -> Self::Future;
}

impl<'a, E, F, Fut> EventHandler<'a, E> for F
where
    F: Fn(Context, &'a mut Transaction, E) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'a,
{
    type Future = Fut;

    fn handle(&self, ctx: Context, tx: &'a mut Transaction, event: E) -> Fut {
        self(ctx, tx, event)
    }
}

/// `async fn(Context, &mut Transaction, C) -> Result<C::Reply, command::Error>`.
pub trait CommandHandler<'a, C: Command>: Clone + Send + Sync + 'static {
    /// What the handler does.
    type Future: Future<Output = Result<C::Reply, command::Error>> + Send + 'a;

    /// Starts it.
    fn handle(&self, ctx: Context, tx: &'a mut Transaction, command: C) -> Self::Future;
}

impl<'a, C, F, Fut> CommandHandler<'a, C> for F
where
    C: Command,
    F: Fn(Context, &'a mut Transaction, C) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<C::Reply, command::Error>> + Send + 'a,
{
    type Future = Fut;

    fn handle(&self, ctx: Context, tx: &'a mut Transaction, command: C) -> Fut {
        self(ctx, tx, command)
    }
}

/// `async fn(Context, &mut Transaction, C, P) -> Result<C::Reply, command::Error>`, where `P` was prepared.
pub trait PreparedHandler<'a, C: Command, P>: Clone + Send + Sync + 'static {
    /// What the handler does.
    type Future: Future<Output = Result<C::Reply, command::Error>> + Send + 'a;

    /// Starts it.
    fn handle(
        &self,
        ctx: Context,
        tx: &'a mut Transaction,
        command: C,
        prepared: P,
    ) -> Self::Future;
}

impl<'a, C, P, F, Fut> PreparedHandler<'a, C, P> for F
where
    C: Command,
    F: Fn(Context, &'a mut Transaction, C, P) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<C::Reply, command::Error>> + Send + 'a,
{
    type Future = Fut;

    fn handle(&self, ctx: Context, tx: &'a mut Transaction, command: C, prepared: P) -> Fut {
        self(ctx, tx, command, prepared)
    }
}

/// A handler with its context.
#[derive(Clone)]
pub(crate) struct Bound<H> {
    pub(crate) ctx: Context,
    pub(crate) handler: H,
}

impl<'a, E, H: EventHandler<'a, E>> events::Handler<'a, E> for Bound<H> {
    type Future = H::Future;

    fn handle(&self, tx: &'a mut Transaction, event: E) -> H::Future {
        self.handler.handle(self.ctx.clone(), tx, event)
    }
}

impl<'a, C: Command, H: CommandHandler<'a, C>> command::Handler<'a, C> for Bound<H> {
    type Future = H::Future;

    fn handle(&self, tx: &'a mut Transaction, command: C) -> H::Future {
        self.handler.handle(self.ctx.clone(), tx, command)
    }
}

impl<'a, C, P, H> command::PreparedHandler<'a, C, P> for Bound<H>
where
    C: Command,
    H: PreparedHandler<'a, C, P>,
{
    type Future = H::Future;

    fn handle(&self, tx: &'a mut Transaction, command: C, prepared: P) -> H::Future {
        self.handler.handle(self.ctx.clone(), tx, command, prepared)
    }
}
