//! Keys that come by the thousand.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::sqlite::migrations;
use crate::sqlite::open::connect_writer;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const TTL: Duration = Duration::from_hours(24);

struct World {
    connection: Connection,
    keys: Keys,
    dir: TempDir,
}

fn load(dir: &Path, capacity: usize) -> (Connection, Keys) {
    let mut connection = connect_writer(dir).unwrap();
    migrations::run(&mut connection).unwrap();
    let mut keys = Keys::load(&connection).unwrap();
    keys.capacity = capacity;
    (connection, keys)
}

impl World {
    fn with_capacity(capacity: usize) -> Self {
        let dir = TempDir::new().unwrap();
        let (connection, keys) = load(dir.path(), capacity);
        Self { connection, keys, dir }
    }

    /// Ends the process and starts it again.
    fn reopen(self) -> Self {
        let Self { connection, keys, dir } = self;
        drop(connection);
        let (connection, keys) = load(dir.path(), keys.capacity);
        Self { connection, keys, dir }
    }

    /// One transaction that uses these keys.
    fn use_keys(&mut self, numbers: std::ops::Range<u32>, now: Timestamp) {
        self.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for number in numbers {
            self.keys.insert(&self.connection, &idempotency(number, now), id(number, now)).unwrap();
        }
        self.keys.make_room(&self.connection).unwrap();
        self.connection.execute_batch("COMMIT").unwrap();
        self.keys.committed();
    }

    /// Lets transactions go by until nothing is on its way to a run any more.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            self.use_keys(0..0, NOW);
            if matches!(self.keys.spill, Spill::Idle) {
                return;
            }
            std::thread::yield_now();
        }
        panic!("the keys never settle");
    }

    fn find(&self, number: u32, now: Timestamp) -> Option<MessageId> {
        self.keys.find(&self.connection, key(number), now).unwrap().map(|known| known.id)
    }

    fn count(&self, table: &str) -> u32 {
        self.connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    fn forget(&mut self, now: Timestamp) -> usize {
        self.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let forgotten = self.keys.forget_expired(&self.connection, now, 700).unwrap();
        self.connection.execute_batch("COMMIT").unwrap();
        self.keys.committed();
        forgotten
    }
}

fn key(number: u32) -> Fingerprint {
    Fingerprint::of(&number.to_le_bytes())
}

fn id(number: u32, now: Timestamp) -> MessageId {
    MessageId::from_integer(MessageId::floor(now).as_integer() + i64::from(number)).unwrap()
}

fn idempotency(number: u32, now: Timestamp) -> Idempotency {
    Idempotency { key: key(number), body: Fingerprint::of(b"body"), expires_at: now + TTL }
}

#[test]
fn every_key_is_found_wherever_it_is() {
    let mut world = World::with_capacity(2_000);
    for thousand in 0..10 {
        world.use_keys(thousand * 1_000..(thousand + 1) * 1_000, NOW);
        world.settle();
        assert!(world.keys.recent.len() < 2_000);
        for number in (0..(thousand + 1) * 1_000).step_by(37) {
            assert_eq!(world.find(number, NOW), Some(id(number, NOW)), "{number}");
        }
    }
    assert!(world.count("key_runs") >= 8);
    assert_eq!(world.count("keys") + world.count("run_keys"), 10_000);
    assert_eq!(world.find(10_000, NOW), None);

    let world = world.reopen();
    assert!((0..10_000).all(|number| world.find(number, NOW) == Some(id(number, NOW))));
}

#[test]
fn a_crash_while_keys_move_loses_none() {
    let mut world = World::with_capacity(4_000);
    world.use_keys(0..4_000, NOW);
    world.use_keys(0..0, NOW);
    let mut stages = 0;
    while !matches!(world.keys.spill, Spill::Idle) {
        world.use_keys(0..0, NOW);
        world = match world.keys.spill {
            Spill::Writing { .. } | Spill::Clearing { .. } if stages < 6 => {
                stages += 1;
                let mut reopened = world.reopen();
                assert!((0..4_000).all(|number| reopened.find(number, NOW) == Some(id(number, NOW))));
                reopened.use_keys(0..0, NOW);
                reopened
            }
            _ => world,
        };
    }
    assert!(stages >= 1);
    assert!((0..4_000).all(|number| world.find(number, NOW) == Some(id(number, NOW))));
}

#[test]
fn a_rolled_back_step_is_done_again() {
    let mut world = World::with_capacity(1_000);
    world.use_keys(0..1_000, NOW);
    for _ in 0..100_000 {
        world.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        world.keys.make_room(&world.connection).unwrap();
        world.connection.execute_batch("ROLLBACK").unwrap();
        world.keys.rolled_back();
        world.use_keys(0..0, NOW);
        if matches!(world.keys.spill, Spill::Idle) {
            break;
        }
        std::thread::yield_now();
    }
    assert_eq!((world.count("keys"), world.count("run_keys"), world.count("key_runs")), (500, 500, 1));
    assert!((0..1_000).all(|number| world.find(number, NOW) == Some(id(number, NOW))));
}

#[test]
fn runs_are_forgotten_when_their_last_key_has_expired() {
    let mut world = World::with_capacity(2_000);
    world.use_keys(0..2_000, NOW);
    world.settle();
    let later = NOW + Duration::from_hours(1);
    world.use_keys(2_000..3_000, later);
    world.settle();
    assert_eq!(world.forget(NOW), 0);
    let expired = NOW + TTL;
    assert_eq!(world.find(5, expired), None, "an expired key counts as absent before it is forgotten");
    while world.forget(expired) > 0 {}
    assert_eq!(world.count("keys") + world.count("run_keys"), 1_000);
    assert_eq!(world.find(2_500, expired), Some(id(2_500, later)));
    while world.forget(later + TTL) > 0 {}
    assert_eq!((world.count("keys"), world.count("run_keys"), world.count("key_runs")), (0, 0, 0));
}

#[test]
fn the_latest_use_of_a_key_counts() {
    let mut world = World::with_capacity(1_000);
    world.use_keys(0..1_000, NOW);
    world.settle();
    let later = NOW + TTL;
    world.use_keys(0..700, later);
    world.settle();
    assert_eq!(world.find(3, later), Some(id(3, later)));
    assert_eq!(world.reopen().find(3, later), Some(id(3, later)));
}
