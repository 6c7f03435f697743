//! The filesystem with a new database on it, and what is said of it when all is over.

use std::{
    fs::{self, File},
    os::fd::AsRawFd,
    path::Path,
    sync::OnceLock,
};

use crate::harness::programs::run;

/// Of the device, in bytes.
pub(crate) const SIZE: u64 = 160 << 20;

/// In a mount namespace of its own: what it mounts goes with it.
const MAKE: &str = r#"
image=$1; root=$2; bin=$3
mkfs.ext4 -q -F "$image"
mkdir "$root"
mount -o loop "$image" "$root"
mountpoint -q "$root"
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; }
mkdir -m 0700 "$root/data"
chown postgres:postgres "$root/data"
cd /
as_postgres "$bin/initdb" -D "$root/data" --data-checksums --auth=trust --encoding=UTF8 --locale=C --no-sync >/dev/null
cat >>"$root/data/postgresql.conf" <<END
listen_addresses = '*'
unix_socket_directories = ''
shared_buffers = 16MB
min_wal_size = 32MB
max_wal_size = 64MB
checkpoint_timeout = 30s
max_connections = 20
END
echo 'host all all 0.0.0.0/0 trust' >>"$root/data/pg_hba.conf"
as_postgres "$bin/postgres" --single -D "$root/data" postgres <"$4" >/dev/null
sync -f "$root"
umount "$root"
"#;

const CHECK: &str = r#"
image=$1; root=$2; bin=$3
e2fsck -fn "$image"
mkdir "$root"
mount -o ro,loop "$image" "$root"
mountpoint -q "$root"
cd /
setpriv --reuid=postgres --regid=postgres --init-groups -- "$bin/pg_checksums" --check -D "$root/data"
umount "$root"
"#;

/// Puts a new database with these tables on a device of zeroes. It is made once; each test has a copy.
pub(crate) fn make(device: &Path, bin: &Path, tables: &str) {
    static MADE: OnceLock<File> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a scratch directory");
        open_to_all(dir.path());
        let made = dir.path().join("image");
        let file = File::create_new(&made).expect("a file");
        file.set_len(SIZE).expect("room for it");
        let sql = dir.path().join("tables.sql");
        fs::write(&sql, tables).expect("a file");
        apart(MAKE, &made, &dir.path().join("root"), bin, Some(&sql));
        // It is reached through this descriptor, and gone with the process.
        file
    });
    let from = format!("if=/proc/{}/fd/{}", std::process::id(), made.as_raw_fd());
    let to = format!("of={}", device.display());
    run(
        "dd",
        &[
            &from,
            &to,
            "bs=256K",
            "conv=sparse,notrunc,fsync",
            "status=none",
        ],
    );
}

/// Fails unless the filesystem is clean and every page of the database has the right checksum.
pub(crate) fn check(image: &Path, bin: &Path) {
    let dir = tempfile::tempdir().expect("a scratch directory");
    open_to_all(dir.path());
    apart(CHECK, image, &dir.path().join("root"), bin, None);
}

/// The server runs as another user.
pub(crate) fn open_to_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("our own folder");
}

fn apart(script: &str, image: &Path, root: &Path, bin: &Path, more: Option<&Path>) {
    let words = ["--mount", "sh", "-ec", script, "sh"].map(Path::new);
    let paths = [image, root, bin].into_iter().chain(more);
    run(
        "unshare",
        &words.into_iter().chain(paths).collect::<Vec<_>>(),
    );
}
