//! `tracemq history`: what happened to one device, as a table for people or a JSON object a line for programs.

mod client;
mod shown;
mod table;

use std::io::{IsTerminal, Write, stdout};
use std::path::Path;

use anyhow::Context;
use jiff::Zoned;
use jiff::tz::TimeZone;

use crate::cli::{Format, HistoryArgs};
use crate::exit::{Ended, Ending};
use crate::time_words;
use client::{Page, Question, Server};

/// Rows of a table when nobody asked for more or fewer.
const TABLE_LINES: u64 = 100;

/// Runs the command.
///
/// # Errors
/// When there is no server, no key, nothing on record, or a time that means nothing.
pub(crate) fn run(args: &HistoryArgs) -> anyhow::Result<()> {
    let now = Zoned::now();
    let time = |text: &Option<String>, flag: &str| {
        let usage = |error: anyhow::Error| Ended {
            ending: Ending::Usage,
            what: format!("{flag}: {error:#}"),
            next: "more about times: tracemq history --help".into(),
        };
        text.as_deref().map(|text| time_words::parse(text, &now).map_err(usage)).transpose()
    };
    let question = Question {
        subject: match (&args.client_id, args.address) {
            (_, Some(address)) => client::Subject::Address(address),
            (Some(id), None) => client::Subject::Client(id.clone()),
            (None, None) => unreachable_by_clap(),
        },
        since: time(&args.since, "--since")?,
        until: time(&args.until, "--until")?,
    };
    let data_dir = args.data_dir.as_deref().unwrap_or(Path::new("tracemq-data"));
    let server = Server::find(args.url.as_deref(), data_dir)?;
    let on_terminal = stdout().is_terminal();
    match args.output.unwrap_or(if on_terminal { Format::Table } else { Format::Jsonl }) {
        Format::Table => print_table(args, &server, &question, on_terminal),
        Format::Jsonl => print_jsonl(args, &server, &question),
    }
}

fn unreachable_by_clap() -> client::Subject {
    client::Subject::Client(String::new())
}

fn print_table(args: &HistoryArgs, server: &Server, question: &Question, on_terminal: bool) -> anyhow::Result<()> {
    let lines = args.lines.unwrap_or(TABLE_LINES);
    let mut newest_first: Vec<client::Row> = Vec::new();
    let mut first: Option<Page> = None;
    for_each_page(server, question, true, Some(lines), |page| {
        newest_first.extend(page.items.iter().cloned());
        first.get_or_insert(page);
        Ok(())
    })?;
    let first = first.context("the server gave no page")?;
    if newest_first.is_empty() {
        return Err(nothing_on_record(question, &first).into());
    }
    let look = table::Look {
        zone: if args.utc { TimeZone::UTC } else { TimeZone::system() },
        colour: on_terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        width: on_terminal.then(table::terminal_width).flatten(),
    };
    if !args.reverse {
        newest_first.reverse();
    }
    let mut out = stdout().lock();
    table::print(&mut out, &look, &newest_first, &first.gaps, args.reverse)?;
    let shown = newest_first.len() as u64;
    let mut err = std::io::stderr().lock();
    if first.total > shown {
        writeln!(err, "{shown} of {} events; older ones: -n {}", first.total, first.total)?;
    }
    if on_terminal {
        writeln!(err, "\nAll that is known of each event: tracemq history {} -o jsonl", question.shell_word())?;
    }
    Ok(())
}

fn print_jsonl(args: &HistoryArgs, server: &Server, question: &Question) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    // The newest N, oldest first, must be gathered before they can be turned round; all of them are streamed.
    let gather = args.lines.is_some() && !args.reverse;
    let newest_first = args.reverse || gather;
    let mut gathered = Vec::new();
    let mut printed = 0_u64;
    let mut first: Option<Page> = None;
    for_each_page(server, question, newest_first, args.lines, |page| {
        for row in &page.items {
            if gather {
                gathered.push(row.clone());
            } else {
                writeln!(out, "{}", row.json)?;
                printed += 1;
            }
        }
        first.get_or_insert(page);
        Ok(())
    })?;
    for row in gathered.iter().rev() {
        writeln!(out, "{}", row.json)?;
        printed += 1;
    }
    let first = first.context("the server gave no page")?;
    if printed == 0 {
        return Err(nothing_on_record(question, &first).into());
    }
    let mut err = std::io::stderr().lock();
    for gap in &first.gaps {
        writeln!(err, "{}", table::gap_words(gap, &TimeZone::UTC))?;
    }
    Ok(())
}

fn for_each_page(
    server: &Server,
    question: &Question,
    newest_first: bool,
    lines: Option<u64>,
    mut use_page: impl FnMut(Page) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut left = lines.unwrap_or(u64::MAX);
    let mut cursor = None;
    loop {
        let page = server.page(question, newest_first, left.min(1_000), cursor.as_deref())?;
        left = left.saturating_sub(page.items.len() as u64);
        cursor.clone_from(&page.next_cursor);
        use_page(page)?;
        if cursor.is_none() || left == 0 {
            return Ok(());
        }
    }
}

fn nothing_on_record(question: &Question, page: &Page) -> Ended {
    let covered = |gap: &client::GapRow| {
        question.since.is_some_and(|since| gap.from_ms <= since.0)
            && gap.to_ms >= question.until.map_or_else(|| Zoned::now().timestamp().as_millisecond(), |until| until.0)
    };
    if page.gaps.iter().any(covered) {
        return Ended {
            ending: Ending::NotRecorded,
            what: format!("nothing was recorded in that range, so nothing can be said of {}", question.shell_word()),
            next: "ask for another range with --since and --until".into(),
        };
    }
    let range = if question.since.is_some() || question.until.is_some() { " in that range" } else { "" };
    Ended {
        ending: Ending::NotFound,
        what: format!("nothing is on record for {}{range}", question.shell_word()),
        next: match question.subject {
            client::Subject::Client(_) => {
                "is that the exact client identifier? Connections that never named one: tracemq history --address IP"
            }
            client::Subject::Address(_) => {
                "connections that named a client are under its identifier: tracemq history ID"
            }
        }
        .into(),
    }
}
