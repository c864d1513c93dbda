//! Files that are not what they were: cut off, deleted, flipped, replaced (F23). What a start says to each of them.

mod specimen;

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tidings_testkit::faults::verdict::Verdict;

use self::specimen::{
    DATABASE, LOG, Moment, SEAL, Specimens, contents, delete_log, epoch_of, flip, frame_bytes, length,
    pages_of_the_database_alone, replace_database, truncate,
};
use crate::disk::front::Front;
use crate::disk::mount::Mount;
use crate::program::Program;

const PATIENCE: Duration = Duration::from_secs(30);
/// Where the two slots of the seal have their contents.
const SLOTS: [u64; 2] = [20, 4096 + 20];
/// Where SQLite keeps the version of the schema (sqlite.org/fileformat2.html, section 1.3).
const USER_VERSION: u64 = 60;

/// What is done to a store, and what its next start makes of it.
struct Case {
    name: &'static str,
    moment: Moment,
    damage: fn(&Specimens, &Path),
    expected: Expected,
}

#[derive(Clone, Copy)]
enum Expected {
    /// It starts, and everything is there.
    Whole,
    /// It starts, everything is there, and the log has a warning with this word.
    WholeWithWarning(&'static str),
    /// It starts on what somebody put there on purpose, under a new epoch.
    Restored,
    /// It says that commits are missing, and goes on only when told to.
    Loss,
    /// It does not start, whatever it is told. It says these words.
    Refused(&'static [&'static str]),
}

const DAMAGED: Expected = Expected::Refused(&["damaged", "backup"]);

/// The table: verdicts of a start.
const CASES: &[Case] = &[
    Case { name: "nothing", moment: Moment::Killed, damage: |_, _| {}, expected: Expected::Whole },
    Case {
        name: "the log is deleted",
        moment: Moment::Killed,
        damage: |_, data| delete_log(data),
        expected: Expected::Loss,
    },
    Case {
        name: "the log lacks its last frame",
        moment: Moment::Killed,
        damage: |_, data| truncate(&data.join(LOG), length(&data.join(LOG)) - frame_bytes(data)),
        expected: Expected::Loss,
    },
    Case {
        name: "three quarters of the log are cut off",
        moment: Moment::Killed,
        damage: |_, data| truncate(&data.join(LOG), length(&data.join(LOG)) / 4),
        expected: Expected::Loss,
    },
    Case {
        name: "a bit of the log is flipped",
        moment: Moment::Killed,
        damage: |_, data| flip(&data.join(LOG), length(&data.join(LOG)) / 2),
        expected: Expected::Loss,
    },
    Case {
        name: "the database is deleted",
        moment: Moment::Killed,
        damage: |_, data| {
            delete_log(data);
            fs::remove_file(data.join(DATABASE)).unwrap();
        },
        expected: Expected::Loss,
    },
    Case {
        name: "an old copy is put in place",
        moment: Moment::Killed,
        damage: |specimens, data| replace_database(data, &specimens.stored(Moment::Stopped).join(DATABASE)),
        expected: Expected::Loss,
    },
    Case {
        name: "the database of another store is put in place",
        moment: Moment::Killed,
        damage: |specimens, data| replace_database(data, &specimens.other()),
        expected: Expected::Loss,
    },
    Case {
        name: "a backup is restored",
        moment: Moment::Killed,
        damage: |specimens, data| replace_database(data, &specimens.backup()),
        expected: Expected::Restored,
    },
    Case {
        name: "a bit of one slot of the seal is flipped",
        moment: Moment::Killed,
        damage: |_, data| flip(&data.join(SEAL), SLOTS[0]),
        expected: Expected::Whole,
    },
    Case {
        name: "both slots of the seal are damaged",
        moment: Moment::Killed,
        damage: |_, data| {
            for slot in SLOTS {
                flip(&data.join(SEAL), slot);
            }
        },
        expected: Expected::WholeWithWarning("seal"),
    },
    Case {
        name: "the seal is deleted",
        moment: Moment::Killed,
        damage: |_, data| fs::remove_file(data.join(SEAL)).unwrap(),
        expected: Expected::Whole,
    },
    Case {
        name: "a bit of the first page is flipped",
        moment: Moment::Killed,
        damage: |_, data| flip_page(data, |_count| 0),
        expected: DAMAGED,
    },
    Case {
        name: "a bit of a page in the middle is flipped",
        moment: Moment::Killed,
        damage: |_, data| flip_page(data, |count| count / 2),
        expected: DAMAGED,
    },
    Case {
        name: "a bit of the last page is flipped",
        moment: Moment::Killed,
        damage: |_, data| flip_page(data, |count| count - 1),
        expected: DAMAGED,
    },
    Case {
        name: "a bit of the head of the database is flipped",
        moment: Moment::Stopped,
        damage: |_, data| flip(&data.join(DATABASE), 3),
        expected: DAMAGED,
    },
    Case {
        name: "a newer Tidings has used the store",
        moment: Moment::Stopped,
        damage: |_, data| flip(&data.join(DATABASE), USER_VERSION + 1),
        expected: Expected::Refused(&["newer Tidings", "backup"]),
    },
];

/// Flips a bit in the head of a page that the log does not repeat. `which` chooses one of so many.
fn flip_page(data: &Path, which: fn(usize) -> usize) {
    let pages = pages_of_the_database_alone(data);
    assert!(pages.len() > 2, "the specimen has too few pages: {pages:?}");
    flip(&data.join(DATABASE), pages[which(pages.len())]);
}

/// A start that has to be refused: exit code 1, these words, and files that are as they were.
async fn assert_refused(data: &Path, words: &[&str], name: &str) {
    let before = contents(data);
    let mut program = Program::at(data).spawn().await;
    let status = program.wait(PATIENCE).await.unwrap_or_else(|| panic!("{name}: it goes on running"));
    let said = program.stderr();
    assert_eq!(status.code(), Some(1), "{name}: {said}");
    for word in words {
        assert!(said.contains(word), "{name}: {word:?} is missing in: {said}");
    }
    assert!(contents(data) == before, "{name}: the refused start changed the files");
}

/// A start that succeeds; gives what the log says. Everything acknowledged has to be there if `is_whole`.
async fn assert_starts(specimens: &Specimens, data: &Path, arguments: &[&str], is_whole: bool) -> String {
    let log = data.with_extension("log");
    let builder = Program::at(data).stdout(Stdio::from(File::create(&log).unwrap()));
    let builder = arguments.iter().fold(builder, |builder, argument| builder.arg(argument));
    let mut program = builder.start().await;
    if is_whole {
        let there = Front::of(&program).ids("").await;
        let lost: Vec<_> = specimens.acknowledged.difference(&there).collect();
        assert!(lost.is_empty(), "silently lost: {lost:?}");
    }
    assert!(program.terminate().await.success());
    fs::read_to_string(log).unwrap()
}

async fn judge(specimens: &Specimens, case: &Case) {
    let name = case.name;
    let data = specimens.copy_of(case.moment, name);
    (case.damage)(specimens, &data);
    match case.expected {
        Expected::Whole => {
            assert_starts(specimens, &data, &[], true).await;
            assert_eq!(epoch_of(&data), specimens.epoch, "{name}");
        }
        Expected::WholeWithWarning(word) => {
            let said = assert_starts(specimens, &data, &[], true).await;
            assert!(said.contains(word), "{name}: no warning in: {said}");
        }
        Expected::Restored => {
            assert_starts(specimens, &data, &[], false).await;
            assert_ne!(epoch_of(&data), specimens.epoch, "{name}: a new history begins");
        }
        Expected::Loss => {
            assert_refused(&data, &["backup", "--accept-loss"], name).await;
            let said = assert_starts(specimens, &data, &["--accept-loss"], false).await;
            assert!(said.contains("epoch"), "{name}: no warning in: {said}");
            assert_ne!(epoch_of(&data), specimens.epoch, "{name}: a new history begins");
            // Accepted once is accepted.
            assert_starts(specimens, &data, &[], false).await;
        }
        Expected::Refused(words) => assert_refused(&data, words, name).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_says_what_is_wrong_with_the_files_and_never_passes_over_a_loss() {
    let specimens = Specimens::make().await;
    for case in CASES {
        judge(&specimens, case).await;
    }
    let injected = format!("{} kinds of damage to database, log and seal", CASES.len() - 1);
    Verdict::of("F23", "damaged files", injected).measured("passed over in silence", 0).publish();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_used_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let read_only = Mount::tmpfs(&dir.path().join("read-only"), "16m");
    read_only.make_read_only();
    let file = dir.path().join("file");
    fs::write(&file, "no directory").unwrap();
    for data in [read_only.path(), file.as_path()] {
        let mut program = Program::at(data).spawn().await;
        let status = program.wait(PATIENCE).await.expect("it cannot run");
        let said = program.stderr();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(&data.display().to_string()) && said.contains("cannot be used"), "{said}");
    }
    let injected = "a data directory that is read-only, and one that is a file";
    Verdict::of("F23", "unusable directory", injected).measured("refused with advice", "yes").publish();
}
