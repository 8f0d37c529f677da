//! What the platform promises of every system, looked for once it is at rest: what no invariant of its own can see.

use std::collections::{BTreeMap, BTreeSet};

use discovery::Registry;
use outrigger::{GatewayClient, Inspection, Service, data, http::StatusCode, messages::Message};

use super::{BUS, journals, run::Run, seen::Handled};
use crate::{
    Recorder,
    history::{effects, order},
};

type Found = Result<(), String>;

/// Looks for all of it, and says what was not as it must be.
pub(super) async fn check(run: &Run, view: &Inspection) {
    let handled = run.seen.handled();
    let found = [
        ("no message is lost (G2)", nothing_lost(run, view).await),
        (
            "a message takes effect once (G3)",
            nothing_is_said_twice(run).and(at_most_once(&handled)),
        ),
        (
            "events of one key are handled in order (G4)",
            in_order(run, view, &handled).await,
        ),
        ("undoing is in reverse (G5)", undone(run, view).await),
        ("streams have no gaps (G6)", no_gaps(run, view).await),
        (
            "who may have been heard is not asked again (G3)",
            asked_once(run),
        ),
        ("every service is in rotation (G7)", in_rotation(run)),
        ("nobody calls without a token (G10)", closed(run).await),
    ];
    for (rule, found) in found {
        run.checks.set(run.checks.get() + 1);
        if let Err(found) = found {
            run.violated(rule, found);
        }
    }
}

/// What a service has committed to say is on the bus, and what is on the bus for a service it has handled.
async fn nothing_lost(run: &Run, view: &Inspection) -> Found {
    const LOG: &str = "SELECT type, id FROM log";
    const OUTBOX: &str = "SELECT topic, id FROM outrigger_outbox WHERE refused IS NULL";
    // A second handler of a type is `service/type#2`; a row of the service alone says that a retry has it, and is no end.
    const INBOX: &str = "SELECT consumer, message_id FROM outrigger_inbox";
    let log: BTreeSet<_> = pairs(view, BUS, LOG).await?.into_iter().collect();
    for service in run.system.services() {
        let (name, messages) = (service.name(), service.declared_messages());
        let outbox = pairs(view, name, OUTBOX).await?;
        if let Some((kind, id)) = outbox.iter().find(|it| !log.contains(it)) {
            return Err(format!("{kind} {id} of {name} is not on the bus"));
        }
        let inbox = pairs(view, name, INBOX).await?;
        let kind = |consumer: &str| {
            let kind = consumer.strip_prefix(name)?.strip_prefix('/')?;
            Some(kind.split('#').next()?.to_owned())
        };
        let handled = inbox
            .into_iter()
            .filter_map(|(consumer, id)| Some((kind(&consumer)?, id)));
        let handled: BTreeSet<_> = handled.collect();
        let own = messages.handled.iter().chain(&messages.commands);
        let own: BTreeSet<_> = own.map(Message::topic).collect();
        let is_missing = |it: &&(String, String)| own.contains(&*it.0) && !handled.contains(*it);
        if let Some((kind, id)) = log.iter().find(is_missing) {
            return Err(format!("{name} has not handled {kind} {id}"));
        }
    }
    Ok(())
}

/// Whatever the system's own invariants can see: no handler may have said the same twice because of one message.
fn nothing_is_said_twice(run: &Run) -> Found {
    let repeated = run.recorder().map(Recorder::repeated).unwrap_or_default();
    match repeated.first() {
        None => Ok(()),
        Some(event) => {
            let cause = event.causationid.as_deref().unwrap_or_default();
            let (source, kind, id) = (&event.source, &event.kind, &event.id);
            Err(format!(
                "{source} published {kind} {id} again, because of {cause}"
            ))
        }
    }
}

fn at_most_once(handled: &[Handled]) -> Found {
    effects::at_most_once(handled.iter()).map_err(|error| error.to_string())
}

fn asked_once(run: &Run) -> Found {
    match run.seen.sent_again().first() {
        None => Ok(()),
        Some(request) => Err(format!("the gateway sent twice: {request}")),
    }
}

/// Whoever has lived for a while is found by those who call it.
fn in_rotation(run: &Run) -> Found {
    let Some(shared) = run.shared() else {
        return Ok(());
    };
    for service in run.system.services().iter().map(Service::name) {
        if shared.registry.watch(service).borrow().is_empty() {
            return Err(format!("{service} is not"));
        }
    }
    Ok(())
}

/// What each service wrote is on the bus in that order, and each handler handled it in the order of the bus, key by key.
async fn in_order(run: &Run, view: &Inspection, handled: &[Handled]) -> Found {
    const LOG: &str = "SELECT key, id FROM log ORDER BY sequence";
    const OUTBOX: &str =
        "SELECT key, id FROM outrigger_outbox WHERE refused IS NULL ORDER BY sequence";
    let log = pairs(view, BUS, LOG).await?;
    for service in run.system.services() {
        let outbox = pairs(view, service.name(), OUTBOX).await?;
        let written: BTreeSet<_> = outbox.iter().collect();
        let sent: Vec<_> = log
            .iter()
            .filter(|it| written.contains(it))
            .cloned()
            .collect();
        order::by_key(outbox, sent).map_err(|error| format!("{}: {error}", service.name()))?;
    }
    let keys: BTreeMap<&str, &str> = log.iter().map(|(key, id)| (&**id, &**key)).collect();
    let mut by_handler: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for (handler, id) in handled {
        if let Some(key) = keys.get(&**id) {
            let event = ((*key).to_owned(), id.clone());
            by_handler.entry(handler).or_default().push(event);
        }
    }
    for (handler, handled) in by_handler {
        order::by_key(log.iter().cloned(), handled)
            .map_err(|error| format!("{handler}: {error}"))?;
    }
    Ok(())
}

async fn undone(run: &Run, view: &Inspection) -> Found {
    for service in run.system.services() {
        for journal in journals::of(view, service.name()).await? {
            journal.paths().for_each(|path| run.seen.reach(path));
            journal.check()?;
        }
        let terms = "SELECT sum(epoch - 1) FROM outrigger_leaders";
        let replaced = view.number(service.name(), terms, &[]).await?;
        let replaced = u64::try_from(replaced).unwrap_or_default();
        run.seen.reach_often("leader replaced", replaced);
    }
    Ok(())
}

/// The versions of each stream are 1, 2, 3 and so on, and so are the places of all events.
async fn no_gaps(run: &Run, view: &Inspection) -> Found {
    const THERE: &str = "SELECT count(*) FROM sqlite_master WHERE name = 'outrigger_events'";
    const STREAMS: &str = "SELECT stream, CAST(count(*) AS TEXT) FROM outrigger_events
         GROUP BY stream HAVING count(*) <> max(version) OR min(version) <> 1";
    const ALL: &str = "SELECT coalesce(max(sequence), 0) - count(*) FROM outrigger_events";
    for service in run.system.services().iter().map(Service::name) {
        if view.number(service, THERE, &[]).await? == 0 {
            continue;
        }
        if let Some((stream, events)) = pairs(view, service, STREAMS).await?.first() {
            return Err(format!(
                "{service}: {stream} has a gap among its {events} events"
            ));
        }
        let missing = view.number(service, ALL, &[]).await?;
        if missing != 0 {
            return Err(format!("{service}: {missing} place(s) of events are empty"));
        }
    }
    Ok(())
}

/// Who comes past the gateway and shows no token is not let in.
async fn closed(run: &Run) -> Found {
    let Some(shared) = run.shared() else {
        return Ok(());
    };
    for service in run.system.services() {
        let Some(path) = service.declared_boundary().apis.first() else {
            continue;
        };
        let instances = shared.registry.watch(service.name()).borrow().clone();
        for instance in instances.iter() {
            let client = GatewayClient::new(instance.address);
            let Ok(answer) = client.get(path).await else {
                continue; // who does not answer lets nobody in
            };
            if answer.status != StatusCode::UNAUTHORIZED {
                let (service, status) = (service.name(), answer.status);
                return Err(format!(
                    "{service} answered {status} to GET {path} without a token"
                ));
            }
        }
    }
    Ok(())
}

async fn pairs(
    view: &Inspection,
    service: &str,
    sql: &str,
) -> Result<Vec<(String, String)>, String> {
    let rows = view.query(service, sql, &[]).await?;
    let pair = |row: &data::Row| Ok((row.get(0)?, row.get(1)?));
    let pairs: data::Result<_> = rows.iter().map(pair).collect();
    pairs.map_err(|error| error.to_string())
}
