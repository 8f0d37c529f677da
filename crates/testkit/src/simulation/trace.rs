//! All that happened in a run, as a hash, and as text for whoever wants to see where two runs part.
//!
//! In the trace are every log line from debug up, every byte that a machine sent or received, and every fault, each
//! with its time and machine. Two runs with the same hash are the same run (G11).

use std::{
    fmt::Display,
    fs::File,
    io::{self, BufWriter, Write},
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{GATEWAY, clock::Clock, machines::Machines, seen::Seen, timeline::Timeline};

/// Clones write to one trace.
#[derive(Clone)]
pub(super) struct Trace(Arc<Inner>);

struct Inner {
    clock: Clock,
    machines: Machines,
    seen: Seen,
    sink: Mutex<Sink>,
}

struct Sink {
    hash: Sha256,
    text: Option<BufWriter<File>>,
    timeline: Option<Timeline>,
    failed: Option<io::Error>,
    entries: u64,
}

impl Trace {
    /// A trace that is hashed, and written to `file` if there is one.
    pub(super) fn new(clock: Clock, machines: Machines, file: Option<&Path>) -> io::Result<Self> {
        let sink = Sink {
            hash: Sha256::new(),
            text: file.map(File::create).transpose()?.map(BufWriter::new),
            timeline: None,
            failed: None,
            entries: 0,
        };
        Ok(Self(Arc::new(Inner {
            clock,
            machines,
            seen: Seen::default(),
            sink: Mutex::new(sink),
        })))
    }

    /// What is seen of the run besides.
    pub(super) fn seen(&self) -> &Seen {
        &self.0.seen
    }

    /// From now on a timeline is kept.
    pub(super) fn keep_timeline(&self) {
        self.sink().timeline = Some(Timeline::default());
    }

    /// The timeline, if one is kept, begins here.
    pub(super) fn begin_timeline(&self) {
        self.tell(|timeline, _, _| timeline.begin_here());
    }

    /// The timeline, if one was kept.
    pub(super) fn take_timeline(&self) -> Option<Timeline> {
        self.sink().timeline.take()
    }

    /// Adds to the timeline, if one is kept: when and where it is.
    fn tell(&self, add: impl FnOnce(&mut Timeline, Duration, Option<&str>)) {
        if self.sink().timeline.is_none() {
            return;
        }
        let (at, machine) = (self.0.clock.elapsed(), self.0.machines.current());
        let machine = machine.as_ref().map(|machine| &*machine.name);
        if let Some(timeline) = &mut self.sink().timeline {
            add(timeline, at, machine);
        }
    }

    /// A log line.
    pub(super) fn line(&self, line: &str) {
        self.tell(|timeline, at, machine| timeline.line(at, machine, line));
        self.0.seen.line(line);
        self.put("log", line.trim_end().as_bytes());
    }

    /// A fault, or another step of the simulation itself.
    pub(super) fn note(&self, what: impl Display) {
        let what = what.to_string();
        self.tell(|timeline, at, _| timeline.note(at, &what));
        self.put("simulation", what.as_bytes());
    }

    /// Bytes that left for another machine.
    pub(super) fn sent(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.tell(|timeline, at, machine| {
            let receiver = self.0.machines.name_at(to.ip());
            timeline.sent(at, machine, receiver.as_deref().unwrap_or("?"), bytes);
        });
        if self.0.machines.name_at(from.ip()).as_deref() == Some(GATEWAY) {
            self.0.seen.sent_on(bytes);
        }
        self.put(&format!("sent {from} {to}"), bytes);
    }

    /// Bytes that arrived from another machine; none of them is its end of the connection.
    pub(super) fn received(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.put(&format!("received {from} {to}"), bytes);
    }

    /// A connection that failed.
    pub(super) fn broken(&self, from: SocketAddr, to: SocketAddr, error: &io::Error) {
        self.put(
            &format!("broken {from} {to}"),
            error.kind().to_string().as_bytes(),
        );
    }

    fn put(&self, kind: &str, content: &[u8]) {
        let elapsed = self.0.clock.elapsed();
        let machine = self.0.machines.current();
        let machine = machine.as_ref().map_or("-", |machine| &machine.name);
        let head = format!("{:.3} {machine} {kind} ", elapsed.as_secs_f64());
        let mut sink = self.sink();
        sink.entries += 1;
        // Lengths keep what is next to each other apart.
        sink.hash.update((head.len() as u64).to_le_bytes());
        sink.hash.update(&head);
        sink.hash.update((content.len() as u64).to_le_bytes());
        sink.hash.update(content);
        if let Some(text) = &mut sink.text
            && let Err(error) = writeln!(text, "{head}{}", content.escape_ascii())
        {
            sink.failed.get_or_insert(error);
        }
    }

    /// How much is in it.
    pub(super) fn entries(&self) -> u64 {
        self.sink().entries
    }

    /// The hash of all until now, in hex.
    pub(super) fn hash(&self) -> String {
        let hash = self.sink().hash.clone().finalize();
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Writes what is still to be written to the file.
    pub(super) fn finish(&self) -> io::Result<()> {
        let mut sink = self.sink();
        match sink.failed.take() {
            Some(error) => Err(error),
            None => sink.text.as_mut().map_or(Ok(()), Write::flush),
        }
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        self.0.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
