//! Commands to type next. Each is whole, so that it can be pasted: it repeats what was given of range and server, and
//! no identifier in it can act on the terminal or mean something to the shell.

use std::fmt::Write as _;

use super::shown::acts;
use crate::cli::{Format, HistoryArgs};
use crate::shell;

/// Makes the commands.
pub(super) struct Hints<'a> {
    program: &'a str,
    args: &'a HistoryArgs,
}

impl<'a> Hints<'a> {
    pub(super) fn new(program: &'a str, args: &'a HistoryArgs) -> Self {
        Self { program, args }
    }

    /// The same question for `lines` rows, which look the same.
    pub(super) fn more(&self, lines: u64) -> String {
        let mut flags = self.range() + &self.server();
        let _ = write!(flags, " -n {lines}");
        self.look(&mut flags);
        self.command(&flags)
    }

    /// The same question with all that is known in the answer.
    pub(super) fn in_full(&self) -> String {
        let mut flags = self.range() + &self.server();
        if let Some(lines) = self.args.lines {
            let _ = write!(flags, " -n {lines}");
        }
        if self.args.reverse {
            flags.push_str(" -r");
        }
        flags.push_str(" -o jsonl");
        self.command(&flags)
    }

    /// The same question without a range.
    pub(super) fn any_time(&self) -> String {
        let mut flags = self.server();
        self.look(&mut flags);
        self.command(&flags)
    }

    /// A question about `subject`, which is written as it stands, to the same server.
    pub(super) fn about(&self, subject: &str) -> String {
        format!("{} history {subject}{}{}", self.program, self.range(), self.server())
    }

    /// The same question to the files of the server.
    pub(super) fn in_its_files(&self) -> String {
        let subject = match (&self.args.client_id, self.args.address) {
            (_, Some(address)) => format!(" --address {address}"),
            // Also of an identifier that looks like a flag.
            (id, None) => format!(" --client={}", word(id.as_deref().unwrap_or_default())),
        };
        format!("{} store export{subject}{}{}", self.program, self.range(), self.data_dir())
    }

    fn range(&self) -> String {
        flag("--since", self.args.since.as_deref()) + &flag("--until", self.args.until.as_deref())
    }

    fn server(&self) -> String {
        let ca = self.args.ca.as_ref().map(|path| path.to_string_lossy());
        flag("--url", self.args.url.as_deref()) + &flag("--ca", ca.as_deref()) + &self.data_dir()
    }

    fn data_dir(&self) -> String {
        let data_dir = self.args.data_dir.as_ref().map(|path| path.to_string_lossy());
        flag("--instance", self.args.instance.as_deref()) + &flag("-D", data_dir.as_deref())
    }

    fn look(&self, flags: &mut String) {
        for (given, flag) in [
            (self.args.reverse, " -r"),
            (self.args.utc, " --utc"),
            (self.args.output == Some(Format::Table), " -o table"),
            (self.args.output == Some(Format::Jsonl), " -o jsonl"),
        ] {
            if given {
                flags.push_str(flag);
            }
        }
    }

    fn command(&self, flags: &str) -> String {
        let program = self.program;
        match (&self.args.client_id, self.args.address) {
            (_, Some(address)) => format!("{program} history --address {address}{flags}"),
            // Taken for a flag unless it stands behind `--`.
            (Some(id), None) if id.starts_with('-') => format!("{program} history{flags} -- {}", word(id)),
            (id, None) => format!("{program} history {}{flags}", word(id.as_deref().unwrap_or_default())),
        }
    }
}

fn flag(name: &str, value: Option<&str>) -> String {
    value.map(|value| format!(" {name} {}", word(value))).unwrap_or_default()
}

/// `text` as one word of a shell, safe to look at; bash's `$'...'` where it holds what would act on the terminal.
pub(super) fn word(text: &str) -> String {
    if !text.contains(acts) {
        return shell::quoted(text).into_owned();
    }
    let mut quoted = String::from("$'");
    for c in text.chars() {
        let _ = match c {
            '\'' | '\\' => write!(quoted, "\\{c}"),
            c if !acts(c) => write!(quoted, "{c}"),
            c if c.is_ascii() => write!(quoted, "\\x{:02x}", u32::from(c)),
            c => write!(quoted, "\\u{:04x}", u32::from(c)),
        };
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(words: &[&str]) -> HistoryArgs {
        // Both given, for the environment of whoever runs the tests may have defaults for them.
        let words =
            ["tracemq", "history", "-D", "my data", "--url", "https://h:1", "--ca", "ca.pem"].iter().chain(words);
        let Command::History(args) = Cli::try_parse_from(words).unwrap().command else { unreachable!() };
        args
    }

    const SERVER: &str = "--url https://h:1 --ca ca.pem -D 'my data'";

    #[test]
    fn hints_are_whole_commands() {
        let given = args(&["pump 07", "--since", "-2h", "--until", "2026-11-22 10:30", "-r", "--utc"]);
        let hints = Hints::new("tracemq", &given);
        let range = "--since -2h --until '2026-11-22 10:30'";
        assert_eq!(hints.more(250), format!("tracemq history 'pump 07' {range} {SERVER} -n 250 -r --utc"));
        assert_eq!(hints.in_full(), format!("tracemq history 'pump 07' {range} {SERVER} -r -o jsonl"));
        assert_eq!(hints.any_time(), format!("tracemq history 'pump 07' {SERVER} -r --utc"));
        assert_eq!(hints.in_its_files(), format!("tracemq store export --client='pump 07' {range} -D 'my data'"));

        let given = args(&["--address", "192.0.2.7", "-n", "5", "-o", "table"]);
        let hints = Hints::new("./tracemq", &given);
        assert_eq!(hints.more(9), format!("./tracemq history --address 192.0.2.7 {SERVER} -n 9 -o table"));
        assert_eq!(hints.in_full(), format!("./tracemq history --address 192.0.2.7 {SERVER} -n 5 -o jsonl"));
        assert_eq!(hints.in_its_files(), "./tracemq store export --address 192.0.2.7 -D 'my data'");
    }

    #[test]
    fn an_identifier_that_looks_like_a_flag_stands_behind_two_dashes() {
        let given = args(&["--", "-x"]);
        let typed = Hints::new("tracemq", &given).more(3);
        assert_eq!(typed, format!("tracemq history {SERVER} -n 3 -- -x"));
    }

    #[test]
    fn what_would_act_on_the_terminal_is_escaped_for_bash() {
        for (text, expected) in [
            ("\x1b[31mred", r"$'\x1b[31mred'"),
            ("a'\\\n", r"$'a\'\\\x0a'"),
            ("a\u{202e}b\u{9b}", r"$'a\u202eb\u009b'"),
            ("pump 07/é", "'pump 07/é'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(word(text), expected);
        }
    }
}
