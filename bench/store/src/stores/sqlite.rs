//! SQLite: one table in the order of arrival, one index by client and time. Questions about a window of time walk the
//! table; an index on time would answer them faster and cost the same again at each append.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rusqlite::{Connection, params, params_from_iter};
use tracemq_model::{Order, Pattern, Reason, Subject, TimeRange, TracePage, TraceQuery};
use tracemq_store::Batch;

use super::row::{Row, address_bytes};
use super::{CACHE_MIB, MINUTE_MS, NAMES_MAX, Reader, Store, only};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS event (
        id INTEGER PRIMARY KEY, instance TEXT NOT NULL, client TEXT NOT NULL, time INTEGER NOT NULL,
        connection BLOB NOT NULL, action INTEGER NOT NULL, reason INTEGER NOT NULL, provenance INTEGER NOT NULL,
        address BLOB NOT NULL, port INTEGER NOT NULL, details BLOB
    );
    CREATE INDEX IF NOT EXISTS by_client ON event (instance, client, time, id);";

const INSERT: &str =
    "INSERT INTO event (instance, client, time, connection, action, reason, provenance, address, port, details)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

pub(super) struct Sqlite {
    file: PathBuf,
    connection: Connection,
}

fn connect(file: &Path) -> Result<Connection> {
    let connection = Connection::open(file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -(i64::from(CACHE_MIB) * 1024))?;
    connection.busy_timeout(std::time::Duration::from_secs(60))?;
    Ok(connection)
}

impl Sqlite {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let file = dir.join("events.sqlite");
        let connection = connect(&file)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { file, connection })
    }
}

impl Store for Sqlite {
    fn append(&mut self, batch: &Batch) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(INSERT)?;
            for event in &batch.events {
                let row = Row::of(event)?;
                insert.execute(params![
                    row.instance,
                    row.client,
                    row.time,
                    row.connection,
                    row.action,
                    row.reason,
                    row.provenance,
                    row.address,
                    row.port,
                    row.details
                ])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn tidy(&mut self) -> Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn Reader>> {
        Ok(Box::new(SqliteReader { connection: connect(&self.file)? }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.connection.close().map_err(|(_, error)| error.into())
    }
}

struct SqliteReader {
    connection: Connection,
}

impl SqliteReader {
    fn number(&self, sql: &str, values: &[rusqlite::types::Value]) -> Result<u64> {
        let mut query = self.connection.prepare_cached(sql)?;
        let found: i64 = query.query_row(params_from_iter(values), |row| row.get(0))?;
        Ok(u64::try_from(found)?)
    }
}

impl Reader for SqliteReader {
    fn events(&mut self) -> Result<u64> {
        self.number("SELECT COUNT(*) FROM event", &[])
    }

    fn page(&mut self, query: &TraceQuery) -> Result<TracePage> {
        const COUNT: &str = "SELECT COUNT(*) FROM event WHERE instance = ?1 AND client = ?2 AND time BETWEEN ?3 AND ?4";
        const SELECT: &str =
            "SELECT instance, client, time, connection, action, reason, provenance, address, port, details
            FROM event WHERE instance = ?1 AND client = ?2 AND time BETWEEN ?3 AND ?4";
        let Subject::Client(client) = &query.subject else { bail!("only clients are asked for") };
        let (instance, client) = (query.instance.as_str(), client.as_str());
        let (from, to) = (query.range.from.0, query.range.to.0);
        let order = match query.order {
            Order::OldestFirst => "ORDER BY time, id",
            Order::NewestFirst => "ORDER BY time DESC, id DESC",
        };
        let mut count = self.connection.prepare_cached(COUNT)?;
        let total: i64 = count.query_row(params![instance, client, from, to], |row| row.get(0))?;
        let mut select = self.connection.prepare_cached(&format!("{SELECT} {order} LIMIT ?5 OFFSET ?6"))?;
        let (limit, offset) = (i64::try_from(query.limit)?, i64::try_from(query.offset)?);
        let rows = select.query_map(params![instance, client, from, to, limit, offset], |row| {
            Ok(Row {
                instance: row.get(0)?,
                client: row.get(1)?,
                time: row.get(2)?,
                connection: row.get(3)?,
                action: row.get(4)?,
                reason: row.get(5)?,
                provenance: row.get(6)?,
                address: row.get(7)?,
                port: row.get(8)?,
                details: row.get(9)?,
            })
        })?;
        let events = rows.map(|row| row?.event()).collect::<Result<_>>()?;
        Ok(TracePage { total: u64::try_from(total)?, events, gaps: Vec::new() })
    }

    fn by_minute(&mut self, range: TimeRange) -> Result<u64> {
        let sql = format!(
            "SELECT COUNT(*) FROM (SELECT COUNT(*) FROM event WHERE time BETWEEN ?1 AND ?2
            GROUP BY time / {MINUTE_MS}, action, reason)"
        );
        self.number(&sql, &[range.from.0.into(), range.to.0.into()])
    }

    fn by_address(&mut self, address: IpAddr, reasons: &[Reason]) -> Result<u64> {
        let only = only(reasons)?;
        self.number(&format!("SELECT COUNT(*) FROM event WHERE address = ?1 {only}"), &[address_bytes(address).into()])
    }

    fn clients(&mut self, range: TimeRange, reasons: &[Reason]) -> Result<u64> {
        let only = only(reasons)?;
        let sql = format!("SELECT COUNT(DISTINCT client) FROM event WHERE time BETWEEN ?1 AND ?2 {only}");
        self.number(&sql, &[range.from.0.into(), range.to.0.into()])
    }

    fn names(&mut self, pattern: &Pattern) -> Result<u64> {
        let (condition, values) = match pattern {
            Pattern::Prefix(prefix) => {
                ("client >= ?1 AND client < ?2", vec![prefix.clone().into(), format!("{prefix}\u{10ffff}").into()])
            }
            Pattern::Substring(text) => ("instr(client, ?1) > 0", vec![text.clone().into()]),
            Pattern::All | Pattern::Glob(_) | Pattern::Fuzzy(_) => bail!("not asked for"),
        };
        let instance = crate::generator::INSTANCE;
        let sql = format!(
            "SELECT COUNT(*) FROM (SELECT DISTINCT client FROM event
            WHERE instance = '{instance}' AND {condition} LIMIT {NAMES_MAX})"
        );
        self.number(&sql, &values)
    }
}
