//! What a process and its store take up, hour by hour.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::Connection;

/// The hours whose peak the later ones are compared with. By then what is kept for three hours has been deleted once.
const EARLY: std::ops::RangeInclusive<u64> = 6..=12;
const LATE: std::ops::RangeInclusive<u64> = 18..=24;

const PAGE: u64 = 4096;
const MIB: u64 = 1024 * 1024;

/// What is taken up at one moment.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// Bytes of memory, numbers of files and threads, bytes on disk, rows.
    values: BTreeMap<String, u64>,
}

impl Reading {
    /// Looks at this process, and at the store in a directory.
    pub(super) fn take(data: &Path) -> Self {
        let mut values = rows(data);
        values.insert("resident memory".to_owned(), resident());
        values.insert("open files".to_owned(), entries("/proc/self/fd"));
        values.insert("threads".to_owned(), entries("/proc/self/task"));
        values.insert("database".to_owned(), size(&data.join("tidings.db")));
        values.insert("log of the database".to_owned(), size(&data.join("tidings.db-wal")));
        Self { values }
    }
}

/// All readings.
#[derive(Default)]
pub(super) struct Gauges {
    readings: Vec<(u64, Reading)>,
}

impl Gauges {
    pub(super) fn note(&mut self, hour: u64, reading: Reading) {
        self.readings.push((hour, reading));
    }

    /// The most of each in these hours.
    fn peak(&self, hours: &std::ops::RangeInclusive<u64>) -> BTreeMap<&str, u64> {
        let mut peak = BTreeMap::new();
        for (_, reading) in self.readings.iter().filter(|(hour, _)| hours.contains(hour)) {
            for (name, value) in &reading.values {
                let most = peak.entry(name.as_str()).or_insert(0);
                *most = (*most).max(*value);
            }
        }
        peak
    }

    /// Nothing is half as much again in the last hours as it was in the first, beyond what chance makes of small numbers.
    pub(super) fn assert_flat(&self) {
        let (early, late) = (self.peak(&EARLY), self.peak(&LATE));
        assert!(!early.is_empty(), "nothing was read in the hours {EARLY:?}");
        for (name, value) in late {
            let before = early.get(name).copied().unwrap_or(0);
            let slack = match name {
                "resident memory" => 32 * MIB,
                "database" => 2 * MIB,
                "log of the database" => 16 * MIB,
                "open files" | "threads" => 16,
                _ => 150,
            };
            assert!(value <= before + before / 2 + slack, "{name} went from {before} to {value}");
        }
    }
}

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * PAGE
}

fn entries(path: &str) -> u64 {
    u64::try_from(fs::read_dir(path).unwrap().count()).unwrap()
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |file| file.len())
}

/// The number of rows of each table.
fn rows(data: &Path) -> BTreeMap<String, u64> {
    let connection = Connection::open(data.join("tidings.db")).unwrap();
    let mut tables =
        connection.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").unwrap();
    let names = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
    names
        .map(|name| {
            let name = name.unwrap();
            let count = format!("SELECT count(*) FROM \"{name}\"");
            let count = connection.query_row(&count, [], |row| row.get(0)).unwrap();
            (format!("rows of {name}"), count)
        })
        .collect()
}
