//! Events and commands handled and published.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family},
};

use super::{DurationFamily, Metrics, Named, durations, observe};

/// What became of a message that was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Handled: its effects are committed.
    Handled,
    /// Delivered before: its effects were there already.
    Duplicate,
    /// It waits in the service's database, for an earlier one of its key.
    Held,
    /// The handler failed; it is tried again.
    Retried,
    /// Given up: it waits among the dead letters.
    DeadLettered,
    /// It was too late to handle it.
    Expired,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        let word = match self {
            Self::Handled => "handled",
            Self::Duplicate => "duplicate",
            Self::Held => "held",
            Self::Retried => "retried",
            Self::DeadLettered => "dead-lettered",
            Self::Expired => "expired",
        };
        EncodeLabelValue::encode(&word, encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Processed {
    messaging_destination_name: String,
    messaging_consumer_group_name: String,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sent {
    messaging_destination_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    messaging_operation_name: &'static str,
    error_type: &'static str,
}

pub(super) struct Families {
    processed: DurationFamily<Processed>,
    consumed: Family<Processed, Counter>,
    sent: Family<Sent, Counter>,
    operations: DurationFamily<Operation>,
}

impl Families {
    pub(super) fn register(registry: &mut Named) -> Self {
        Self {
            processed: registry.own(
                "messaging_process_duration_seconds",
                "Duration of handling a delivered message, its commit included",
                durations(),
            ),
            consumed: registry.own(
                "messaging_client_consumed_messages",
                "Messages delivered, by what became of them",
                Family::default(),
            ),
            sent: registry.own(
                "messaging_client_sent_messages",
                "Messages that the bus accepted",
                Family::default(),
            ),
            operations: registry.own(
                "messaging_client_operation_duration_seconds",
                "Duration of handing a batch of messages to the bus",
                durations(),
            ),
        }
    }
}

impl Metrics {
    /// A message of type `kind` was delivered to `group` and dealt with.
    pub fn message_processed(&self, kind: &str, group: &str, outcome: Outcome, elapsed: Duration) {
        let labels = Processed {
            messaging_destination_name: kind.to_owned(),
            messaging_consumer_group_name: group.to_owned(),
            outcome,
        };
        let families = &self.inner.messaging;
        families.consumed.get_or_create(&labels).inc();
        observe(&families.processed, &labels, elapsed);
    }

    /// The bus accepted a message of type `kind`.
    pub fn message_sent(&self, kind: &str) {
        let labels = Sent {
            messaging_destination_name: kind.to_owned(),
        };
        self.inner.messaging.sent.get_or_create(&labels).inc();
    }

    /// A batch was handed to the bus, which accepted it or failed with a kind of error that is a fixed
    /// word.
    pub fn batch_published(&self, result: Result<(), &'static str>, elapsed: Duration) {
        let labels = Operation {
            messaging_operation_name: "publish",
            error_type: result.err().unwrap_or_default(),
        };
        observe(&self.inner.messaging.operations, &labels, elapsed);
    }
}
