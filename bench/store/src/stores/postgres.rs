//! PostgreSQL as it is found on this machine, started for the run in the folder of the run, on a socket in that folder
//! alone. It refuses to run as root, so that it then runs as the user `postgres`.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ::postgres::binary_copy::BinaryCopyInWriter;
use ::postgres::types::{ToSql, Type};
use ::postgres::{Client, Config, NoTls, Statement};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tracemq_model::{Order, Pattern, Reason, Subject, TimeRange, TracePage, TraceQuery};
use tracemq_store::Batch;

use super::row::{Row, address_bytes};
use super::{CACHE_MIB, MINUTE_MS, NAMES_MAX, Reader, Store, only};
use crate::generator::INSTANCE;

const FOLDERS: [&str; 3] = ["/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/17/bin"];
const USER: &str = "postgres";

/// Rows lie in the order of arrival, so that a BRIN index, which costs next to nothing, finds a window of time.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS event (
        id bigint GENERATED ALWAYS AS IDENTITY, instance text NOT NULL, client text NOT NULL, time bigint NOT NULL,
        connection bytea NOT NULL, action smallint NOT NULL, reason smallint NOT NULL, provenance smallint NOT NULL,
        address bytea NOT NULL, port integer NOT NULL, details bytea
    );
    CREATE INDEX IF NOT EXISTS by_client ON event (instance, client, time, id);
    CREATE INDEX IF NOT EXISTS by_time ON event USING brin (time);";
const COPY: &str = "COPY event (instance, client, time, connection, action, reason, provenance, address, port, details)
    FROM STDIN (FORMAT binary)";
const TYPES: [Type; 10] = [
    Type::TEXT,
    Type::TEXT,
    Type::INT8,
    Type::BYTEA,
    Type::INT2,
    Type::INT2,
    Type::INT2,
    Type::BYTEA,
    Type::INT4,
    Type::BYTEA,
];

pub(super) struct Postgres {
    socket: PathBuf,
    client: Client,
    // Behind the client, so that it is stopped after the client is gone.
    server: Server,
}

impl Postgres {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let mut server = Server::start(dir)?;
        let mut client = server.wait_for_client(dir)?;
        client.batch_execute(SCHEMA)?;
        Ok(Self { socket: dir.to_owned(), client, server })
    }
}

impl Store for Postgres {
    fn append(&mut self, batch: &Batch) -> Result<()> {
        let mut rows = BinaryCopyInWriter::new(self.client.copy_in(COPY)?, &TYPES);
        for event in &batch.events {
            let row = Row::of(event)?;
            let columns: [&(dyn ToSql + Sync); 10] = [
                &row.instance,
                &row.client,
                &row.time,
                &row.connection,
                &row.action,
                &row.reason,
                &row.provenance,
                &row.address,
                &row.port,
                &row.details,
            ];
            rows.write(&columns)?;
        }
        rows.finish()?;
        Ok(())
    }

    /// What autovacuum would do within some minutes.
    fn tidy(&mut self) -> Result<()> {
        self.client.batch_execute("VACUUM (ANALYZE) event")?;
        Ok(self.client.batch_execute("CHECKPOINT")?)
    }

    fn reader(&self) -> Result<Box<dyn Reader>> {
        Ok(Box::new(PostgresReader { client: connect(&self.socket)?, statements: HashMap::new() }))
    }

    fn server(&self) -> Option<u32> {
        Some(self.server.child.id())
    }

    /// Beside these, files of the write-ahead log are kept to be written again.
    fn live_bytes(&mut self) -> Result<Option<u64>> {
        let bytes: i64 = self.client.query_one("SELECT pg_total_relation_size('event')", &[])?.get(0);
        Ok(Some(u64::try_from(bytes)?))
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.server.stop()
    }
}

struct Server {
    child: Child,
}

impl Server {
    fn start(dir: &Path) -> Result<Self> {
        let bin = FOLDERS.iter().map(Path::new).find(|bin| bin.join("postgres").exists());
        let bin = bin.with_context(|| format!("not available: no postgres in {}", FOLDERS.join(", ")))?;
        let data = dir.join("data");
        if !data.exists() {
            give_to_user(dir)?;
            let mut initdb = as_user(&bin.join("initdb"))?;
            initdb.args(["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]).arg(&data);
            let done = initdb.output().context("can't run initdb")?;
            ensure!(done.status.success(), "initdb: {}", String::from_utf8_lossy(&done.stderr));
        }
        let log = fs::File::create(dir.join("postgres.log"))?;
        let mut postgres = as_user(&bin.join("postgres"))?;
        postgres.arg("-D").arg(&data).arg("-k").arg(dir);
        for setting in [
            "listen_addresses=",
            "fsync=on",
            "synchronous_commit=on",
            &format!("shared_buffers={CACHE_MIB}MB"),
            "max_wal_size=4GB", // the default of 1 GB has it write whole pages several times
        ] {
            postgres.arg("-c").arg(setting);
        }
        let child = postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(Self { child })
    }

    fn wait_for_client(&mut self, dir: &Path) -> Result<Client> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            match connect(dir) {
                Ok(client) => return Ok(client),
                Err(error) => {
                    let gone = self.child.try_wait()?.is_some();
                    if gone || Instant::now() > deadline {
                        let log = fs::read_to_string(dir.join("postgres.log")).unwrap_or_default();
                        bail!("postgres does not answer: {error}\n{log}");
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }

    /// "Fast": without waiting for whoever is still connected.
    fn stop(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), Signal::INT)?;
            self.child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("can't stop postgres: {error:#}");
        }
    }
}

/// A command that runs as `postgres` when we are root, and is told to quit when we die.
fn as_user(program: &Path) -> Result<Command> {
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        let (user, group) = user_ids()?;
        command.args(["--reuid", &user.to_string(), "--regid", &group.to_string(), "--clear-groups"]);
    }
    command.args(["--pdeathsig", "QUIT"]).arg(program);
    Ok(command)
}

fn give_to_user(dir: &Path) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        let (user, group) = user_ids()?;
        chown(dir, Some(user), Some(group))?;
    }
    Ok(())
}

fn user_ids() -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let mut fields =
        users.lines().map(|line| line.split(':')).find_map(|mut line| (line.next()? == USER).then_some(line));
    let fields = fields.as_mut().context("not available: there is no user postgres")?;
    let (user, group) = (fields.nth(1), fields.next());
    Ok((user.context("no user id")?.parse()?, group.context("no group id")?.parse()?))
}

fn connect(socket: &Path) -> Result<Client> {
    Ok(Config::new().host_path(socket).user(USER).dbname("postgres").connect(NoTls)?)
}

struct PostgresReader {
    client: Client,
    /// By their text: each is prepared once, as a program that asks often would.
    statements: HashMap<String, Statement>,
}

impl PostgresReader {
    fn rows(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<::postgres::Row>> {
        let statement = match self.statements.get(sql) {
            Some(statement) => statement.clone(),
            None => self.client.prepare(sql)?,
        };
        let rows = self.client.query(&statement, values)?;
        self.statements.entry(sql.to_owned()).or_insert(statement);
        Ok(rows)
    }

    fn number(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        let found: i64 = self.rows(sql, values)?.first().context("no answer")?.get(0);
        Ok(u64::try_from(found)?)
    }
}

impl Reader for PostgresReader {
    fn events(&mut self) -> Result<u64> {
        self.number("SELECT COUNT(*) FROM event", &[])
    }

    fn page(&mut self, query: &TraceQuery) -> Result<TracePage> {
        const WHERE: &str = "FROM event WHERE instance = $1 AND client = $2 AND time BETWEEN $3 AND $4";
        let Subject::Client(client) = &query.subject else { bail!("only clients are asked for") };
        let (instance, client) = (query.instance.as_str(), client.as_str());
        let order = match query.order {
            Order::OldestFirst => "ORDER BY time, id",
            Order::NewestFirst => "ORDER BY time DESC, id DESC",
        };
        let (from, to) = (query.range.from.0, query.range.to.0);
        let matching: [&(dyn ToSql + Sync); 4] = [&instance, &client, &from, &to];
        let total = self.number(&format!("SELECT COUNT(*) {WHERE}"), &matching)?;
        let (limit, offset) = (i64::try_from(query.limit)?, i64::try_from(query.offset)?);
        let rows = self.rows(
            &format!(
                "SELECT instance, client, time, connection, action, reason, provenance, address, port, details
                {WHERE} {order} LIMIT $5 OFFSET $6"
            ),
            &[&instance, &client, &from, &to, &limit, &offset],
        )?;
        let event = |row: &::postgres::Row| {
            let row = Row {
                instance: row.get(0),
                client: row.get(1),
                time: row.get(2),
                connection: row.get(3),
                action: row.get(4),
                reason: row.get(5),
                provenance: row.get(6),
                address: row.get(7),
                port: row.get(8),
                details: row.get(9),
            };
            row.event()
        };
        Ok(TracePage { total, events: rows.iter().map(event).collect::<Result<_>>()?, gaps: Vec::new() })
    }

    fn by_minute(&mut self, range: TimeRange) -> Result<u64> {
        let sql = format!(
            "SELECT COUNT(*) FROM (SELECT COUNT(*) FROM event WHERE time BETWEEN $1 AND $2
            GROUP BY time / {MINUTE_MS}, action, reason) counts"
        );
        self.number(&sql, &[&range.from.0, &range.to.0])
    }

    fn by_address(&mut self, address: IpAddr, reasons: &[Reason]) -> Result<u64> {
        let only = only(reasons)?;
        self.number(&format!("SELECT COUNT(*) FROM event WHERE address = $1 {only}"), &[&address_bytes(address)])
    }

    fn clients(&mut self, range: TimeRange, reasons: &[Reason]) -> Result<u64> {
        let only = only(reasons)?;
        let sql = format!(
            "SELECT COUNT(*) FROM (SELECT DISTINCT client FROM event WHERE time BETWEEN $1 AND $2 {only}) clients"
        );
        self.number(&sql, &[&range.from.0, &range.to.0])
    }

    fn names(&mut self, pattern: &Pattern) -> Result<u64> {
        let (operator, text) = match pattern {
            Pattern::Prefix(prefix) => ("^@", prefix),
            Pattern::Substring(text) => ("LIKE", &format!("%{text}%")),
            Pattern::All | Pattern::Glob(_) | Pattern::Fuzzy(_) => bail!("not asked for"),
        };
        // A literal, or no plan would know that it is a prefix; it holds no quotes.
        let sql = format!(
            "SELECT COUNT(*) FROM (SELECT DISTINCT client FROM event
            WHERE instance = '{INSTANCE}' AND client {operator} '{text}' LIMIT {NAMES_MAX}) names"
        );
        self.number(&sql, &[])
    }
}
