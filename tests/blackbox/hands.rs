//! What tests hold in their hands: gates at which jobs wait, raw connections, a terminal.
//! It refuses to know what is tested.

use crate::schema::committed;
use crate::world::World;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A FIFO at which jobs wait until they are let through.
pub struct Gate {
    path: PathBuf,
    file: File,
}

impl Gate {
    pub fn new(world: &World, name: &str) -> Self {
        let path = world.dir().join(name);
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from(0o600), 0).unwrap();
        // Open at both ends, so that neither side waits for the other to open.
        let file = File::options().read(true).write(true).open(&path).unwrap();
        Self { path, file }
    }

    /// What a shell says to wait here.
    pub fn wait(&self) -> String {
        format!("read go <{}", self.path.display())
    }

    /// What a shell says to be heard here.
    pub fn tell(&self) -> String {
        format!("echo here >{}", self.path.display())
    }

    /// Lets so many through.
    pub fn open(&self, jobs: usize) {
        (&self.file).write_all("\n".repeat(jobs).as_bytes()).unwrap();
    }

    /// Returns when a job was heard.
    pub fn heard(&self) {
        let mut byte = [0];
        while byte != *b"\n" {
            (&self.file).read_exact(&mut byte).unwrap();
        }
    }
}

/// A connection that says what it likes.
pub struct Wire {
    stream: BufReader<UnixStream>,
    /// What is heard must be as it is described; it is not for what makes the description.
    pub checked: bool,
}

impl Wire {
    pub fn new(world: &World) -> Self {
        let stream = UnixStream::connect(world.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream: BufReader::new(stream), checked: true }
    }

    pub fn say(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub fn ask(&mut self, method: &str, params: &Value) {
        let call = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        self.say(format!("{call}\n").as_bytes()).unwrap();
    }

    /// The next frame; nothing if the other end is closed.
    pub fn hear(&mut self) -> Option<Value> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => {
                let frame: Value = serde_json::from_slice(&line).unwrap();
                if let (true, Some(notification)) = (self.checked, frame["method"].as_str()) {
                    committed().notification(notification, &frame["params"]);
                }
                Some(frame)
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The result of a call.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        self.ask(method, params);
        let reply = self.hear().expect("a reply");
        assert!(reply["error"].is_null(), "{method}: {reply}");
        if self.checked {
            committed().params(method, params.as_object().unwrap());
            committed().result(method, &reply["result"]);
        }
        reply["result"].clone()
    }

    /// The code and message of a refusal.
    #[track_caller]
    pub fn refused(&mut self, method: &str, params: &Value) -> (String, String) {
        self.ask(method, params);
        let reply = self.hear().expect("a reply");
        if self.checked && reply["error"].is_object() {
            committed().error(method, &reply["error"]);
        }
        refusal(&reply)
    }

    pub fn stream(&self) -> &UnixStream {
        self.stream.get_ref()
    }
}

#[track_caller]
pub fn refusal(reply: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_else(|| panic!("no refusal: {reply}"));
    (text(&reply["error"]["data"]["code"]), text(&reply["error"]["message"]))
}

/// Where a job is submitted, on the wire.
pub fn context() -> Value {
    json!({"cwd": "/", "umask": 18, "env": ["PATH=/usr/bin:/bin"]})
}

/// A terminal of this many columns: our end, and that of a program.
fn terminal(columns: u16) -> (File, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs: OwnedFd = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
    let size = rustix::termios::Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&theirs, size).unwrap();
    (File::from(ours), theirs)
}

/// Runs a command on a terminal of this many columns; what it showed.
pub fn on_terminal(mut command: Command, columns: u16) -> String {
    let (mut ours, theirs) = terminal(columns);
    let mut child = command.stdout(Stdio::from(theirs)).stderr(Stdio::null()).spawn().unwrap();
    // The command holds the other end, too; only the child's copy may be left for the end to be seen.
    drop(command);
    let reader = std::thread::spawn(move || {
        let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
        // EIO is how a terminal says that nobody writes any more.
        while let Ok(n @ 1..) = ours.read(&mut piece) {
            shown.extend_from_slice(&piece[..n]);
        }
        String::from_utf8(shown).unwrap()
    });
    child.wait().unwrap();
    reader.join().unwrap()
}

/// A program whose standard error is a terminal, and what that shows.
pub struct Screen {
    pub child: Child,
    ours: File,
    shows: vt100::Parser,
    /// Every byte that came.
    pub bytes: Vec<u8>,
}

impl Screen {
    pub fn new(mut command: Command, columns: u16) -> Self {
        let (ours, theirs) = terminal(columns);
        if command.get_envs().all(|(name, _)| name != "TERM") {
            command.env("TERM", "xterm");
        }
        let child = command.stdout(Stdio::piped()).stderr(Stdio::from(theirs)).spawn().unwrap();
        Self {
            child,
            ours,
            shows: vt100::Parser::new(24.try_into().unwrap(), columns.try_into().unwrap(), 0),
            bytes: Vec::new(),
        }
    }

    /// A program for which the terminal is everything: its three streams, and what its keys mean.
    pub fn whole(mut command: Command, columns: u16) -> Self {
        use std::os::unix::process::CommandExt;
        let (ours, theirs) = terminal(columns);
        if command.get_envs().all(|(name, _)| name != "TERM") {
            command.env("TERM", "xterm");
        }
        let again = || Stdio::from(theirs.try_clone().unwrap());
        command.stdin(again()).stdout(again()).stderr(again());
        // SAFETY: between fork and exec nothing but system calls.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                Ok(rustix::process::ioctl_tiocsctty(std::io::stdin())?)
            });
        }
        let child = command.spawn().unwrap();
        Self {
            child,
            ours,
            shows: vt100::Parser::new(24.try_into().unwrap(), columns.try_into().unwrap(), 0),
            bytes: Vec::new(),
        }
    }

    /// Types this.
    pub fn types(&mut self, text: &str) {
        self.ours.write_all(text.as_bytes()).unwrap();
    }

    /// Gives it another size.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.ours, size).unwrap();
        self.shows.screen_mut().set_size(rows.try_into().unwrap(), columns.try_into().unwrap());
    }

    /// All that still comes to stand there, until nothing writes any more.
    pub fn rest(&mut self) {
        while self.more() {}
    }

    /// Whether it hands over every key, instead of lines.
    pub fn is_raw(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.ours).unwrap().local_modes;
        !modes.contains(rustix::termios::LocalModes::ICANON)
    }

    /// Whether the other of its screens is shown, and whether a cursor is.
    pub fn is_other_screen(&self) -> bool {
        self.shows.screen().alternate_screen() || self.shows.screen().hide_cursor()
    }

    /// What stands there now; lines without the blanks after them.
    pub fn text(&self) -> String {
        self.shows.screen().contents().trim_end().to_owned()
    }

    fn more(&mut self) -> bool {
        let mut piece = [0; 4096];
        match self.ours.read(&mut piece) {
            Ok(n @ 1..) => {
                self.shows.process(&piece[..n]);
                self.bytes.extend_from_slice(&piece[..n]);
                true
            }
            _ => false,
        }
    }

    /// Presses a key.
    pub fn press(&mut self, key: u8) {
        self.ours.write_all(&[key]).unwrap();
    }

    /// Returns when this stands there; what else does.
    #[track_caller]
    pub fn until(&mut self, says: &str) -> String {
        while !self.text().contains(says) {
            assert!(self.more(), "{says:?} never came: {:?}", String::from_utf8_lossy(&self.bytes));
        }
        self.text()
    }

    /// Returns when this was shown, be it for so short that the next drawing came with it.
    #[track_caller]
    pub fn until_shown(&mut self, says: &str) {
        while !String::from_utf8_lossy(&self.bytes).contains(says) {
            assert!(self.more(), "{says:?} never came: {:?}", String::from_utf8_lossy(&self.bytes));
        }
    }

    /// Returns when something else stands there.
    #[track_caller]
    pub fn until_changed(&mut self) {
        let before = self.text();
        while self.text() == before {
            assert!(self.more(), "{before:?} stays");
        }
    }

    /// When it has ended: what stands there then, what it printed, and its exit code, or 128 + the signal that ended it.
    pub fn end(mut self) -> (String, String, i32) {
        while self.more() {}
        let mut out = String::new();
        self.child.stdout.take().map(|mut stdout| stdout.read_to_string(&mut out).unwrap());
        (self.text(), out, code(&mut self.child))
    }

    /// The terminal goes away; the exit code then.
    pub fn close(self) -> i32 {
        let Self { mut child, ours, .. } = self;
        drop(ours);
        code(&mut child)
    }
}

/// The exit code of a child, or 128 + the signal that ended it.
pub fn code(child: &mut Child) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let status = child.wait().unwrap();
    status.code().or(status.signal().map(|signal| signal + 128)).unwrap()
}

/// Sends a signal to a process of the test's own.
pub fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

/// Reads a line that a child prints.
pub fn line(child: &mut Child) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    let out = child.stdout.as_mut().unwrap();
    while byte != *b"\n" {
        if out.read(&mut byte).unwrap() == 0 {
            let mut why = String::new();
            child.stderr.take().map(|mut err| err.read_to_string(&mut why));
            panic!("{:?} and no more: {why}", String::from_utf8_lossy(&text));
        }
        text.push(byte[0]);
    }
    text.pop();
    String::from_utf8(text).unwrap()
}

/// The words of a file, by which jobs left their traces.
pub fn words(world: &World, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(world.dir().join(name)).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}
