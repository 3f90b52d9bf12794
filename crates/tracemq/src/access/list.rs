//! Lists for people and for `awk`: a heading, then a line each, columns two spaces apart at least. Never a secret.

use jiff::Timestamp;
use tracemq_access::accounts::{AccountsFile, KeyEntry, UserEntry};
use tracemq_model::TimeMs;

pub(super) fn users(file: &AccountsFile) -> String {
    let row = |user: &UserEntry| {
        let keys = user.keys.iter().filter(|key| key.enabled).count();
        let (state, keys) = (state(user.enabled), format!("{keys}/{}", user.keys.len()));
        [user.name.clone(), user.account.clone(), state, keys, joined(&user.groups), joined(&user.policies)]
    };
    table(["USER", "ACCOUNT", "STATE", "KEYS", "GROUPS", "POLICIES"], file.users.iter().map(row))
}

pub(super) fn keys(file: &AccountsFile, of: Option<&str>) -> String {
    let users = file.users.iter().filter(|user| of.is_none_or(|name| user.name == name));
    let row = |user: &UserEntry, key: &KeyEntry| {
        let state = if user.enabled { state(key.enabled) } else { "user disabled".to_owned() };
        [key.id.clone(), user.name.clone(), state, told(key.created_ms)]
    };
    let rows = users.flat_map(|user| user.keys.iter().map(move |key| row(user, key)));
    table(["KEY", "USER", "STATE", "CREATED"], rows)
}

pub(super) fn groups(file: &AccountsFile) -> String {
    let rows = file.groups.iter().map(|group| {
        let members: Vec<String> = file.members(&group.name).map(str::to_owned).collect();
        [group.name.clone(), joined(&group.policies), joined(&members)]
    });
    table(["GROUP", "POLICIES", "USERS"], rows)
}

pub(super) fn policies(file: &AccountsFile) -> String {
    let rows = file.policies.iter().map(|policy| [policy.name.clone(), joined(&file.holders(&policy.name))]);
    table(["POLICY", "ATTACHED TO"], rows)
}

/// A moment in UTC.
pub(super) fn told(time: TimeMs) -> String {
    Timestamp::from_millisecond(time.0).map(|time| time.to_string()).unwrap_or_else(|_| time.to_string())
}

fn state(enabled: bool) -> String {
    if enabled { "enabled" } else { "disabled" }.to_owned()
}

fn joined(names: &[String]) -> String {
    if names.is_empty() { "-".to_owned() } else { names.join(",") }
}

fn table<const N: usize>(heading: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut rows: Vec<[String; N]> = rows.collect();
    rows.sort();
    rows.insert(0, heading.map(str::to_owned));
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
