//! The bus alone: published, taken, acknowledged.

use std::sync::Arc;

use events::Bus;
use futures::future;

use super::traffic::{Load, Measured, Meter, beside, event};
use crate::Result;

/// As many as a relay sends at once.
const BATCH: usize = 256;
/// As many as a consumer handles at once.
const TAKEN: usize = 64;

pub async fn measure(bus: Arc<dyn Bus>, load: Load) -> Result<Measured> {
    let member = bus.subscribe("bench", &["account.*".to_owned()]).await?;
    let meter = Meter::new(load);
    let arriving = meter.clone();
    let receives = async move {
        loop {
            let taken = member.next(TAKEN).await?;
            // At the same time, as a consumer does.
            let settling = taken.iter().map(async |delivery| {
                member.ack(delivery).await?;
                arriving.came(&delivery.event.id);
                Ok::<_, crate::Error>(())
            });
            future::try_join_all(settling).await?;
        }
    };
    let work = async {
        publish(&bus, &meter, load).await?;
        meter.measured().await
    };
    beside(work, receives).await
}

async fn publish(bus: &Arc<dyn Bus>, meter: &Meter, load: Load) -> Result<()> {
    let numbers: Vec<usize> = (0..load.count).collect();
    if !load.is_steady() {
        for batch in numbers.chunks(BATCH) {
            let events = batch.iter().map(|number| event(*number));
            let events = events.collect::<Result<_>>()?;
            batch.iter().for_each(|number| meter.sent(*number));
            bus.publish(events).await?;
        }
        return Ok(());
    }
    let start = env::instant();
    let sending = numbers.into_iter().map(|number| async move {
        load.due(start, number).await;
        meter.sent(number);
        Ok(bus.publish(vec![event(number)?]).await?)
    });
    future::try_join_all(sending).await.map(|_| ())
}
