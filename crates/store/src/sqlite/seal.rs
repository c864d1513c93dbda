//! The seal: a small file beside the database that says how far the database was known to be durable.
//!
//! SQLite reads its log up to the first frame that is not whole and takes that for the end, so a log that lost its tail is
//! a shorter history and no error. Every transaction therefore counts up a number in the database, and the seal repeats
//! that number from time to time in a place of its own. A database that is behind its seal has lost commits that somebody
//! was told of.
//!
//! The file has two slots in different sectors, written in turn: a write that tears spoils the older one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use uuid::Uuid;

use super::identity::Identity;

/// The file in the data directory.
pub(crate) const SEAL: &str = "seal";
const MAGIC: &[u8; 8] = b"tidings1";
const SLOT_BYTES: usize = 48;
/// Where the slots begin: a sector each, also on disks with large ones.
const SLOTS: [u64; 2] = [0, 4096];

/// What a seal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The epoch of the database.
    pub(crate) epoch: Uuid,
    /// Transactions that were durable when it was written.
    pub(crate) commits: u64,
    /// Whether the store was closed in order after that.
    pub(crate) is_clean: bool,
}

/// What was found in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is no file.
    Nothing,
    /// No slot can be read.
    Damage,
    /// The latest mark.
    Mark(Mark),
}

/// What seal and database say about each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The database is all there.
    Whole {
        /// Whether it was closed in order.
        is_clean: bool,
    },
    /// The database is new, or older than seals are.
    Unsealed,
    /// Somebody restored a backup.
    Restored,
    /// The database lacks commits that were durable.
    Lost {
        /// Commits that the seal knows.
        sealed: u64,
        /// Commits that the database has.
        found: u64,
    },
    /// The database is another one than the seal is of.
    Foreign,
}

/// Compares seal and database.
pub(crate) fn judge(seal: Found, database: Option<Identity>) -> Verdict {
    match (seal, database) {
        (_, Some(database)) if database.is_backup => Verdict::Restored,
        (Found::Mark(mark), Some(database)) if mark.epoch != database.epoch => Verdict::Foreign,
        (Found::Mark(mark), database) => {
            let found = database.map_or(0, |database| database.commits);
            if found < mark.commits {
                Verdict::Lost { sealed: mark.commits, found }
            } else {
                Verdict::Whole { is_clean: mark.is_clean && found == mark.commits }
            }
        }
        (Found::Nothing | Found::Damage, _) => Verdict::Unsealed,
    }
}

/// The file, open for writing.
pub(crate) struct Seal {
    file: File,
    generation: u64,
}

impl Seal {
    /// Reads what the file says.
    pub(crate) fn read(data_dir: &Path) -> io::Result<Found> {
        match File::open(data_dir.join(SEAL)) {
            Ok(file) => Ok(latest(&file)?.map_or(Found::Damage, |(_, mark)| Found::Mark(mark))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Opens the file, or makes it.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(SEAL);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        // The directory too, or the file may be gone after a power cut.
        File::open(data_dir)?.sync_all()?;
        let generation = latest(&file)?.map_or(0, |(generation, _)| generation);
        Ok(Self { file, generation })
    }

    /// Writes a mark over the older slot and waits until it is on stable storage.
    pub(crate) fn write(&mut self, mark: &Mark) -> io::Result<()> {
        let generation = self.generation + 1;
        let slot = SLOTS[usize::from(generation.is_multiple_of(2))];
        self.file.write_all_at(&encode(generation, mark), slot)?;
        self.file.sync_data()?;
        // Only now: what failed is written to the same slot again, and the good one is left alone.
        self.generation = generation;
        Ok(())
    }
}

fn encode(generation: u64, mark: &Mark) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let fields: [&[u8]; 5] = [
        MAGIC,
        &generation.to_le_bytes(),
        mark.epoch.as_bytes(),
        &mark.commits.to_le_bytes(),
        &u32::from(mark.is_clean).to_le_bytes(),
    ];
    let body = fields.concat();
    let crc = crc32fast::hash(&body);
    slot[..SLOT_BYTES - 4].copy_from_slice(&body);
    slot[SLOT_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    slot
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<(u64, Mark)> {
    let (body, crc) = slot.split_last_chunk::<4>()?;
    let (magic, rest) = body.split_first_chunk::<8>()?;
    let (generation, rest) = rest.split_first_chunk::<8>()?;
    let (epoch, rest) = rest.split_first_chunk::<16>()?;
    let (commits, rest) = rest.split_first_chunk::<8>()?;
    let is_clean = rest.first_chunk::<4>()?;
    if magic != MAGIC || crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mark = Mark {
        epoch: Uuid::from_bytes(*epoch),
        commits: u64::from_le_bytes(*commits),
        is_clean: u32::from_le_bytes(*is_clean) == 1,
    };
    Some((u64::from_le_bytes(*generation), mark))
}

/// The slot of the greatest generation that can be read.
fn latest(file: &File) -> io::Result<Option<(u64, Mark)>> {
    let mut latest = None;
    for offset in SLOTS {
        let mut slot = [0; SLOT_BYTES];
        match file.read_exact_at(&mut slot, offset) {
            Ok(()) => latest = latest.max_by_generation(decode(&slot)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
    }
    Ok(latest)
}

trait MaxByGeneration {
    fn max_by_generation(self, other: Self) -> Self;
}

impl MaxByGeneration for Option<(u64, Mark)> {
    fn max_by_generation(self, other: Self) -> Self {
        [self, other].into_iter().flatten().max_by_key(|(generation, _)| *generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(commits: u64) -> Mark {
        Mark { epoch: Uuid::from_u128(1), commits, is_clean: false }
    }

    fn database(commits: u64) -> Identity {
        Identity { epoch: Uuid::from_u128(1), commits, is_backup: false }
    }

    #[test]
    fn the_latest_mark_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Seal::read(dir.path()).unwrap(), Found::Nothing);
        let mut seal = Seal::open(dir.path()).unwrap();
        assert_eq!(Seal::read(dir.path()).unwrap(), Found::Damage);
        for commits in [5, 6, 9] {
            seal.write(&mark(commits)).unwrap();
            assert_eq!(Seal::read(dir.path()).unwrap(), Found::Mark(mark(commits)));
        }
        let mut again = Seal::open(dir.path()).unwrap();
        again.write(&Mark { is_clean: true, ..mark(10) }).unwrap();
        assert_eq!(Seal::read(dir.path()).unwrap(), Found::Mark(Mark { is_clean: true, ..mark(10) }));
    }

    #[test]
    fn a_torn_write_leaves_the_mark_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut seal = Seal::open(dir.path()).unwrap();
        seal.write(&mark(1)).unwrap();
        seal.write(&mark(2)).unwrap();
        let file = OpenOptions::new().write(true).open(dir.path().join(SEAL)).unwrap();
        for (offset, expected) in [(SLOTS[1] + 20, Found::Mark(mark(1))), (SLOTS[0] + 20, Found::Damage)] {
            file.write_all_at(&[0xFF], offset).unwrap();
            assert_eq!(Seal::read(dir.path()).unwrap(), expected);
        }
    }

    #[test]
    fn a_database_is_judged_by_its_seal() {
        let sealed = Found::Mark(mark(7));
        assert_eq!(judge(sealed, Some(database(7))), Verdict::Whole { is_clean: false });
        assert_eq!(judge(sealed, Some(database(9))), Verdict::Whole { is_clean: false });
        assert_eq!(judge(sealed, Some(database(6))), Verdict::Lost { sealed: 7, found: 6 });
        assert_eq!(judge(sealed, None), Verdict::Lost { sealed: 7, found: 0 });
        let other = Identity { epoch: Uuid::from_u128(2), commits: 9, is_backup: false };
        assert_eq!(judge(sealed, Some(other)), Verdict::Foreign);
        assert_eq!(judge(sealed, Some(Identity { is_backup: true, ..other })), Verdict::Restored);
        assert_eq!(judge(Found::Nothing, Some(database(3))), Verdict::Unsealed);
        assert_eq!(judge(Found::Damage, Some(database(3))), Verdict::Unsealed);
        let clean = Found::Mark(Mark { is_clean: true, ..mark(7) });
        assert_eq!(judge(clean, Some(database(7))), Verdict::Whole { is_clean: true });
        assert_eq!(
            judge(clean, Some(database(8))),
            Verdict::Whole { is_clean: false },
            "written to after it was closed"
        );
    }
}
