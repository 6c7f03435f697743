#!/usr/bin/env bash
# Twindisk beside its nearest neighbour in user space and beside the bare file, on one disk, interleaved.
#
#   benches/peers.sh [-d DIRECTORY] [-r ROUNDS] [-s SECONDS] [-g MIB] [-a NAME=TWINDISK]... [-k]
#
# Contestants, each with files of its own in DIRECTORY, filled with random bytes past the page cache (holes and zeros
# would be cheaper than real data, cached pages would make direct I/O dearer):
#   twindisk  two `twindisk serve` on loopback, protocol C, the client on a Unix socket
#   cached    the same with `io = "cached"` on both nodes and a `flush-interval` of 30 s, as long as the kernel by
#             default lets a page stay dirty: as much in volatile memory as quorum
#   quorum    qemu-storage-daemon: quorum over a file and nbdkit on loopback, the client on a Unix socket
#   direct    the same without page caches (the remote half is qemu-nbd, nbdkit has no O_DIRECT): as durable as twindisk
#   bare      the file itself, io_uring, O_DIRECT
#   NAME      another build of twindisk (-a), to compare two versions
# -k keeps them running after the last round until Enter is pressed, for perf and strace. ONLY=PATTERN picks loads.
# Each round gives every contestant its turn before anyone has a second one, so that a noisy neighbour hits all of
# them; only medians and ratios are printed. What a turn leaves in the page cache is written out before the next one
# begins, so that nobody pays for another's writes. CPU is what the processes of client and servers use per operation. Needs fio with its nbd engine, nbdkit, qemu-storage-daemon.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=""
rounds=5
seconds=3
mib=1024
keep=
declare -A builds
order=(twindisk cached)

usage() {
    sed -n '2,/^set -/p' "$0" | sed '$d; s/^# \{0,1\}//'
    exit "${1:-2}"
}

fail() {
    echo "peers.sh: $*" >&2
    exit 1
}

while getopts "d:r:s:g:a:kh" option; do
    case $option in
    d) dir=$OPTARG ;;
    r) rounds=$OPTARG ;;
    s) seconds=$OPTARG ;;
    g) mib=$OPTARG ;;
    a) builds[${OPTARG%%=*}]=${OPTARG#*=} && order+=("${OPTARG%%=*}") ;;
    k) keep=1 ;;
    h) usage 0 ;;
    *) usage ;;
    esac
done

missing=()
for tool in fio nbdkit qemu-storage-daemon qemu-nbd openssl dd awk; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
[ ${#missing[@]} -eq 0 ] || fail "missing: ${missing[*]} (Debian: fio nbdkit qemu-system-common qemu-utils openssl)"
fio --enghelp 2>/dev/null | grep -qw nbd || fail "this fio has no nbd engine"

if [ -z "${TWINDISK:-}" ]; then
    (cd "$here/.." && cargo build --release --quiet)
    TWINDISK=$here/../target/release/twindisk
fi
builds[twindisk]=$TWINDISK
builds[cached]=$TWINDISK
order+=(quorum direct bare)

[ -n "$dir" ] || dir=$(mktemp -d "$here/../target/peers.XXXXXX")
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
pids=()

clean_up() {
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# A file of random bytes, none of it cached.
fill() {
    openssl enc -aes-128-ctr -nosalt -pass pass:peers </dev/zero 2>/dev/null |
        dd of="$1" bs=1M count="$mib" iflag=fullblock oflag=direct conv=fsync status=none || true
    [ "$(stat -c %s "$1")" -eq $((mib * 1024 * 1024)) ] || fail "$1 could not be filled"
}

listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        listens "$port" || break
    done
    echo "$port"
}

wait_for() {
    local what=$1
    shift
    for _ in $(seq 600); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    fail "$what did not come up; logs are in $dir: $(tail -n 5 "$dir"/*.log)"
}

declare -A uris serving

start_twindisk() {
    local name=$1 program=${builds[$1]} base=$dir/$1 node
    mkdir -p "$base"
    echo "$name $RANDOM$RANDOM$RANDOM$RANDOM$RANDOM$RANDOM$RANDOM$RANDOM" >"$base/secret"
    chmod 600 "$base/secret"
    {
        printf 'cluster = "peers-%s"\nsecret-file = "%s/secret"\n' "$name" "$base"
        local id=1
        for node in alpha beta; do
            printf '[nodes.%s]\nid = %d\naddress = "127.0.0.1:%d"\ncontrol-socket = "%s/%s.sock"\nstate-dir = "%s/%s"\n' \
                $node $id "$(free_port)" "$base" $node "$base" $node
            id=$((id + 1))
        done
        printf '[resource.r0]\n'
        local io=direct
        [ "$name" != cached ] || { io=cached && printf 'flush-interval = "30s"\n'; }
        for node in alpha beta; do
            printf 'on.%s = { backing = "%s/%s.img", io = "%s", metadata = "%s/%s.meta", nbd = ["unix:%s/%s.nbd"] }\n' \
                $node "$base" $node $io "$base" $node "$base" $node
        done
    } >"$base/twindisk.toml"
    for node in alpha beta; do
        fill "$base/$node.img"
        local first=""
        [ $node = beta ] || first=--first
        "$program" init --config "$base/twindisk.toml" --node $node $first r0 >"$dir/$name-init.log" 2>&1 ||
            fail "init: $(cat "$dir/$name-init.log")"
        "$program" serve --config "$base/twindisk.toml" --node $node >"$dir/$name-$node.log" 2>&1 &
        pids+=($!)
        serving["$name-$node"]=$!
    done
    local status=("$program" status --config "$base/twindisk.toml" --node alpha --json)
    in_sync() { [ "$("${status[@]}" | grep -o '"disk": *"UpToDate"' | wc -l)" -ge 2 ]; }
    wait_for "$name's promotion" "$program" promote --config "$base/twindisk.toml" --node alpha r0
    wait_for "$name's resync" in_sync
    uris[$name]="nbd+unix:///r0?socket=$base/alpha.nbd"
}

# quorum, or direct: the same past the page caches.
start_quorum() {
    local name=$1 base=$dir/$1 cache="" port remote
    mkdir -p "$base"
    port=$(free_port)
    fill "$base/local.img"
    fill "$base/remote.img"
    if [ "$name" = direct ]; then
        cache=,cache.direct=on
        remote=(qemu-nbd -f raw --cache=none --aio=io_uring -b 127.0.0.1 -p "$port" -t -x "" "$base/remote.img")
    else
        remote=(nbdkit -f -i 127.0.0.1 -p "$port" file "$base/remote.img")
    fi
    "${remote[@]}" >"$dir/$name-remote.log" 2>&1 &
    pids+=($!)
    serving["$name-remote"]=$!
    wait_for "$name's remote half" listens "$port"
    qemu-storage-daemon \
        --blockdev driver=file,node-name=l0,filename="$base/local.img",aio=io_uring$cache \
        --blockdev driver=nbd,node-name=r0,server.type=inet,server.host=127.0.0.1,server.port="$port",export= \
        --blockdev driver=quorum,node-name=q0,vote-threshold=1,read-pattern=fifo,children.0=l0,children.1=r0 \
        --nbd-server addr.type=unix,addr.path="$base/nbd",max-connections=0 \
        --export type=nbd,id=e0,node-name=q0,name=q,writable=on >"$dir/$name.log" 2>&1 &
    pids+=($!)
    serving["$name-local"]=$!
    wait_for "$name" test -S "$base/nbd"
    uris[$name]="nbd+unix:///q?socket=$base/nbd"
}

# name | fio's options
loads=(
    "write 4k d1|--rw=randwrite --bs=4k --iodepth=1"
    "write 4k d16|--rw=randwrite --bs=4k --iodepth=16"
    "write 4k d1 fsync|--rw=randwrite --bs=4k --iodepth=1 --fsync=1"
    "write 1M d4|--rw=write --bs=1M --iodepth=4"
    "read 4k d16|--rw=randread --bs=4k --iodepth=16"
)

# Ticks (10 ms) of CPU that a contestant's servers have used.
server_ticks() {
    local who pid
    for who in "${!serving[@]}"; do
        pid=${serving[$who]}
        [ "${who%-*}" != "$1" ] || awk '{print $14 + $15}' "/proc/$pid/stat"
    done | awk '{sum += $1} END {print sum + 0}'
}

# Operations per second and microseconds of CPU per operation in client and servers: what fio read and wrote, in its
# terse format version 3, and what the servers' processes used meanwhile.
measure() {
    local who=$1 engine before
    shift
    if [ "$who" = bare ]; then
        engine=(--ioengine=io_uring --direct=1 --filename="$dir/bare.img")
    else
        engine=(--ioengine=nbd --uri="${uris[$who]}")
    fi
    before=$(server_ticks "$who")
    fio --name=peers "${engine[@]}" --size="${mib}M" --time_based --runtime="$seconds" --randrepeat=0 \
        --minimal "$@" >"$dir/fio.out" 2>"$dir/fio.log" || fail "fio on $who: $(cat "$dir/fio.log")"
    awk -F';' -v ticks=$(($(server_ticks "$who") - before)) -v seconds="$seconds" 'NF > 50 {
            rate = $8 + $49
            client = ($88 + $89) / 100 * seconds
            printf "%d %.1f\n", rate, (client + ticks / 100) / ((rate ? rate : 1) * seconds) * 1e6
            found = 1
        } END {exit !found}' "$dir/fio.out" || fail "fio on $who: $(cat "$dir/fio.log")"
    sync "$dir"/*/*.img "$dir"/*.img
}

median() {
    sort -n | awk '{v[NR] = $1} END {print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'
}

echo "filling files and starting the contestants …" >&2
for name in "${order[@]}"; do
    case $name in
    quorum | direct) start_quorum "$name" ;;
    bare) fill "$dir/bare.img" ;;
    *) start_twindisk "$name" ;;
    esac
done

for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    for index in "${!loads[@]}"; do
        [[ ${loads[$index]%%|*} =~ ${ONLY:-.} ]] || continue
        for name in "${order[@]}"; do
            # shellcheck disable=SC2086
            measure "$name" ${loads[$index]#*|} >>"$dir/$name.$index.ops"
        done
    done
done

column() {
    awk -v column="$2" '{print $column}' "$dir/$1.$index.ops"
}

# One line a load: what `cell NAME` prints for each contestant.
table() {
    local title=$1 cell=$2
    shift 2
    printf '%-18s' "$title"
    printf ' %10s' "$@"
    echo
    for index in "${!loads[@]}"; do
        [[ ${loads[$index]%%|*} =~ ${ONLY:-.} ]] || continue
        printf '%-18s' "${loads[$index]%%|*}"
        for name in "$@"; do
            printf ' %10s' "$($cell "$name")"
        done
        echo
    done
    echo
}

rate() { column "$1" 1 | median | xargs printf '%.0f'; }
cpu() { column "$1" 2 | median | xargs printf '%.1f'; }

# The median of the rounds' ratios: contestants of one round met the same noise.
ratio() { paste <(column "$against" 1) <(column "$1" 1) | awk '$2 > 0 {print $1 / $2}' | median | xargs printf '%.2f'; }

if [ "$rounds" -gt 0 ]; then
    table "operations/s" rate "${order[@]}"
    for against in "${order[@]}"; do
        [ -z "${builds[$against]:-}" ] || table "$against :" ratio "${order[@]}"
    done
    table "CPU us/operation" cpu "${order[@]}"
fi

echo "memory after the run (resident, KiB):"
for who in $(printf '%s\n' "${!serving[@]}" | sort); do
    printf '  %-18s %s\n' "$who" "$(awk '/^VmRSS/ {print $2}' "/proc/${serving[$who]}/status" 2>/dev/null || echo gone)"
done

if [ -n "$keep" ]; then
    echo
    for name in "${!uris[@]}"; do
        echo "$name: ${uris[$name]}"
    done
    for who in "${!serving[@]}"; do
        echo "$who: process ${serving[$who]}"
    done
    read -rp "Enter ends them. " _ || true
fi
