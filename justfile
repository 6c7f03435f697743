# What a developer does. `just` alone lists it.

_list:
    @just --list --unsorted

# before every commit: quick, and complete for what it covers
pre: fmt-check clippy tidy

# two nodes, a killed primary, a promotion, and the proof that nothing was lost
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# all tests
test *ARGS:
    cargo test --workspace {{ARGS}}

# the whole cluster in one process, so many seeds
simulate SEEDS="10000":
    cargo run --release -p twindisk-simulator -- --seeds {{SEEDS}}

# a peer that knows the secret and keeps to nothing, against living cores, so many stories
hostile SEEDS="20000":
    TWINDISK_HOSTILE_SEEDS={{SEEDS}} cargo test --release -p twindisk-core --test hostile -- --nocapture

# SIGKILL of either side, so many times
crash ROUNDS="100":
    TWINDISK_CRASH_ROUNDS={{ROUNDS}} cargo test -p twindisk --test crash_random -- --nocapture

# a kernel of its own: unplugged, and with disks that are recorded, fail or lie
vm:
    cargo test -p twindisk --test vm_unplug --test vm_log_writes --test vm_flakey --test vm_services -- --nocapture --test-threads=1

# PostgreSQL on a pair with agents: each kind of failure so many times
postgres ROUNDS="10":
    TWINDISK_POSTGRES_ROUNDS={{ROUNDS}} cargo test -p twindisk --test postgres -- --nocapture --test-threads=1

# a pair beneath a real Pacemaker: each kind of failure so many times
pacemaker ROUNDS="3":
    TWINDISK_PACEMAKER_ROUNDS={{ROUNDS}} cargo test -p twindisk --test pacemaker -- --nocapture --test-threads=1

# the Debian package, installed, used, upgraded and removed in a clean Debian tree; needs debootstrap, and root
package SUITE="bookworm":
    [ -e target/debian-{{SUITE}}/bin/systemctl ] || debootstrap --variant=minbase --include=systemd,systemd-sysv {{SUITE}} target/debian-{{SUITE}}
    TWINDISK_TREE=$PWD/target/debian-{{SUITE}} cargo test -p twindisk --test package -- --nocapture

# the architecture as a test
tidy:
    cargo test -p twindisk --test tidy

fmt-check:
    cargo fmt --check

clippy:
    cargo clippy --workspace --all-targets -- -D warnings

# licences, registries, known faults
deny:
    cargo deny check

# beside qemu's quorum, other NBD servers and the bare file
peers *ARGS:
    cargo run --release -p twindisk-benches --bin peers -- {{ARGS}}

# the time of the hot paths
bench *PATTERN:
    cargo bench -p twindisk-benches --bench hot -- {{PATTERN}}

# the hot paths' instructions, beside those that were committed
instructions:
    cargo run --release -p twindisk-benches --bin instructions

# let a fuzzer at one target of nbd/, replicator/format/ or replicator/control/ (needs a nightly compiler)
fuzz CRATE TARGET SECONDS="60":
    cd {{CRATE}} && cargo +nightly fuzz run {{TARGET}} fuzz/seeds/{{TARGET}} -- -max_total_time={{SECONDS}}

# everything that must hold before a change is accepted
ci:
    .ci/run
