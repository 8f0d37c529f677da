//! Nothing outlives the test: a process beside us that ends the server and removes its folder when
//! we are gone, however we went.

use std::{
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use crate::Error;

/// Waits until its standard input ends, which it does with our process; then kills the process that
/// the first line of the file `$2` names, and removes the folder `$1`, with the disk at `$3` in it. By the time that its folder
/// is removed a killed server may still write into it.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
read -r _
[ -f "$2" ] && kill -9 "$(head -n 1 "$2")"
[ -d "$1/$3" ] && umount -l "$1/$3"
for _ in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$1" && break
    sleep 0.1
done
"#;

/// Where in a server's folder another disk may be mounted.
pub(crate) const DISK: &str = "disk";

/// Dropped, it ends the server and removes its folder, and returns when that is done.
pub(crate) struct Guard {
    process: Child,
    /// Closed by the system when we end.
    lifeline: Option<ChildStdin>,
}

impl Guard {
    /// Watches over the server whose process id stands in `pid_file`, and over its folder.
    pub(crate) fn over(folder: &Path, pid_file: &Path) -> Result<Self, Error> {
        let mut process = Command::new("sh")
            .args(["-c", SCRIPT, "guard"])
            .args([folder, pid_file, Path::new(DISK)])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::Folder)?;
        let lifeline = process.stdin.take();
        Ok(Self { process, lifeline })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.process.wait(); // it cannot be waited for only if somebody else did
    }
}
