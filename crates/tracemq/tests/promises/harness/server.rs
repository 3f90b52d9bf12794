//! The binary as a process: its data folder, its start, its end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;

use super::{PATIENCE, wait_until};

/// The command under test, deaf to the environment of whoever runs the tests.
pub(crate) fn tracemq() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracemq"));
    command.stdin(Stdio::null()).env("NO_COLOR", "1");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRACEMQ_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `command` to its end, and kills it when it takes longer than `limit`.
pub(crate) fn finish_within(limit: Duration, command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let (done, outcome) = mpsc::channel();
    thread::spawn(move || done.send(child.wait_with_output()));
    if let Ok(output) = outcome.recv_timeout(limit) {
        return output.unwrap();
    }
    signal("KILL", pid);
    let output = outcome.recv().unwrap().unwrap();
    panic!("{command:?} still ran after {limit:?}: {output:?}");
}

/// Sends `name` (`INT`, `TERM`, ...) to the process.
pub(crate) fn signal(name: &str, pid: u32) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(status.success(), "could not send {name} to {pid}");
}

/// A data folder and a config file, which outlive the servers that run on them one after another.
pub(crate) struct Home {
    folder: TempDir,
    starts: AtomicU32,
}

/// Users `ops` with the password `secret`, `pump` with `other`, and `pump-07` with one that nobody knows; cheap to compare.
pub(crate) const USERS: &str = "\
# users of the tests
ops:$argon2id$v=19$m=8,t=1,p=1$YSBzYWx0IG9mIHRlc3RzLg$C1YFMsMdu4/KV5hRG8InwwIJHQfHiSscfnPIxfZzHYs
pump:$argon2id$v=19$m=8,t=1,p=1$YSBzYWx0IG9mIHRlc3RzLg$KDCvj5wMvIfFe5Kyn7sh84A3S1uwk3WK01JknED86V4
pump-07:$argon2id$v=19$m=8,t=1,p=1$YSBzYWx0IG9mIHRlc3RzLg$qK4BVsTF+rL4bqLaF6XbquPRz4+TSGkpTYamaP22xjc
";

/// What the first start writes down for the operator.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) access_key_id: String,
    pub(crate) access_key_secret: String,
    pub(crate) instance_id: String,
}

impl Home {
    /// A fresh folder with `config` as its TOML file, and [`USERS`] in the file `users`.
    pub(crate) fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Self { folder, starts: AtomicU32::new(0) };
        fs::write(home.path().join("users"), USERS).unwrap();
        home.reconfigure(config);
        home
    }

    /// Puts `config` in place of the TOML file.
    pub(crate) fn reconfigure(&self, config: &str) {
        fs::write(self.path().join("tracemq.toml"), config).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The files of the store that say something, largest first.
    pub(crate) fn store_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.data_dir().join("events")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else if entry.file_name() != "reserve" {
                    files.push((entry.metadata().unwrap().len(), entry.path()));
                }
            }
        }
        files.sort_unstable_by(|a, b| b.cmp(a));
        files.into_iter().map(|(_, path)| path).collect()
    }

    /// `tracemq serve` on this folder, with free ports.
    pub(crate) fn serve_command(&self) -> Command {
        self.serve_command_at("127.0.0.1:0")
    }

    /// The same with an address for MQTT.
    pub(crate) fn serve_command_at(&self, mqtt: &str) -> Command {
        let mut command = tracemq();
        command.current_dir(self.path()).arg("serve").arg("--config").arg(self.path().join("tracemq.toml"));
        command.arg("--data-dir").arg(self.data_dir()).args(["--mqtt", mqtt, "--http", "127.0.0.1:0"]);
        command
    }

    /// Starts a server and waits until it is ready.
    pub(crate) fn start(&self) -> Server {
        self.start_command(self.serve_command())
    }

    /// Starts a server with the listeners of the config, and waits until it is ready.
    pub(crate) fn start_listeners(&self) -> Server {
        let mut command = tracemq();
        command.current_dir(self.path()).arg("serve").arg("--config").arg(self.path().join("tracemq.toml"));
        command.arg("--data-dir").arg(self.data_dir()).args(["--http", "127.0.0.1:0"]);
        self.start_command(command)
    }

    /// Starts `command`, which prints its addresses as `serve` does, and waits until it is ready.
    pub(crate) fn start_command(&self, mut command: Command) -> Server {
        let number = self.starts.fetch_add(1, Ordering::Relaxed);
        let log = self.path().join(format!("stderr-{number}"));
        command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let stdout = Mutex::new(read_lines(&mut child));
        let mut server = Server {
            child,
            mqtt: NOWHERE,
            http: NOWHERE,
            data: PathBuf::new(),
            said: Vec::new(),
            log,
            folder: self.path().to_owned(),
            stdout,
        };
        server.wait_until_ready();
        server
    }

    /// A start that must fail: gives its exit code and what it said on stderr.
    pub(crate) fn refused_start(&self) -> (Option<i32>, String) {
        let output = finish_within(PATIENCE, &mut self.serve_command());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

fn read_lines(child: &mut Child) -> mpsc::Receiver<String> {
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (send, receive) = mpsc::channel();
    thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    receive
}

/// A running server. Killed when dropped; a failing test shows its log.
pub(crate) struct Server {
    child: Child,
    pub(crate) mqtt: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) data: PathBuf,
    said: Vec<String>,
    log: PathBuf,
    /// Where it was started; what it prints may be relative to that.
    folder: PathBuf,
    /// Behind a mutex so that threads can share the server; only its owner reads.
    stdout: Mutex<mpsc::Receiver<String>>,
}

impl Server {
    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.mqtt == NOWHERE || self.http == NOWHERE || self.data == Path::new("") {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.stdout.get_mut().unwrap().recv_timeout(left) else {
                panic!("the server did not get ready; stdout: {:#?}, stderr:\n{}", self.said, self.log());
            };
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                ["mqtt", address, ..] => self.mqtt = address.parse().unwrap(),
                ["console" | "http", url, ..] => self.http = url.split_once("://").unwrap().1.parse().unwrap(),
                ["data", path, ..] => self.data = self.folder.join(path),
                _ => {}
            }
            self.said.push(line);
        }
    }

    /// Where the listener of this name listens.
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        let lines = self.said.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let address = lines.filter(|words| words.first() == Some(&"mqtt")).find(|words| words.get(2) == Some(&name));
        address.unwrap_or_else(|| panic!("no listener {name} in {:#?}", self.said))[1].parse().unwrap()
    }

    /// Everything printed to stdout until now; all of it when the server has ended.
    pub(crate) fn said(&mut self) -> String {
        let running = self.is_running();
        let stdout = self.stdout.get_mut().unwrap();
        self.said.extend(stdout.try_iter());
        if !running {
            self.said.extend(stdout.iter());
        }
        self.said.join("\n")
    }

    /// Everything logged until now.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub(crate) fn credentials(&self) -> Credentials {
        let text = fs::read_to_string(self.data.join("credentials.toml")).unwrap();
        toml::from_str(&text).unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Asks politely (SIGTERM), and waits for the end.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        signal("TERM", self.child.id());
        self.wait_for_end()
    }

    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        wait_until("end of the process", || self.child.try_wait().unwrap().ok_or("still running"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory of the process.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many descriptors and threads the process has.
    pub(crate) fn holds(&self) -> (usize, usize) {
        let count = |what| fs::read_dir(format!("/proc/{}/{what}", self.child.id())).unwrap().count();
        (count("fd"), count("task"))
    }

    /// SIGHUP.
    pub(crate) fn hang_up(&self) {
        signal("HUP", self.child.id());
    }

    /// Has the access keys read again, and waits for the line of the log that says what came of it.
    pub(crate) fn reload(&self) -> String {
        self.reload_and_find("\"access keys ")
    }

    /// Has users and topic rules read again, and waits for the line of the log that says what came of it.
    pub(crate) fn reload_users(&self) -> String {
        self.reload_and_find("users and topic rules")
    }

    fn reload_and_find(&self, said: &str) -> String {
        let lines =
            || -> Vec<String> { self.log().lines().filter(|line| line.contains(said)).map(str::to_owned).collect() };
        let before = lines().len();
        self.hang_up();
        wait_until("word of the reload", || {
            let mut now = lines();
            if now.len() > before { Ok(now.swap_remove(before)) } else { Err(now) }
        })
    }

    /// Stops the process where it stands; the operating system goes on taking bytes for it.
    pub(crate) fn freeze(&self) {
        signal("STOP", self.child.id());
        let threads = format!("/proc/{}/task", self.child.id());
        wait_until("standstill", || {
            let states = fs::read_dir(&threads).unwrap().map(|thread| {
                let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
                stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
            });
            let states: Vec<_> = states.collect();
            if states.iter().all(|state| *state == Some('T')) { Ok(()) } else { Err(states) }
        });
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        signal("CONT", self.child.id());
    }

    /// Sends `name` (`INT`, `TERM`, ...) to it.
    pub(crate) fn send(&self, name: &str) {
        signal(name, self.child.id());
    }

    /// SIGTERM, without waiting for the end.
    pub(crate) fn ask_to_stop(&self) {
        signal("TERM", self.child.id());
    }

    /// `kill -9` while other threads use the server.
    pub(crate) fn kill_from_outside(&self) {
        signal("KILL", self.child.id());
    }

    /// `kill -9`, and gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- what the server said\n{}\n{}", self.said(), self.log());
        }
    }
}
