//! A step and its consequences, in one transaction.

use std::{collections::BTreeMap, time::Duration};

use data::{Timer, Transaction};
use env::{RequestContext, Timestamp};
use events::{CloudEvent, Publish, consumer::Observer};
use serde::{Deserialize, Serialize};
use telemetry::propagation;

use crate::{
    Definition, Error, Failure, Result, State, children,
    journal::{self, Entry},
    ledger::Ledger,
    local::{Commands, LocalCalls},
    run::Fresh,
    signals,
    step::{self, Effect, Expiry, Progress, Step},
    store::{self, Record, Taken},
    wire,
};

/// The kind of all timers of sagas.
pub(crate) const TIMERS: &str = "outrigger_saga";
/// The channel that a transaction wakes in which a saga comes to rest: ended, or parked.
pub(crate) const RESTED: &str = "outrigger_sagas";

/// What a service can do for its sagas.
#[derive(Clone, Default)]
pub(crate) struct Registry {
    /// Their functions, by name.
    pub(crate) definitions: BTreeMap<&'static str, Definition>,
    /// What it does in the transaction of a step.
    pub(crate) commands: Commands,
    /// Is told of each time that it did.
    pub(crate) observer: Option<Observer>,
}

/// What a timer is for.
#[derive(Serialize, Deserialize)]
struct Due {
    saga: String,
    /// The step whose time is over; `None` where it is that of the whole saga, given by whoever started it.
    seq: Option<u32>,
}

/// Starts a saga in `tx`: its first commands commit with it.
pub(crate) async fn start(
    tx: &mut Transaction,
    registry: &Registry,
    mut record: Record,
) -> Result<Progress> {
    if !store::insert(tx, &record).await? {
        return Err(Error::AlreadyStarted { id: record.id });
    }
    tracing::debug!(saga = record.saga, id = record.id, "saga started");
    if let Some(deadline) = record.deadline {
        set_timer(tx, &record.id, None, deadline)?;
    }
    let given = record.deadline;
    let progress = advance(tx, registry, &mut record, Vec::new(), 0).await?;
    // Otherwise the row says so already, which nobody else has seen yet.
    if progress != Progress::Running || record.deadline != given {
        store::update(tx, &record, &progress).await?;
    }
    Ok(progress)
}

/// Takes what is newly known of a saga into its journal, and the step that follows from it.
///
/// The saga's new state comes back, or `None` where nothing is new: a duplicate, an answer that comes too late, a saga
/// that has ended or was never here. All of that is harmless.
pub(crate) async fn hear(
    tx: &mut Transaction,
    registry: &Registry,
    id: &str,
    news: Entry,
) -> Result<Option<Progress>> {
    let Some(taken) = store::take(tx, id).await? else {
        tracing::warn!(id, ?news, "no such saga");
        return Ok(None);
    };
    let Taken {
        mut record,
        state,
        mut journal,
    } = taken;
    // What a child has completed, its parent can still have undone.
    let reverting = record
        .parent
        .as_ref()
        .is_some_and(|parent| parent.reverting)
        && matches!((state, &news), (State::Completed, Entry::Cancelled { .. }));
    if state.is_end() && !reverting {
        tracing::debug!(id, ?news, "came after the saga's end");
        return Ok(None);
    }
    if !journal::awaits(&journal, &news) {
        tracing::debug!(id, ?news, "nobody waits for this any more");
        return Ok(None);
    }
    if let Some(seq) = news.answers() {
        tx.cancel_timer(&timer_id(id, Some(seq)));
        if waits_for_signal(&journal, seq) {
            signals::give_up(tx, id, Some(seq)).await?;
        }
    }
    let known = journal.len();
    journal.push(news);
    let progress = advance(tx, registry, &mut record, journal, known).await?;
    store::update(tx, &record, &progress).await?;
    Ok(Some(progress))
}

/// What a timer of ours says.
pub(crate) fn read_timer(timer: &Timer) -> Result<(String, Entry)> {
    let due = serde_json::from_slice(&timer.payload);
    let Due { saga, seq } = due.map_err(|source| Error::Timer {
        id: timer.id.clone(),
        source,
    })?;
    let news = seq.map_or(Entry::Overdue, |seq| Entry::Elapsed { seq });
    Ok((saga, news))
}

/// Steps a saga whose journal is stored up to `known`, and writes what comes of it, but for how far it is then.
///
/// What a step asks for may be answered at once, by a [local call](crate::local) or a signal that was there before: then
/// another step follows.
async fn advance(
    tx: &mut Transaction,
    registry: &Registry,
    record: &mut Record,
    mut journal: Vec<Entry>,
    known: usize,
) -> Result<Progress> {
    let definition = registry.definitions.get(record.saga.as_str());
    let mut local = LocalCalls::new(&registry.commands, registry.observer.as_ref());
    let progress = loop {
        let (step, commands) = take_step(definition, record, &journal, tx.owner());
        let sent = step.effects.iter().filter(|effect| effect.is_sent());
        let mut answers = call(tx, record, &journal, sent.zip(commands), &mut local).await?;
        schedule(tx, &record.id, &step.effects, &answers)?;
        let known = journal.len();
        journal.extend(step.entries);
        stop_listening(tx, record, &journal, known).await?;
        for signal in signals::listen(tx, record, &step.effects).await? {
            if let Some(seq) = signal.answers() {
                tx.cancel_timer(&timer_id(&record.id, Some(seq)));
            }
            answers.push(signal);
        }
        if answers.is_empty() {
            break step.progress;
        }
        journal.extend(answers);
    };
    if State::of(&progress).is_end() {
        settle(tx, record, &journal).await?;
    }
    context(record)
        .scope(async { announce(tx, record, &progress) })
        .await?;
    store::append(tx, &record.id, known, &journal[known..])?;
    Ok(progress)
}

/// The step after `journal`, and the commands that it sends.
fn take_step(
    definition: Option<&Definition>,
    record: &mut Record,
    journal: &[Entry],
    service: &str,
) -> (Step, Vec<CloudEvent>) {
    let step = match definition {
        Some(definition) => step::step(definition, &record.input, journal, Fresh::draw()),
        None => Step::parked(format!(
            "the service has no saga `{}`: register its function",
            record.saga
        )),
    };
    for effect in &step.effects {
        if let Effect::Deadline { after, .. } = effect {
            record.deadline = earlier(record.deadline, Some(later(*after)));
        }
    }
    match commands(record, &step.effects, service) {
        Ok(commands) => (step, commands),
        // No retry would help, so it must not hold up the message that led here.
        Err(error) => {
            let parked = Step::parked(format!("a command cannot be sent: {error}"));
            (parked, Vec::new())
        }
    }
}

/// Sends `commands`, but for those that are done here; what is answered to these.
async fn call(
    tx: &mut Transaction,
    record: &Record,
    journal: &[Entry],
    commands: impl Iterator<Item = (&Effect, CloudEvent)>,
    local: &mut LocalCalls<'_>,
) -> Result<Vec<Entry>> {
    let mut answers = Vec::new();
    // None overtakes one that this step sends to the same service.
    let own = wire::commands_of(tx.owner());
    let mut in_turn = true;
    for (effect, mut command) in commands {
        let answer = match in_turn {
            true => {
                let seq = effect.seq();
                local.make(tx, record, journal, seq, &command).await?
            }
            false => None,
        };
        match answer {
            Some(answer) => answers.push(answer),
            None => {
                in_turn &= !command.kind.starts_with(&own);
                // Its time begins now: local calls may have taken some.
                command.expirytime = expiry(record, effect);
                context(record)
                    .scope(async { tx.publish_raw(command) })
                    .await?;
            }
        }
    }
    Ok(answers)
}

/// What a saga sends belongs to the request that it was started for.
fn context(record: &Record) -> RequestContext {
    RequestContext {
        correlation_id: record.correlation_id.clone(),
        ..RequestContext::current()
    }
}

/// Leaves the signals to others that the function has dropped its waits for since `known`.
async fn stop_listening(
    tx: &mut Transaction,
    record: &Record,
    journal: &[Entry],
    known: usize,
) -> Result<()> {
    for entry in &journal[known..] {
        if let Entry::Left { seq } = entry
            && waits_for_signal(journal, *seq)
        {
            tx.cancel_timer(&timer_id(&record.id, Some(*seq)));
            signals::give_up(tx, &record.id, Some(*seq)).await?;
        }
    }
    Ok(())
}

fn waits_for_signal(journal: &[Entry], seq: u32) -> bool {
    let waited = |entry: &Entry| matches!(entry, Entry::Waited { seq: at, .. } if *at == seq);
    journal.iter().any(waited)
}

/// Nothing is to come for a saga that has ended.
async fn settle(tx: &mut Transaction, record: &Record, journal: &[Entry]) -> Result<()> {
    let ledger = Ledger::of(journal);
    for seq in ledger.timed() {
        tx.cancel_timer(&timer_id(&record.id, Some(seq)));
    }
    if record.deadline.is_some() {
        tx.cancel_timer(&timer_id(&record.id, None));
    }
    if ledger.listens() {
        signals::give_up(tx, &record.id, None).await?;
    }
    Ok(())
}

/// The commands among `effects`, once it is certain that all of them can be sent.
fn commands(record: &Record, effects: &[Effect], starter: &str) -> events::Result<Vec<CloudEvent>> {
    let (id, mut commands) = (&record.id, Vec::new());
    for effect in effects {
        let mut command = match effect {
            Effect::Send {
                seq, topic, data, ..
            } => wire::command(id, *seq, topic, data.clone(), starter),
            Effect::Start {
                seq, saga, input, ..
            } => children::start(id, *seq, saga, input, starter),
            Effect::Revert { seq, of, .. } => children::revert(id, *seq, *of, starter),
            Effect::Listen { .. } | Effect::Wake { .. } | Effect::Deadline { .. } => continue,
        };
        command.expirytime = expiry(record, effect);
        starter.clone_into(&mut command.source);
        command.traceparent = trace(record);
        command.to_json()?;
        commands.push(command);
    }
    Ok(commands)
}

/// When what is sent need not be done any more.
fn expiry(record: &Record, effect: &Effect) -> Option<Timestamp> {
    let (expiry, limit) = match effect {
        Effect::Send { expiry, limit, .. } => (expiry, Some(*limit)),
        Effect::Start { expiry, limit, .. } => (expiry, *limit),
        _ => return None,
    };
    let limit = limit.map(later);
    match expiry {
        Expiry::Never => None,
        Expiry::Limit => limit,
        Expiry::Deadline => earlier(record.deadline, limit),
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// What does not fit into a calendar never comes.
fn later(by: Duration) -> Timestamp {
    env::now().saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Sets the timers of what is not answered yet.
fn schedule(tx: &mut Transaction, id: &str, effects: &[Effect], answers: &[Entry]) -> Result<()> {
    let open = |(seq, _): &(u32, Duration)| !answers.iter().any(|it| it.answers() == Some(*seq));
    let mut timers = effects.iter().filter_map(Effect::timer).filter(open);
    timers.try_for_each(|(seq, after)| set_timer(tx, id, Some(seq), later(after)))
}

fn set_timer(tx: &mut Transaction, id: &str, seq: Option<u32>, due: Timestamp) -> Result<()> {
    let of = Due {
        saga: id.to_owned(),
        seq,
    };
    let payload = serde_json::to_vec(&of).map_err(|source| Error::Encode {
        id: id.to_owned(),
        source,
    })?;
    let timer = Timer {
        id: timer_id(id, seq),
        kind: TIMERS.to_owned(),
        due,
        payload,
    };
    tx.schedule(timer);
    Ok(())
}

fn timer_id(id: &str, seq: Option<u32>) -> String {
    match seq {
        Some(seq) => format!("{TIMERS}/{id}/{seq}"),
        None => format!("{TIMERS}/{id}/deadline"),
    }
}

/// Tells the world of the end of a saga, and those who wait for it.
fn announce(tx: &mut Transaction, record: &Record, progress: &Progress) -> Result<()> {
    let Record { id, saga, .. } = record;
    let (what, failure): (_, Option<&Failure>) = match progress {
        Progress::Running => return Ok(()),
        Progress::Compensating(failure) => {
            tracing::info!(saga, id, ?failure, "saga is compensating");
            return Ok(());
        }
        Progress::Parked(reason) => {
            tracing::error!(
                saga,
                id,
                reason,
                "saga is parked: look at it, and resume it"
            );
            tx.notify(RESTED);
            return Ok(());
        }
        Progress::Completed => (State::Completed, None),
        Progress::Compensated(failure) => (State::Compensated, Some(failure)),
    };
    tracing::info!(saga, id, %progress, "saga ended");
    tx.notify(RESTED);
    let kind = end_topic(tx.owner(), what);
    let data = serde_json::json!({ "sagaId": id, "saga": saga, "failure": failure });
    let mut event = CloudEvent::new(kind, id.as_str(), data);
    event.traceparent = trace(record);
    tx.publish_raw(event)?;
    if let Some(parent) = &record.parent {
        children::report(tx, parent, failure)?;
    }
    Ok(())
}

/// The trace to go on with: that of the message which is handled, or else that in which the saga was started.
fn trace(record: &Record) -> Option<String> {
    propagation::traceparent().or_else(|| record.traceparent.clone())
}

/// The type of the event that says that a saga of `service` has ended so:
///
/// ```
/// # use outrigger_saga as saga;
/// # use saga::State;
/// assert_eq!(saga::end_topic("order-service", State::Completed), "order.saga.completed");
/// assert_eq!(saga::end_topic("order-archive-service", State::Compensated), "order-archive.saga.compensated");
/// ```
pub fn end_topic(service: &str, end: State) -> String {
    let domain = service.strip_suffix("-service").unwrap_or(service);
    format!("{domain}.saga.{end}")
}
