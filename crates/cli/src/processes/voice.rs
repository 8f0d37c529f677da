//! What the processes say, as one stream on standard error: each line behind the name of who says it.

use std::{
    io::{self, IsTerminal, stderr},
    net::SocketAddr,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    sync::oneshot,
};

use crate::note;

/// The most of a line that is passed on at once, in bytes.
const LINE: u64 = 64 * 1024;
/// The colours of the names, one after another (ECMA-48, section 8.3.117).
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// How a process is heard. Cheap to clone.
#[derive(Clone)]
pub(super) struct Voice {
    prefix: String,
}

/// The voices of processes of these names, in colours where somebody sees them.
pub(super) fn of<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Vec<Voice> {
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let width = names.clone().map(str::len).max().unwrap_or(0);
    let voices = names.zip(COLOURS.iter().cycle());
    let voice = |(name, colour): (&str, &u8)| Voice {
        prefix: match colours {
            true => format!("\x1b[{colour}m{name:width$} |\x1b[0m "),
            false => format!("{name:width$} | "),
        },
    };
    voices.map(voice).collect()
}

impl Voice {
    /// Passes on what it says, to the end.
    pub(super) async fn pass(self, said: impl AsyncRead + Unpin) {
        let mut said = BufReader::new(said);
        while let Ok(Some(line)) = line(&mut said).await {
            self.say(&line);
        }
    }

    /// The same, but the line that says where it serves is for `ready`.
    pub(super) async fn pass_until_ready(
        self,
        said: impl AsyncRead + Unpin,
        ready: oneshot::Sender<SocketAddr>,
    ) {
        let mut said = BufReader::new(said);
        while let Ok(Some(line)) = line(&mut said).await {
            if let Some(address) = address(&line) {
                _ = ready.send(address);
                return self.pass(said).await;
            }
            self.say(&line);
        }
    }

    fn say(&self, line: &str) {
        note(format!("{}{line}", self.prefix));
    }
}

/// The next line, or as much of it as may be at once; `None` at the end.
async fn line(said: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if said.take(LINE).read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&line);
    Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// Where a process serves, if it says so in this line.
fn address(line: &str) -> Option<SocketAddr> {
    let said: Value = serde_json::from_str(line).ok()?;
    if said["status"] != "ready" {
        return None;
    }
    let url = said["address"].as_str()?;
    url.strip_prefix("http://")?.parse().ok()
}
