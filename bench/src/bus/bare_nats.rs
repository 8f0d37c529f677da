//! The loop that one writes with `async-nats` alone: a stream, a pull consumer, publish, take, acknowledge. It keeps no
//! order by key, and writes nothing to a database.

use std::net::SocketAddr;

use async_nats::jetstream::{self, consumer::pull, message::PublishMessage};
use events::CloudEvent;
use futures::{StreamExt, TryStreamExt, stream};

use super::traffic::{Load, Measured, Meter, beside, event};
use crate::Result;

/// As many are on their way to the server at the same time, and are asked of it at once.
const IN_FLIGHT: usize = 256;

pub async fn measure(address: SocketAddr, name: &str, load: Load) -> Result<Measured> {
    let jetstream = jetstream::new(async_nats::connect(address.to_string()).await?);
    let config = jetstream::stream::Config {
        name: name.to_owned(),
        subjects: vec![format!("{name}.>")],
        ..jetstream::stream::Config::default()
    };
    let consumer = jetstream
        .create_stream(config)
        .await?
        .create_consumer(pull::Config {
            durable_name: Some("bench".to_owned()),
            ..pull::Config::default()
        })
        .await?;
    let mut deliveries = consumer
        .stream()
        .max_messages_per_batch(IN_FLIGHT)
        .messages()
        .await?;
    let meter = Meter::new(load);
    let arriving = meter.clone();
    let receives = async move {
        while let Some(delivery) = deliveries.next().await {
            let delivery = delivery?;
            let event = CloudEvent::from_json(&delivery.payload)?;
            delivery.ack().await?;
            arriving.came(&event.id);
        }
        Err("the server ended the deliveries".into())
    };
    let work = async {
        publish(&jetstream, name, &meter, load).await?;
        meter.measured().await
    };
    beside(work, receives).await
}

async fn publish(
    jetstream: &jetstream::Context,
    name: &str,
    meter: &Meter,
    load: Load,
) -> Result<()> {
    let subject = format!("{name}.changed");
    let start = env::instant();
    let in_flight = if load.is_steady() {
        load.count
    } else {
        IN_FLIGHT
    };
    stream::iter(0..load.count)
        .map(|number| {
            let subject = subject.clone();
            async move {
                load.due(start, number).await;
                let event = event(number)?;
                let message = PublishMessage::build()
                    .message_id(&event.id)
                    .payload(event.to_json()?.into());
                meter.sent(number);
                jetstream.send_publish(subject, message).await?.await?;
                Ok(())
            }
        })
        .buffer_unordered(in_flight)
        .try_collect()
        .await
}
