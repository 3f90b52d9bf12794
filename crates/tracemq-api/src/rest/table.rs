//! An event as a line of a table.

use super::row::EventRow;

macro_rules! columns {
    ($($name:ident),+ $(,)?) => {
        /// The names of the columns, which are those of [`EventRow`].
        pub(super) const COLUMNS: [&str; [$(stringify!($name)),+].len()] = [$(stringify!($name)),+];

        /// What stands in them; nothing where nothing is known.
        pub(super) fn cells(row: &EventRow) -> [String; COLUMNS.len()] {
            // All of them: one that is new must be in the list.
            let EventRow { $($name),+ } = row;
            [$($name.cell()),+]
        }
    };
}

columns!(
    time,
    time_ms,
    instance,
    connection,
    action,
    reason,
    initiator,
    provenance,
    client,
    peer,
    listener,
    protocol,
    username,
    keep_alive_s,
    clean_start,
    session_present,
    reason_code,
    detail,
    other_connection,
    duration_ms,
    bytes_in,
    bytes_out,
    packets_in,
    packets_out,
    last_in_age_ms,
    last_out_age_ms,
    tls_version,
    server_name,
    certificate_subject,
    certificate_issuer,
    certificate_not_after,
    count,
    last_in_kind,
    last_out_kind,
    subscriptions,
    in_flight,
    missed_keep_alives,
);

trait Cell {
    fn cell(&self) -> String;
}

impl Cell for String {
    /// A text that spreadsheets would take for a formula gets a `'` before it, and so does one that begins with `'`: whoever takes one
    /// away from each has the text again.
    fn cell(&self) -> String {
        match self.chars().next() {
            Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\'') => format!("'{self}"),
            Some(_) | None => self.clone(),
        }
    }
}

impl<T: Cell> Cell for Option<T> {
    fn cell(&self) -> String {
        self.as_ref().map(Cell::cell).unwrap_or_default()
    }
}

macro_rules! plain {
    ($($kind:ty),+) => { $(impl Cell for $kind { fn cell(&self) -> String { self.to_string() } })+ };
}

plain!(i64, u64, u32, u16, u8, bool);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_what_the_json_has() {
        let row = EventRow::default();
        let json = serde_json::to_value(&row).unwrap();
        for name in json.as_object().unwrap().keys() {
            assert!(COLUMNS.contains(&name.as_str()), "{name}");
        }
        let at = |name: &str| COLUMNS.iter().position(|known| *known == name).unwrap();
        let full = EventRow { client: Some("c".into()), bytes_in: Some(7), in_flight: Some(9), ..row };
        let cells = cells(&full);
        assert_eq!((&*cells[at("client")], &*cells[at("bytes_in")], &*cells[at("in_flight")]), ("c", "7", "9"));
    }

    #[test]
    fn a56_formulas_are_texts_and_come_back() {
        for value in ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "'quoted", "''", "plain", "a=1", "", "é"] {
            let shown = value.to_owned().cell();
            assert!(!shown.starts_with(['=', '+', '-', '@', '\t', '\r']), "{value}");
            assert_eq!(shown.strip_prefix('\'').unwrap_or(&shown), value);
        }
    }
}
