#!/usr/bin/env bash
# Twindisk beside its nearest neighbour in user space and beside the bare file, on one disk, interleaved.
#
#   benches/peers.sh [-d DIRECTORY] [-r ROUNDS] [-s SECONDS] [-g MIB] [-a NAME=TWINDISK]... [-k]
#
# Contestants, each with files of its own in DIRECTORY, filled with random bytes past the page cache (holes and zeros
# would be cheaper than real data, cached pages would make direct I/O dearer):
#   twindisk  two `twindisk serve` on loopback, protocol C, the client on a Unix socket
#   quorum    qemu-storage-daemon: quorum over a file and nbdkit on loopback, the client on a Unix socket
#   direct    the same without page caches (the remote half is qemu-nbd, nbdkit has no O_DIRECT): as durable as twindisk
#   bare      the file itself, io_uring, O_DIRECT
#   NAME      another build of twindisk (-a), to compare two versions
# -k keeps them running after the last round until Enter is pressed, for perf and strace. ONLY=PATTERN picks loads.
# Each round gives every contestant its turn before anyone has a second one, so that a noisy neighbour hits all of
# them; only medians and ratios are printed. Needs fio with its nbd engine, nbdkit, qemu-storage-daemon.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=""
rounds=5
seconds=3
mib=1024
keep=
declare -A builds
order=(twindisk)

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
        for node in alpha beta; do
            printf 'on.%s = { backing = "%s/%s.img", metadata = "%s/%s.meta", nbd = ["unix:%s/%s.nbd"] }\n' \
                $node "$base" $node "$base" $node "$base" $node
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

# Operations per second: what fio read and wrote, in its terse format version 3.
measure() {
    local who=$1 engine
    shift
    if [ "$who" = bare ]; then
        engine=(--ioengine=io_uring --direct=1 --filename="$dir/bare.img")
    else
        engine=(--ioengine=nbd --uri="${uris[$who]}")
    fi
    fio --name=peers "${engine[@]}" --size="${mib}M" --time_based --runtime="$seconds" --randrepeat=0 \
        --minimal "$@" 2>"$dir/fio.log" | awk -F';' 'NF > 50 {printf "%d\n", $8 + $49; found = 1} END {exit !found}' ||
        fail "fio on $who: $(cat "$dir/fio.log")"
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

if [ "$rounds" -gt 0 ]; then
    printf '%-18s' "operations/s"
    printf ' %12s' "${order[@]}"
    for name in "${order[@]:1}"; do
        printf ' %18s' "twindisk/$name"
    done
    echo
    for index in "${!loads[@]}"; do
        [[ ${loads[$index]%%|*} =~ ${ONLY:-.} ]] || continue
        printf '%-18s' "${loads[$index]%%|*}"
        for name in "${order[@]}"; do
            printf ' %12.0f' "$(median <"$dir/$name.$index.ops")"
        done
        # The ratio is the median of the rounds' ratios: contestants of one round met the same noise.
        for name in "${order[@]:1}"; do
            printf ' %18.2f' "$(paste "$dir/twindisk.$index.ops" "$dir/$name.$index.ops" |
                awk '$2 > 0 {print $1 / $2}' | median)"
        done
        echo
    done
fi

echo
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
