//! The data directory: is it there, is it ours, is there room, who uses it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use crate::config::{Config, JWT_SECRET_FILE, WEBHOOK_SECRET_FILE};
use crate::doctor::finding::Finding;
use crate::doctor::scene::{Holder, Port, Scene};

/// The permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Whether the directory can be used, and by its owner only.
pub(crate) fn directory(config: &Config) -> Finding {
    const CHECK: &str = "data directory";
    let path = config.data.display();
    let metadata = match fs::metadata(&config.data) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Finding::ok(CHECK, format!("{path} does not exist yet; the first start makes it"));
        }
        Err(error) => return Finding::fail(CHECK, format!("{path} cannot be looked at: {error}"), choose_another()),
    };
    if !metadata.is_dir() {
        return Finding::fail(CHECK, format!("{path} is not a directory"), choose_another());
    }
    if let Err(error) = access(&config.data, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        let remedy = format!("give its owner write access, or {}", choose_another());
        return Finding::fail(CHECK, format!("{path} cannot be written: {}", io::Error::from(error)), remedy);
    }
    if metadata.permissions().mode() & OTHERS != 0 {
        return Finding::warn(
            CHECK,
            format!("{path} is open to other users of this machine ({})", mode(&metadata)),
            format!("chmod 700 {path}"),
        );
    }
    Finding::ok(CHECK, format!("{path} is writable, and closed to others"))
}

/// Whether the secrets that are kept in the directory are their owner's alone.
pub(crate) fn secret_files(config: &Config) -> Finding {
    const CHECK: &str = "secret files";
    let open = |name: &&str| {
        let metadata = fs::metadata(config.data.join(name)).ok();
        metadata.is_some_and(|metadata| metadata.permissions().mode() & OTHERS != 0)
    };
    let open: Vec<&str> = [JWT_SECRET_FILE, WEBHOOK_SECRET_FILE].into_iter().filter(open).collect();
    if open.is_empty() {
        return Finding::ok(CHECK, "none that others can read");
    }
    let paths: Vec<String> = open.iter().map(|name| config.data.join(name).display().to_string()).collect();
    let remedy = format!("chmod 600 {}; if others use this machine, make new secrets", paths.join(" "));
    Finding::warn(CHECK, format!("other users of this machine can read {}", open.join(" and ")), remedy)
}

/// Whether there is room for what comes.
pub(crate) fn free_disk(config: &Config) -> Finding {
    const CHECK: &str = "free disk";
    let there = config.data.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("."));
    let free = match statvfs(there) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => {
            let found = format!("the free space cannot be found out: {}", io::Error::from(error));
            return Finding::warn(CHECK, found, "check it with `df`");
        }
    };
    let least = config.min_free_disk;
    let found = format!("{} free; new notifications are refused below {}", size(free), size(least));
    if free < least {
        Finding::fail(
            CHECK,
            format!("{found} (507)"),
            "free disk space, move the data directory, or lower MIN_FREE_DISK",
        )
    } else if free < least.saturating_mul(2) {
        Finding::warn(CHECK, found, "free disk space soon")
    } else {
        Finding::ok(CHECK, found)
    }
}

/// Who uses the directory.
pub(crate) fn lock(scene: &Scene<'_>) -> Finding {
    const CHECK: &str = "lock";
    match (&scene.holder, &scene.port) {
        (Holder::Nobody, _) => Finding::ok(CHECK, "no process uses the data directory"),
        (Holder::Unknown(why), _) => Finding::warn(
            CHECK,
            format!("who uses the data directory cannot be found out: {why}"),
            "run this as the user of the server",
        ),
        (Holder::Process(process), Port::Tidings(_)) => {
            Finding::ok(CHECK, format!("{process} uses the data directory, and a server answers"))
        }
        (Holder::Process(process), _) => {
            let found = format!("{process} uses the data directory, but no server answers at {}", scene.address);
            Finding::warn(
                CHECK,
                found,
                "it may listen elsewhere (API_PORT, TIDINGS_BIND), or be starting or stopping; a second process on this directory is refused",
            )
        }
    }
}

fn choose_another() -> &'static str {
    "choose another with TIDINGS_DATA or --data"
}

fn mode(metadata: &Metadata) -> String {
    format!("{:03o}", metadata.permissions().mode() & 0o777)
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}
