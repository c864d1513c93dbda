//! A store to be damaged: copies of one data directory at two moments, and what has to be in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::sleep;

use crate::disk::front::{Front, notice, title};
use crate::program::{Program, create_user};

pub(crate) const DATABASE: &str = "tidings.db";
pub(crate) const LOG: &str = "tidings.db-wal";
pub(crate) const SEAL: &str = "seal";
/// The index of the log in shared memory: made anew at every start.
const INDEX: &str = "tidings.db-shm";
/// Takes room and says nothing.
const RESERVE: &str = "reserve";
const PATIENCE: Duration = Duration::from_secs(30);
/// The store is sealed a second after the last commit; after this long the seal is that of the last commit.
const QUIET: Duration = Duration::from_secs(3);
const NOTICES: usize = 120;
/// The head of the log and of each of its frames (sqlite.org/fileformat2.html, section 4).
const LOG_HEAD: u64 = 32;
const FRAME_HEAD: u64 = 24;

/// Copies of one data directory, and of what does not belong there.
pub(crate) struct Specimens {
    folder: TempDir,
    /// Everything that was acknowledged until the end.
    pub(crate) acknowledged: BTreeSet<String>,
    /// The epoch of the store.
    pub(crate) epoch: String,
}

/// The moments that there are copies of.
#[derive(Clone, Copy)]
pub(crate) enum Moment {
    /// Stopped in order, half-way.
    Stopped,
    /// Killed at the end: the second half is in the log alone.
    Killed,
}

impl Specimens {
    pub(crate) async fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut acknowledged = BTreeSet::new();
        let mut program = Program::at(&data).start().await;
        create_user(&program).await;
        acknowledged.extend(fill(&program, "first").await);
        assert!(program.terminate().await.success());
        copy(&data, &folder.path().join("stopped"));
        let backup = folder.path().join("backup.db");
        tidings_store::sqlite::backup::run(&data, &backup, &mut |_done, _all| {}).unwrap();

        let mut program = Program::at(&data).start().await;
        acknowledged.extend(fill(&program, "second").await);
        sleep(QUIET).await;
        program.kill().await;
        copy(&data, &folder.path().join("killed"));

        let other = folder.path().join("other");
        let mut program = Program::at(&other).start().await;
        create_user(&program).await;
        assert!(program.terminate().await.success());
        let epoch = epoch_of(&folder.path().join("stopped"));
        Self { folder, acknowledged, epoch }
    }

    /// A fresh copy to be damaged.
    pub(crate) fn copy_of(&self, moment: Moment, name: &str) -> PathBuf {
        let copied = self.folder.path().join(name.replace(' ', "-"));
        copy(&self.stored(moment), &copied);
        copied
    }

    pub(crate) fn stored(&self, moment: Moment) -> PathBuf {
        self.folder.path().join(match moment {
            Moment::Stopped => "stopped",
            Moment::Killed => "killed",
        })
    }

    /// A copy made by `tidings backup` half-way.
    pub(crate) fn backup(&self) -> PathBuf {
        self.folder.path().join("backup.db")
    }

    /// The database of another directory.
    pub(crate) fn other(&self) -> PathBuf {
        self.folder.path().join("other").join(DATABASE)
    }
}

/// Has notifications accepted and delivered; gives their ids.
async fn fill(program: &Program, half: &str) -> Vec<String> {
    let front = Front::of(program);
    let mut ids = Vec::new();
    for number in 0..NOTICES {
        ids.push(front.post(&notice(&format!("{half} {number}"), "in-app", &title())).await.unwrap().id());
    }
    front.ended(ids.last().unwrap(), PATIENCE).await;
    ids
}

/// Copies a data directory.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_name() != RESERVE {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// What is not to be changed by a start that is refused. A file without contents is as good as none.
pub(crate) fn contents(data: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    [DATABASE, LOG, SEAL].into_iter().map(|name| (name, fs::read(data.join(name)).unwrap_or_default())).collect()
}

/// The history that a store belongs to.
pub(crate) fn epoch_of(data: &Path) -> String {
    let database = rusqlite::Connection::open(data.join(DATABASE)).unwrap();
    database.query_row("SELECT value FROM meta WHERE key = 'epoch'", [], |row| row.get(0)).unwrap()
}

/// Puts another database in the place of that of a directory.
pub(crate) fn replace_database(data: &Path, by: &Path) {
    delete_log(data);
    fs::copy(by, data.join(DATABASE)).unwrap();
}

pub(crate) fn delete_log(data: &Path) {
    for name in [LOG, INDEX] {
        if data.join(name).exists() {
            fs::remove_file(data.join(name)).unwrap();
        }
    }
}

/// Cuts a file off.
pub(crate) fn truncate(file: &Path, bytes: u64) {
    fs::OpenOptions::new().write(true).open(file).unwrap().set_len(bytes).unwrap();
}

pub(crate) fn length(file: &Path) -> u64 {
    fs::metadata(file).unwrap().len()
}

/// Flips the highest bit of one byte.
pub(crate) fn flip(file: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x80], offset).unwrap();
}

/// How long one frame of the log is.
pub(crate) fn frame_bytes(data: &Path) -> u64 {
    let log = fs::read(data.join(LOG)).unwrap();
    FRAME_HEAD + u64::from(big_endian(&log, 8))
}

/// Where pages with keys or rows begin that the database has and the log does not repeat.
pub(crate) fn pages_of_the_database_alone(data: &Path) -> Vec<u64> {
    let log = fs::read(data.join(LOG)).unwrap();
    let page_bytes = u64::from(big_endian(&log, 8));
    let frames = (LOG_HEAD..log.len() as u64).step_by(usize::try_from(FRAME_HEAD + page_bytes).unwrap());
    let in_log: BTreeSet<u64> =
        frames.map(|frame| u64::from(big_endian(&log, usize::try_from(frame).unwrap()))).collect();
    let database = fs::read(data.join(DATABASE)).unwrap();
    let pages = database.chunks_exact(usize::try_from(page_bytes).unwrap()).zip(1_u64..);
    // The kinds of b-tree pages (section 1.6). The first page begins with the head of the file.
    let is_b_tree = |page: &[u8]| matches!(page[0], 2 | 5 | 10 | 13);
    let pages = pages.filter(|(page, number)| *number > 1 && is_b_tree(page) && !in_log.contains(number));
    pages.map(|(_page, number)| (number - 1) * page_bytes).collect()
}

fn big_endian(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}
