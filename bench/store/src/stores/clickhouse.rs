//! ClickHouse: the engine of the Python package `chdb`, in a process of its own that is started for the run and asked through a socket in
//! the folder of the run. It answers one question after another, whoever asks.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tracemq_model::{Order, Pattern, Reason, Subject, TimeRange, TracePage, TraceQuery};
use tracemq_store::Batch;

use super::row::{Row, address_bytes};
use super::{MINUTE_MS, NAMES_MAX, Reader, Store, only};
use crate::generator::INSTANCE;

/// The interpreter that has `chdb`.
const PYTHON: &str = "TRACEMQ_BENCH_PYTHON";
const FRONT: &str = include_str!("clickhouse.py");

/// Sorted by client, a partition a day: what a user of it would do who asks for one device. `number` is the order of arrival.
const SCHEMA: [&str; 2] = [
    "CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic",
    "CREATE TABLE IF NOT EXISTS bench.event (
        instance LowCardinality(String), client String CODEC(ZSTD), time Int64 CODEC(DoubleDelta, ZSTD),
        number UInt64 CODEC(Delta, ZSTD), connection FixedString(16) CODEC(ZSTD), action UInt8, reason UInt8,
        provenance UInt8, address String CODEC(ZSTD), port UInt16 CODEC(ZSTD), details String CODEC(ZSTD)
    ) ENGINE = MergeTree PARTITION BY intDiv(time, 86400000) ORDER BY (instance, client, time, number)
    SETTINGS fsync_after_insert = 1, fsync_part_directory = 1",
];
const COLUMNS: &str = "instance String, client String, time Int64, number UInt64, connection FixedString(16), \
                       action UInt8, reason UInt8, provenance UInt8, address String, port UInt16, details String";

pub(super) struct Clickhouse {
    socket: PathBuf,
    /// Where batches are handed over: in memory, if there is such a folder.
    batch: PathBuf,
    front: Front,
    next: u64,
    child: Child,
}

impl Clickhouse {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let (script, socket, data) = (dir.join("front.py"), dir.join("front.sock"), dir.join("data"));
        fs::write(&script, FRONT)?;
        if socket.exists() {
            fs::remove_file(&socket)?;
        }
        let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".into());
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", &python]).arg(&script).arg(&data).arg(&socket);
        let log = fs::File::create(dir.join("front.log"))?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let mut front = connect_to(&mut child, &socket, dir)?;
        for sql in SCHEMA {
            front.rows(sql)?;
        }
        let next = front.number("SELECT count() FROM bench.event")?;
        let memory = Path::new("/dev/shm");
        let name = format!("tracemq-bench-{}", child.id());
        let batch = if memory.is_dir() { memory.join(name) } else { dir.join(name) };
        Ok(Self { socket, batch, front, next, child })
    }
}

fn connect_to(child: &mut Child, socket: &Path, dir: &Path) -> Result<Front> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        match Front::connect(socket) {
            Ok(front) => return Ok(front),
            Err(error) if child.try_wait()?.is_some() || Instant::now() > deadline => {
                let log = fs::read_to_string(dir.join("front.log")).unwrap_or_default();
                bail!("{}: {error}", log.trim());
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

impl Store for Clickhouse {
    fn append(&mut self, batch: &Batch) -> Result<()> {
        let mut rows = Vec::with_capacity(batch.events.len() * 128);
        for (event, number) in batch.events.iter().zip(self.next..) {
            push(&Row::of(event)?, number, &mut rows)?;
        }
        fs::write(&self.batch, rows)?;
        let from = format!("file('{}', 'RowBinary', '{COLUMNS}')", self.batch.display());
        // Late events make many partitions of a batch.
        self.front.rows(&format!(
            "INSERT INTO bench.event SELECT * FROM {from} SETTINGS max_partitions_per_insert_block = 0"
        ))?;
        self.next += u64::try_from(batch.events.len())?;
        Ok(())
    }

    fn tidy(&mut self) -> Result<()> {
        Ok(())
    }

    fn is_busy(&self) -> bool {
        Front::connect(&self.socket)
            .and_then(|mut front| front.number("SELECT count() FROM system.merges"))
            .is_ok_and(|merges| merges > 0)
    }

    fn reader(&self) -> Result<Box<dyn Reader>> {
        Ok(Box::new(ClickhouseReader(Front::connect(&self.socket)?)))
    }

    fn server(&self) -> Option<u32> {
        Some(self.child.id())
    }

    /// Beside these, parts that were merged are kept for some minutes.
    fn live_bytes(&mut self) -> Result<Option<u64>> {
        let sql = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'event'";
        self.front.number(sql).map(Some)
    }

    fn close(self: Box<Self>) -> Result<()> {
        let Self { front, mut child, batch, .. } = *self;
        drop(front);
        child.wait()?;
        if batch.exists() {
            fs::remove_file(batch)?;
        }
        Ok(())
    }
}

/// As the format `RowBinary` has it.
fn push(row: &Row, number: u64, out: &mut Vec<u8>) -> Result<()> {
    push_text(row.instance.as_bytes(), out);
    push_text(row.client.as_bytes(), out);
    out.extend_from_slice(&row.time.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&row.connection);
    for small in [row.action, row.reason, row.provenance] {
        out.push(u8::try_from(small)?);
    }
    push_text(&row.address, out);
    out.extend_from_slice(&u16::try_from(row.port)?.to_le_bytes());
    push_text(row.details.as_deref().unwrap_or_default(), out);
    Ok(())
}

fn push_text(text: &[u8], out: &mut Vec<u8>) {
    let mut length = text.len();
    loop {
        let [low, ..] = length.to_le_bytes();
        length >>= 7;
        out.push(if length == 0 { low & 0x7f } else { low | 0x80 });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(text);
}

struct Front {
    stream: BufReader<UnixStream>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    rows: Vec<Vec<Value>>,
    error: Option<String>,
}

impl Front {
    fn connect(socket: &Path) -> Result<Self> {
        Ok(Self { stream: BufReader::new(UnixStream::connect(socket)?) })
    }

    fn rows(&mut self, sql: &str) -> Result<Vec<Vec<Value>>> {
        let mut question = serde_json::to_vec(&json!({ "sql": sql }))?;
        question.push(b'\n');
        self.stream.get_mut().write_all(&question)?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let answer: Answer = serde_json::from_str(&line).context("no answer: the process is gone")?;
        match answer.error {
            Some(error) => bail!("{error}"),
            None => Ok(answer.rows),
        }
    }

    fn number(&mut self, sql: &str) -> Result<u64> {
        let rows = self.rows(sql)?;
        whole(rows.first().and_then(|row| row.first()).context("no answer")?)
    }
}

/// Numbers of 64 bits come as text.
fn whole<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(value: &Value) -> Result<T> {
    Ok(match value.as_str() {
        Some(text) => text.parse()?,
        None => value.to_string().parse()?,
    })
}

struct ClickhouseReader(Front);

impl Reader for ClickhouseReader {
    fn events(&mut self) -> Result<u64> {
        self.0.number("SELECT count() FROM bench.event")
    }

    fn page(&mut self, query: &TraceQuery) -> Result<TracePage> {
        let Subject::Client(client) = &query.subject else { bail!("only clients are asked for") };
        let (from, to) = (query.range.from.0, query.range.to.0);
        // The names of the fleet hold no quotes.
        let matching = format!(
            "FROM bench.event WHERE instance = '{}' AND client = '{client}' AND time BETWEEN {from} AND {to}",
            query.instance
        );
        let total = self.0.number(&format!("SELECT count() {matching}"))?;
        let order = match query.order {
            Order::OldestFirst => "ORDER BY time, number",
            Order::NewestFirst => "ORDER BY time DESC, number DESC",
        };
        let rows = self.0.rows(&format!(
            "SELECT instance, client, time, hex(connection), action, reason, provenance, hex(address), port, details
            {matching} {order} LIMIT {} OFFSET {}",
            query.limit, query.offset
        ))?;
        let events = rows.iter().map(|row| read(row)?.event()).collect::<Result<_>>()?;
        Ok(TracePage { total, events, gaps: Vec::new() })
    }

    fn by_minute(&mut self, range: TimeRange) -> Result<u64> {
        self.0.number(&format!(
            "SELECT count() FROM (SELECT count() FROM bench.event WHERE time BETWEEN {} AND {}
            GROUP BY intDiv(time, {MINUTE_MS}), action, reason)",
            range.from.0, range.to.0
        ))
    }

    fn by_address(&mut self, address: IpAddr, reasons: &[Reason]) -> Result<u64> {
        let hex: String = address_bytes(address).iter().map(|byte| format!("{byte:02X}")).collect();
        let only = only(reasons)?;
        self.0.number(&format!("SELECT count() FROM bench.event WHERE address = unhex('{hex}') {only}"))
    }

    fn clients(&mut self, range: TimeRange, reasons: &[Reason]) -> Result<u64> {
        let only = only(reasons)?;
        let (from, to) = (range.from.0, range.to.0);
        self.0.number(&format!("SELECT uniqExact(client) FROM bench.event WHERE time BETWEEN {from} AND {to} {only}"))
    }

    fn names(&mut self, pattern: &Pattern) -> Result<u64> {
        let condition = match pattern {
            Pattern::Prefix(prefix) => format!("startsWith(client, '{prefix}')"),
            Pattern::Substring(text) => format!("position(client, '{text}') > 0"),
            Pattern::All | Pattern::Glob(_) | Pattern::Fuzzy(_) => bail!("not asked for"),
        };
        self.0.number(&format!(
            "SELECT count() FROM (SELECT DISTINCT client FROM bench.event
            WHERE instance = '{INSTANCE}' AND {condition} LIMIT {NAMES_MAX})"
        ))
    }
}

fn read(row: &[Value]) -> Result<Row> {
    let [instance, client, time, connection, action, reason, provenance, address, port, details] = row else {
        bail!("a row of {} columns", row.len());
    };
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
    let bytes = |value: &Value| -> Result<Vec<u8>> {
        let text = text(value)?;
        let pairs = text.as_bytes().chunks(2).map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
        pairs.collect()
    };
    Ok(Row {
        instance: text(instance)?,
        client: text(client)?,
        time: whole(time)?,
        connection: bytes(connection)?,
        action: whole(action)?,
        reason: whole(reason)?,
        provenance: whole(provenance)?,
        address: bytes(address)?,
        port: whole(port)?,
        details: Some(text(details)?.into_bytes()).filter(|details| !details.is_empty()),
    })
}
