//! A server under measurement: started on free ports of the loopback address, ended when dropped.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::tls::Certificate;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    RecordingOn,
    RecordingOff,
    Mosquitto,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RecordingOn => "tracemq, recording on",
            Self::RecordingOff => "tracemq, recording off",
            Self::Mosquitto => "mosquitto",
        }
    }
}

/// A running server.
pub(crate) struct Process {
    child: Child,
    pub(crate) mqtt: SocketAddr,
    http: Option<SocketAddr>,
    folder: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing else can be done about a process that can't be ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub(crate) fn start(kind: Kind, tracemq: &Path, mosquitto: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        match kind {
            Kind::RecordingOn => Self::tracemq(tracemq, folder, "recorder.enabled = true\n", true),
            Kind::RecordingOff => Self::tracemq(tracemq, folder, "recorder.enabled = false\n", true),
            Kind::Mosquitto => Self::mosquitto(mosquitto, folder, ""),
        }
    }

    /// The same with a listener for TLS, whose certificate clients are to trust.
    pub(crate) fn start_with_tls(kind: Kind, tracemq: &Path, mosquitto: &Path) -> anyhow::Result<(Self, Certificate)> {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let certificate = Certificate::make(folder.path())?;
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (cert, key) = (file("cert.pem"), file("key.pem"));
        let server = match kind {
            Kind::RecordingOn | Kind::RecordingOff => {
                let recording = kind == Kind::RecordingOn;
                let config = format!(
                    "recorder.enabled = {recording}\n[[mqtt.listeners]]\nname = \"tls\"\nlisten = \"127.0.0.1:0\"\n\
                     transport = \"tls\"\n[mqtt.listeners.tls]\ncert = {cert:?}\nkey = {key:?}\n"
                );
                Self::tracemq(tracemq, folder, &config, false)?
            }
            Kind::Mosquitto => Self::mosquitto(mosquitto, folder, &format!("certfile {cert}\nkeyfile {key}\n"))?,
        };
        Ok((server, certificate))
    }

    /// Our server with that configuration, on free ports.
    pub(crate) fn tracemq(binary: &Path, folder: TempDir, config_text: &str, is_plain: bool) -> anyhow::Result<Self> {
        let config = folder.path().join("tracemq.toml");
        fs::write(&config, config_text)?;
        let mut child = Command::new(binary)
            .arg("serve")
            .args(is_plain.then_some(["--mqtt", "127.0.0.1:0"]).into_iter().flatten())
            .args(["--http", "127.0.0.1:0", "--config"])
            .arg(&config)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .env("TRACEMQ_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start {}; build it with cargo build --release", binary.display()))?;
        let stdout = child.stdout.take().context("no stdout")?;
        let (mut mqtt, mut http) = (None, None);
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["mqtt", address, ..] => mqtt = Some(address.parse()?),
                ["http", url] => http = Some(url.trim_start_matches("http://").parse()?),
                _ => {}
            }
            if mqtt.is_some() && http.is_some() {
                break;
            }
        }
        Ok(Self { child, mqtt: mqtt.context("it told no mqtt address")?, http, folder })
    }

    fn mosquitto(binary: &Path, folder: TempDir, of_listener: &str) -> anyhow::Result<Self> {
        let mqtt = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = folder.path().join("mosquitto.conf");
        let text = format!(
            "allow_anonymous true\npersistence false\nlog_type none\nlistener {} 127.0.0.1\n{of_listener}",
            mqtt.port()
        );
        fs::write(&config, text)?;
        let mut child = Command::new(binary).arg("-c").arg(&config).stderr(Stdio::null()).spawn()?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(mqtt).is_err() {
            if Instant::now() > deadline || child.try_wait()?.is_some() {
                bail!("mosquitto does not listen on {mqtt}");
            }
            std::thread::yield_now();
        }
        Ok(Self { child, mqtt, http: None, folder })
    }

    /// Where its HTTP API is; none of other servers.
    pub(crate) fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it keeps its data.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Has it stop, and waits for that.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(())
    }

    /// Resident memory of the process.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most that it was.
    pub(crate) fn peak_bytes(&self) -> anyhow::Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, which: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(which)).with_context(|| format!("no {which}"))?;
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib * 1_024)
    }

    /// Processor time that the process has used, in milliseconds.
    pub(crate) fn cpu_ms(&self) -> anyhow::Result<f64> {
        cpu_ms(&self.child.id().to_string())
    }

    /// Events recorded and lost, once the recorder's queue is empty; zeros for other servers.
    pub(crate) fn recorded(&self) -> anyhow::Result<(u64, u64)> {
        let Some(http) = self.http else { return Ok((0, 0)) };
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let metrics = get_metrics(http)?;
            let sum = |name: &str| -> u64 {
                let values = metrics.lines().filter(|line| line.starts_with(name));
                values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
            };
            if sum("tracemq_recorder_queue_events") == 0 {
                return Ok((sum("tracemq_recorder_events_total"), sum("tracemq_recorder_events_lost_total")));
            }
            if Instant::now() > deadline {
                bail!("the recorder's queue does not run empty");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Processor time that this process, the load, has used, in milliseconds.
pub(crate) fn own_cpu_ms() -> anyhow::Result<f64> {
    cpu_ms("self")
}

fn cpu_ms(process: &str) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit_once(')').context("no name in stat")?.1;
    let field = |n: usize| after_name.split_whitespace().nth(n).and_then(|f| f.parse::<f64>().ok());
    let ticks = field(11).context("no utime")? + field(12).context("no stime")?;
    Ok(ticks * 1_000.0 / rustix::param::clock_ticks_per_second() as f64)
}

fn get_metrics(http: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(http)?;
    stream.write_all(format!("GET /metrics HTTP/1.1\r\nhost: {http}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Each connection is a descriptor, here and in the servers, which inherit the limit.
pub(crate) fn raise_descriptor_limit() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}
