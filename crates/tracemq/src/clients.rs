//! `tracemq clients` and `tracemq kick`: who is connected now, and ending connections; through REST like anybody.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;
use tracemq_api::rest::ClientRow;

use crate::cli::{ClientsArgs, Format, KickArgs, ServerArgs};
use crate::exit::{Ended, Ending};
use crate::history::{Method, Server, percent_encode, shown};

/// Clients of a page; the server gives no more at once.
const PAGE_MAX: u64 = 1_000;
/// Rows of a table when nobody asked for more or fewer.
const TABLE_LINES: u64 = 100;

#[derive(Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Kicked {
    ended: u64,
    more: bool,
}

fn server(args: &ServerArgs) -> anyhow::Result<Server> {
    let data_dir = args.data_dir.as_deref().unwrap_or(Path::new("tracemq-data"));
    Server::find(args.url.as_deref(), args.ca.as_deref(), data_dir, None)
}

/// Runs `tracemq clients`.
///
/// # Errors
/// When there is no server, no key, or nobody is connected.
pub(crate) fn list(args: &ClientsArgs) -> anyhow::Result<()> {
    let format = args.output.unwrap_or(if stdout().is_terminal() { Format::Table } else { Format::Jsonl });
    let most = args.lines.unwrap_or(match format {
        Format::Table => TABLE_LINES,
        Format::Jsonl => u64::MAX,
    });
    let server = server(&args.server)?;
    let mut out = stdout().lock();
    let mut printed = 0;
    let mut cursor: Option<String> = None;
    if format == Format::Table {
        writeln!(out, "{}", columns("CLIENT", "USER", "PEER", "LISTENER", "SINCE", "SUBS", "QUEUED", "IN FLIGHT"))?;
    }
    loop {
        let mut target = format!("/api/v1/connections?limit={}", PAGE_MAX.min(most - printed));
        if let Some(prefix) = &args.prefix {
            let _ = write!(target, "&prefix={}", percent_encode(prefix)); // a String takes everything
        }
        if let Some(cursor) = &cursor {
            let _ = write!(target, "&cursor={}", percent_encode(cursor));
        }
        let page: Page = serde_json::from_str(&server.call(Method::Get, &target)?)
            .context("the answer is not what this version understands")?;
        for json in page.items {
            printed += 1;
            match format {
                Format::Jsonl => writeln!(out, "{json}")?,
                Format::Table => writeln!(out, "{}", row(&serde_json::from_str(json.get())?))?,
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() || printed >= most {
            break;
        }
    }
    if printed == 0 {
        return Err(Ended {
            ending: Ending::NotFound,
            what: "no such client is connected".into(),
            next: "what happened to one: tracemq history CLIENT".into(),
        }
        .into());
    }
    if cursor.is_some() {
        writeln!(stderr(), "there are more; -n {} shows them", printed.saturating_mul(10))?;
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "one argument a column")]
fn columns(
    client: &str,
    user: &str,
    peer: &str,
    listener: &str,
    since: &str,
    subscriptions: &str,
    queued: &str,
    in_flight: &str,
) -> String {
    format!(
        "{client:<24}  {user:<12}  {peer:<21}  {listener:<8}  {since:<24}  {subscriptions:>4}  {queued:>6}  {in_flight:>9}"
    )
}

fn row(client: &ClientRow) -> String {
    let text = |text: &Option<String>| shown(text.as_deref().unwrap_or("-"));
    columns(
        &shown(&client.client),
        &text(&client.username),
        &text(&client.peer),
        &text(&client.listener),
        &text(&client.since),
        &client.subscriptions.to_string(),
        &client.queued.to_string(),
        &client.in_flight.to_string(),
    )
}

/// Runs `tracemq kick`.
///
/// # Errors
/// When there is no server, no key that may, or nobody who is meant is connected.
#[expect(clippy::print_stdout, reason = "what was done is the command's answer")]
pub(crate) fn kick(args: &KickArgs) -> anyhow::Result<()> {
    let query = match (&args.client_id, &args.user, args.address) {
        (Some(id), ..) => format!("client={}", percent_encode(id)),
        (_, Some(name), _) => format!("username={}", percent_encode(name)),
        (_, _, Some(address)) => format!("address={}", percent_encode(&address.to_string())),
        (None, None, None) => anyhow::bail!("nobody is named"), // the command line asks for one
    };
    let server = server(&args.server)?;
    let answer = server.call(Method::Delete, &format!("/api/v1/connections?{query}"))?;
    let kicked: Kicked = serde_json::from_str(&answer).context("the answer is not what this version understands")?;
    if kicked.ended == 0 {
        return Err(Ended {
            ending: Ending::NotFound,
            what: "nobody who is meant is connected".into(),
            next: "who is: tracemq clients".into(),
        }
        .into());
    }
    println!("{} ended", kicked.ended);
    if kicked.more {
        println!("there may be more: the same command ends them");
    }
    Ok(())
}
