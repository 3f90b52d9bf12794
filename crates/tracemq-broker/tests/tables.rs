//! The tables in `docs/` that name tests and statements of the standards: what they name is there, and they leave none out.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// How many statements each section of MQTT 3.1.1 has.
const MQTT_3_1_1: &[(&str, u32)] = &[
    ("1.5.3", 3),
    ("2.2.2", 2),
    ("2.3.1", 7),
    ("3.1.0", 2),
    ("3.1.2", 24),
    ("3.1.3", 11),
    ("3.1.4", 5),
    ("3.2.0", 1),
    ("3.2.2", 6),
    ("3.3.1", 12),
    ("3.3.2", 3),
    ("3.3.4", 1),
    ("3.3.5", 2),
    ("3.6.1", 1),
    ("3.8.1", 1),
    ("3.8.3", 4),
    ("3.8.4", 6),
    ("3.9.3", 2),
    ("3.10.1", 1),
    ("3.10.3", 2),
    ("3.10.4", 6),
    ("3.12.4", 1),
    ("3.14.1", 1),
    ("3.14.4", 3),
    ("4.1.0", 2),
    ("4.3.1", 1),
    ("4.3.2", 2),
    ("4.3.3", 2),
    ("4.4.0", 1),
    ("4.5.0", 2),
    ("4.6.0", 6),
    ("4.7.1", 3),
    ("4.7.2", 1),
    ("4.7.3", 4),
    ("4.8.0", 2),
    ("6.0.0", 4),
    ("7.0.0", 2),
    ("7.1.1", 1),
    ("7.1.2", 1),
];

/// The same of MQTT 5.0. Its 2.2.1 begins with 2.
const MQTT_5_0: &[(&str, u32)] = &[
    ("1.5.4", 3),
    ("1.5.5", 1),
    ("1.5.7", 1),
    ("2.1.3", 1),
    ("2.2.1", 6),
    ("2.2.2", 1),
    ("3.1.0", 2),
    ("3.1.2", 30),
    ("3.1.3", 12),
    ("3.1.4", 6),
    ("3.2.0", 2),
    ("3.2.2", 22),
    ("3.3.1", 13),
    ("3.3.2", 20),
    ("3.3.4", 10),
    ("3.4.2", 3),
    ("3.5.2", 3),
    ("3.6.1", 1),
    ("3.6.2", 3),
    ("3.7.2", 3),
    ("3.8.1", 1),
    ("3.8.3", 5),
    ("3.8.4", 8),
    ("3.9.2", 2),
    ("3.9.3", 2),
    ("3.10.1", 1),
    ("3.10.2", 2),
    ("3.10.4", 6),
    ("3.11.2", 2),
    ("3.11.3", 2),
    ("3.12.4", 1),
    ("3.14.0", 1),
    ("3.14.1", 1),
    ("3.14.2", 4),
    ("3.14.4", 3),
    ("3.15.1", 1),
    ("3.15.2", 3),
    ("4.1.0", 2),
    ("4.2.0", 1),
    ("4.3.1", 1),
    ("4.3.2", 5),
    ("4.3.3", 13),
    ("4.4.0", 2),
    ("4.5.0", 2),
    ("4.6.0", 6),
    ("4.7.0", 1),
    ("4.7.1", 2),
    ("4.7.2", 1),
    ("4.7.3", 4),
    ("4.8.2", 6),
    ("4.9.0", 3),
    ("4.12.0", 7),
    ("4.12.1", 2),
    ("4.13.1", 1),
    ("4.13.2", 1),
    ("6.0.0", 4),
];

#[test]
fn the_table_of_statements_has_each_one_of_both_standards_and_no_other() {
    let text = read("docs/conformance.md");
    let parts: Vec<&str> = text.split("\n## ").collect();
    for (title, sections) in [("MQTT 3.1.1\n", MQTT_3_1_1), ("MQTT 5.0\n", MQTT_5_0)] {
        let part = parts.iter().find(|part| part.starts_with(title)).unwrap();
        let mut named = BTreeSet::new();
        for row in part.lines().filter(|line| line.starts_with("| ")) {
            for statement in statements(row.split('|').nth(1).unwrap()) {
                assert!(named.insert(statement.clone()), "{title} {statement:?} stands there twice");
            }
        }
        let all = sections.iter().flat_map(|(section, count)| {
            let first = if (title, *section) == ("MQTT 5.0\n", "2.2.1") { 2 } else { 1 };
            (first..=*count).map(|number| ((*section).to_owned(), number))
        });
        assert_eq!(named, all.collect(), "{title}");
    }
}

/// `3.1.2-3, 3.1.2-5 to 3.1.2-7` as section and number.
fn statements(cell: &str) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for range in cell.split(',').filter(|range| range.contains('-')) {
        let mut ends = range.trim().split(" to ").map(|one| one.split_once('-').unwrap());
        let (section, first) = ends.next().unwrap();
        let (last_section, last) = ends.next().unwrap_or((section, first));
        assert_eq!(section, last_section, "{range}");
        let numbers = first.parse::<u32>().unwrap()..=last.parse().unwrap();
        found.extend(numbers.map(|number| (section.to_owned(), number)));
    }
    found
}

/// A name that ends in `…` stands for all tests that begin so.
#[test]
fn every_test_that_a_table_names_exists() {
    let mut code = String::new();
    for folder in ["crates", "e2e", "fuzz"] {
        collect(&workspace().join(folder), &mut code);
    }
    for (table, at_least) in
        [("conformance", 100), ("connection-faults", 100), ("store-faults", 90), ("api-faults", 70)]
    {
        let text = read(&format!("docs/{table}.md"));
        let mut named = 0;
        for word in text.split('`').skip(1).step_by(2) {
            let name = word.rsplit([':', ' ']).next().unwrap();
            let there = match name.strip_suffix('…') {
                Some(prefix) => code.contains(&format!("fn {prefix}")),
                None if is_name(name) => {
                    let is_there = |form: [&str; 2]| code.contains(&form.join(name));
                    [["fn ", "("], ["def ", "("]].into_iter().any(is_there)
                }
                None => continue,
            };
            named += 1;
            assert!(there, "{table}: {name}");
        }
        assert!(named >= at_least, "{table}: {named}");
    }
}

/// What a test shows stands above it, as `// MQTT 5.0: 3.1.2-3, 3.1.2-5 to 3.1.2-7`: whoever changes the test sees what hangs on
/// it, and the table can name no test that knows nothing of that.
#[test]
fn each_test_that_the_table_of_statements_names_carries_the_numbers_of_these_and_no_others() {
    let mut code = String::new();
    collect(&workspace().join("crates"), &mut code);
    let carried = carried(&code);
    let text = read("docs/conformance.md");
    let mut named: BTreeMap<&str, BTreeSet<Statement<'_>>> = BTreeMap::new();
    for part in text.split("\n## ").filter(|part| part.starts_with("MQTT ")) {
        let standard = part.lines().next().unwrap();
        for row in part.lines().filter(|line| line.starts_with("| ")) {
            let cells: Vec<&str> = row.splitn(4, '|').collect();
            let tests = cells[3].split('`').skip(1).step_by(2).filter_map(|word| word.rsplit([':', ' ']).next());
            for test in tests.filter(|test| is_name(test)) {
                let of_row = statements(cells[1]).into_iter().map(|(section, number)| (standard, section, number));
                named.entry(test).or_default().extend(of_row);
            }
        }
    }
    assert!(named.len() > 100, "{}", named.len());
    let none = BTreeSet::new();
    for (test, statements) in &named {
        assert_eq!(carried.get(test).unwrap_or(&none), statements, "above {test}, and in the table");
    }
    let unnamed: Vec<_> = carried.keys().filter(|test| !named.contains_key(*test)).collect();
    assert!(unnamed.is_empty(), "the table does not name {unnamed:?}");
}

const STANDARDS: [&str; 2] = ["MQTT 3.1.1", "MQTT 5.0"];

/// Standard, section, number.
type Statement<'a> = (&'a str, String, u32);

/// The statements that stand above each test.
fn carried(code: &str) -> BTreeMap<&str, BTreeSet<Statement<'_>>> {
    let mut carried: BTreeMap<&str, BTreeSet<Statement<'_>>> = BTreeMap::new();
    let mut above = BTreeSet::new();
    for line in code.lines().map(str::trim_start) {
        let found = STANDARDS.into_iter().find_map(|known| {
            let list = line.strip_prefix("// ")?.strip_prefix(known)?.strip_prefix(": ")?;
            Some((known, list))
        });
        if let Some((standard, list)) = found {
            above.extend(statements(list).into_iter().map(|(section, number)| (standard, section, number)));
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            let name =
                line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            if let Some(name) = name.filter(|_| !above.is_empty()) {
                carried.entry(name).or_default().append(&mut above);
            }
            above.clear();
        }
    }
    carried
}

/// Each fault of the list has its row, in order.
#[test]
fn the_table_of_connection_faults_has_a_row_for_each() {
    let text = read("docs/connection-faults.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| B")?.split(' ').next()?.parse::<u32>().ok());
    assert_eq!(rows.collect::<Vec<_>>(), (1..=101).collect::<Vec<_>>());
}

/// Each fault of the list has its row, and each row tests that carry its number, but for what can't be tested.
#[test]
fn the_table_of_store_faults_has_a_row_and_a_test_for_each() {
    let text = read("docs/store-faults.md");
    let mut seen = BTreeSet::new();
    for row in text.lines().filter(|line| line.starts_with("| S")) {
        let cells: Vec<&str> = row.split('|').collect();
        let numbers: Vec<u32> =
            cells[1].split_whitespace().map_while(|word| word.strip_prefix('S')?.parse().ok()).collect();
        assert!(!numbers.is_empty(), "{row}");
        for number in numbers {
            seen.insert(number);
            let is_of = |name: &str| format!("_{name}").contains(&format!("_s{number}_"));
            let names = row.split('`').skip(1).step_by(2).filter_map(|word| word.rsplit([':', ' ']).next());
            assert!([29, 61].contains(&number) || names.into_iter().any(is_of), "S{number} names no test of its own");
        }
    }
    assert_eq!(seen, (1..=61).collect());
}

/// Each attack on the API has its row, in order, and each row a test that carries its number, but for what there is not.
#[test]
fn the_table_of_api_faults_has_a_row_and_a_test_for_each() {
    let text = read("docs/api-faults.md");
    let mut seen = Vec::new();
    for row in text.lines().filter(|line| line.starts_with("| A")) {
        let number: u32 = row.strip_prefix("| A").unwrap().split(' ').next().unwrap().parse().unwrap();
        let is_of = |name: &str| format!("_{name}").contains(&format!("_a{number:02}_"));
        let mut names = row.split('`').skip(1).step_by(2);
        assert!([71, 73].contains(&number) || names.any(is_of), "A{number} names no test of its own");
        seen.push(number);
    }
    assert_eq!(seen, (1..=52).chain(61..=73).collect::<Vec<_>>());
}

fn is_name(word: &str) -> bool {
    word.contains('_')
        && word.len() > 12
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap()
}

fn collect(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            if !["node_modules", "target", "corpus"].iter().any(|left_out| path.ends_with(left_out)) {
                collect(&path, code);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "py") {
            *code += &fs::read_to_string(path).unwrap();
        }
    }
}
