//! Publishing in a transaction: the event is told if, and only if, the transaction commits (G1).

use data::{Transaction, outbox};
use env::RequestContext;
use telemetry::propagation;

use crate::{CloudEvent, Error, Event, Result};

/// Publishes events when a transaction commits.
///
/// They go into the outbox of the service's database with everything else that the transaction writes; the
/// [relay](crate::relay) brings them to the bus in the order in which they were published.
///
/// What caused the event is filled in: the source is the service whose database it is, the correlation and
/// causation ids are those of the current [`RequestContext`], the trace is that of the current span.
pub trait Publish {
    /// Publishes `event`.
    ///
    /// # Errors
    /// [`Error::Encode`], [`Error::TooLarge`]; [`Error::Undeclared`] where the service says what it publishes, and
    /// this is not among it.
    fn publish<E: Event>(&mut self, event: E) -> Result<()>;

    /// Publishes what has no type of its own here. What the envelope says already stays as it is.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and [`Error::InvalidEnvelope`].
    fn publish_raw(&mut self, event: CloudEvent) -> Result<()>;
}

impl Publish for Transaction {
    fn publish<E: Event>(&mut self, event: E) -> Result<()> {
        let envelope = CloudEvent::of(&event)?;
        if envelope
            .dataschema
            .as_deref()
            .is_some_and(|schema| !self.may_publish(schema))
        {
            return Err(Error::Undeclared {
                service: self.owner().to_owned(),
                kind: E::TYPE,
                version: E::VERSION,
            });
        }
        self.publish_raw(envelope)
    }

    fn publish_raw(&mut self, event: CloudEvent) -> Result<()> {
        let event = complete(event, self.owner());
        let payload = event.to_json()?;
        // Here, where everything can still be undone, and not when the bus refuses it.
        let (size, limit) = (payload.len(), self.message_limit());
        if size > limit {
            return Err(Error::TooLarge {
                kind: event.kind,
                id: event.id,
                size,
                limit,
            });
        }
        self.enqueue(outbox::Message {
            key: event.key().to_owned(),
            id: event.id,
            topic: event.kind,
            payload,
        });
        Ok(())
    }
}

/// Says of the event what it does not yet say of its origin.
fn complete(mut event: CloudEvent, source: &str) -> CloudEvent {
    if event.source.is_empty() {
        event.source = source.to_owned();
    }
    let context = RequestContext::current();
    event.correlationid.get_or_insert(context.correlation_id);
    event.causationid = event.causationid.or(context.causation_id);
    event.traceparent = event.traceparent.or_else(propagation::traceparent);
    event
}
