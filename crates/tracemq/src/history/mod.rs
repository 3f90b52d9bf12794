//! `tracemq history`: what happened to one device, as a table for people or a JSON object a line for programs.

mod client;
mod clock;
mod hints;
mod layout;
mod nothing;
mod question;
mod shown;
mod table;

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use jiff::Zoned;
use jiff::tz::TimeZone;

use crate::cli::{Format, HistoryArgs};
use crate::exit::Ended;
use crate::shell;
pub(crate) use client::{Method, Server, percent_encode};
pub(crate) use shown::shown;

use client::{Page, Row};
use clock::Clock;
use hints::Hints;
use question::{Question, Subject};

/// Rows of a table when nobody asked for more or fewer.
const TABLE_LINES: u64 = 100;

/// The recorder gathers what happens for 20 ms and then writes it to the disk; with this, also a disk that takes its
/// time has it by the second question.
const ON_ITS_WAY: Duration = Duration::from_millis(60);

/// Runs the command.
///
/// # Errors
/// When there is no server, no key, nothing on record, or a time that means nothing.
pub(crate) fn run(args: &HistoryArgs) -> anyhow::Result<()> {
    let on_terminal = stdout().is_terminal();
    let format = args.output.unwrap_or(if on_terminal { Format::Table } else { Format::Jsonl });
    let clock = match format {
        Format::Table => Clock::of_table(if args.utc { TimeZone::UTC } else { TimeZone::system() }),
        Format::Jsonl => Clock::of_json(),
    };
    let question = Question::of(args, &Zoned::now(), &clock)?;
    let data_dir = args.data_dir.as_deref().unwrap_or(Path::new("tracemq-data"));
    let program = shell::own_command();
    let hints = Hints::new(&program, args);
    let server = Server::find(args.url.as_deref(), args.ca.as_deref(), data_dir, Some(hints.in_its_files()))?;
    let asking = Asking { args, server, question, hints };
    match format {
        Format::Table => asking.print_table(clock, on_terminal),
        Format::Jsonl => asking.print_jsonl(&clock),
    }
}

/// A run of the command.
struct Asking<'a> {
    args: &'a HistoryArgs,
    server: Server,
    question: Question,
    hints: Hints<'a>,
}

impl Asking<'_> {
    fn print_table(&self, clock: Clock, on_terminal: bool) -> anyhow::Result<()> {
        let args = self.args;
        let mut newest_first: Vec<Row> = Vec::new();
        let mut first: Option<Page> = None;
        self.for_each_page(true, Some(args.lines.unwrap_or(TABLE_LINES)), |page| {
            newest_first.extend(page.items.iter().cloned());
            first.get_or_insert(page);
            Ok(())
        })?;
        let first = first.context("the server gave no page")?;
        let look = table::Look {
            clock,
            colour: on_terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
            width: on_terminal.then(table::terminal_width).flatten(),
            nameless: matches!(self.question.subject, Subject::Address(_)),
        };
        if !args.reverse {
            newest_first.reverse();
        }
        table::print(&mut stdout().lock(), &look, &newest_first, &first.gaps, args.reverse)?;
        if newest_first.is_empty() {
            return Err(self.nothing(&first, &look.clock).into());
        }
        let shown = newest_first.len() as u64;
        let mut err = stderr().lock();
        if first.total > shown {
            writeln!(err, "{shown} of {} events; older ones: {}", first.total, self.hints.more(first.total))?;
        }
        if on_terminal {
            writeln!(err, "\nAll that is known of each event: {}", self.hints.in_full())?;
        }
        Ok(())
    }

    fn print_jsonl(&self, clock: &Clock) -> anyhow::Result<()> {
        let args = self.args;
        let mut out = stdout().lock();
        // The newest N, oldest first, must be gathered before they can be turned round; all of them are streamed.
        let gather = args.lines.is_some() && !args.reverse;
        let mut gathered = Vec::new();
        let mut printed = 0_u64;
        let mut first: Option<Page> = None;
        self.for_each_page(args.reverse || gather, args.lines, |page| {
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
        let mut err = stderr().lock();
        for gap in &first.gaps {
            writeln!(err, "{}", table::gap_words(gap, clock))?;
        }
        if printed == 0 {
            return Err(self.nothing(&first, clock).into());
        }
        Ok(())
    }

    fn for_each_page(
        &self,
        newest_first: bool,
        lines: Option<u64>,
        mut use_page: impl FnMut(Page) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut left = lines.unwrap_or(u64::MAX);
        let ask = |left: u64, cursor: Option<&str>| {
            self.server.page(&self.question, newest_first, left.min(client::PAGE_MAX), cursor)
        };
        let mut page = ask(left, None)?;
        if page.items.is_empty() {
            // Whoever asks right after something happened may be faster than the record of it, which must be on the
            // disk before it is in any answer. "Nothing is on record" would send them looking in the wrong place.
            thread::sleep(ON_ITS_WAY);
            page = ask(left, None)?;
        }
        loop {
            left = left.saturating_sub(page.items.len() as u64);
            let cursor = page.next_cursor.clone();
            use_page(page)?;
            let Some(cursor) = cursor.filter(|_| left > 0) else { return Ok(()) };
            page = ask(left, Some(&cursor))?;
        }
    }

    fn nothing(&self, page: &Page, clock: &Clock) -> Ended {
        // That there is nothing in the range is known; a failure to say more must not take its place.
        let anything = || self.server.page(&self.question.of_all_time(), true, 1, None).ok()?.items.pop();
        let last = if self.question.has_range() { anything() } else { None };
        let last = last.as_ref().map(|row| &row.event);
        nothing::nothing_on_record(&self.question, &page.gaps, last, clock, &self.hints)
    }
}
