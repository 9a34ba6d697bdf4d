# shellcheck shell=bash disable=SC2154 # `work` is the sourcing script's
# What the scripts have in common that run suites of containerd's, once with each runtime:
# test/scripts/containerd-client and test/scripts/containerd-cri source this file.
#
# A suite runs in mount and network namespaces of its own. It may so use containerd's usual dirs and
# reach registries by their names, while the machine keeps its own. Its containerd has another name, by
# which the suite may kill it. Images of the names that the
# suite pulls are made of Debian's busybox-static, and served by a registry on loopback.

export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

me=${0##*/}
self=$(readlink -f "$0")
top=$(cd "$(dirname "$self")/../.." && pwd)
shim=${MEDLEY_SHIM:-${CARGO_TARGET_DIR:-$top/target}/$(uname -m)-unknown-linux-gnu/release/containerd-shim-wasm-v1}

die() {
    echo "$me: $*" >&2
    exit 1
}

# check_machine: names the first thing that is missing.
check_machine() {
    local each
    [ "$(id -u)" = 0 ] || die "not root; a containerd needs it"
    [ -x "$shim" ] || die "no shim at $shim; run make build first, or set MEDLEY_SHIM"
    for each in runc busybox python3 openssl pgrep ip unshare cc /usr/lib/cni/bridge; do
        command -v "$each" >/dev/null ||
            die "no $each: install runc, busybox-static, python3, openssl, procps, iproute2, util-linux, gcc and containernetworking-plugins"
    done
}

# get_programs TARGET PACKAGE: fills `programs` with the suite's program as `suite`, and the
# containerd, ctr and containerd-shim-runc-v2 to run: those of the checkout, if TARGET is one, else
# those beside $CONTAINERD.
get_programs() {
    local target=$1 package=$2 each from
    programs=$work/programs
    mkdir -p "$programs"
    if [ -d "$target" ]; then
        command -v go >/dev/null || die "no go in PATH, which builds the suite of a checkout; pass a built test program instead"
        echo "$me: building $package, containerd, ctr and containerd-shim-runc-v2 of $target"
        (
            cd "$target"
            export CGO_ENABLED=0 GOFLAGS="-mod=vendor -trimpath"
            go test -c -o "$programs/suite" "./$package"
            go build -tags "no_btrfs no_devmapper no_zfs" -o "$programs/" \
                ./cmd/containerd ./cmd/ctr ./cmd/containerd-shim-runc-v2
        ) || die "cannot build $target: is it a checkout of containerd, and go as new as its go.mod asks?"
    else
        [ -x "$target" ] || die "$target is neither a checkout of containerd nor a program"
        cp "$target" "$programs/suite"
        from=${CONTAINERD:-/usr/bin/containerd}
        for each in containerd ctr containerd-shim-runc-v2; do
            [ -x "${from%/*}/$each" ] || die "no $each beside $from; set CONTAINERD to the containerd to run"
            cp "${from%/*}/$each" "$programs/"
        done
    fi
    cp "$shim" "$programs/containerd-shim-wasm-v1"
    ln -sf "$(command -v runc)" "$programs/runc"
    echo "$me: $("$programs/containerd" --version | grep -oE 'v?[0-9]+\.[0-9]+\.[0-9]+[^ ]*' | head -n 1 | sed 's/^/containerd /'), $(runc --version | head -n 1), Linux $(uname -r)"
}

# base DIR: a root file system of busybox, with the users and programs that the suites ask for.
base() {
    local each
    mkdir -p "$1"/{bin,usr/bin,etc,tmp,root,home,var,lib64}
    chmod 1777 "$1/tmp"
    cp /bin/busybox "$1/bin/sh"
    for each in $(/bin/busybox --list); do [ "$each" = sh ] || ln -f "$1/bin/sh" "$1/bin/$each"; done
    ln -s ../../bin/env "$1/usr/bin/env"
    # As pid 1, Debian's nc is not ended by SIGTERM, which a test of the client suite waits for.
    rm "$1/bin/nc"
    printf '%s\n' '#!/bin/sh' "trap 'exit 143' TERM" 'busybox nc "$@" &' 'wait $!' >"$1/bin/nc"
    chmod 755 "$1/bin/nc"
    printf '%s\n' root:x:0:0:root:/root:/bin/sh daemon:x:1:1:daemon:/sbin:/bin/false \
        www-data:x:33:33::/var:/bin/false nobody:x:65534:65534::/:/bin/false >"$1/etc/passwd"
    printf '%s\n' root:x:0:root daemon:x:1:root,daemon wheel:x:10:root www-data:x:33: nogroup:x:65533: >"$1/etc/group"
}

image() { python3 "$top/test/suites/registry.py" add "$work/store" "$@"; }

# images: those of containerd's integration/images/image_list.go, by the names of v2.3, and what
# their Dockerfiles put into them.
images() {
    local rootfs=$work/rootfs of=${IMAGES:-ghcr.io/containerd}
    local plain='{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["sh"]}'
    base "$rootfs"
    image "$of/busybox:1.36" "$rootfs" "$plain"
    image "$of/alpine:3.14.0" "$rootfs" "$plain"
    image "$of/nginx:1.27.0" "$rootfs" "$plain"
    printf '#include <unistd.h>\n#include <signal.h>\nstatic void end(int s) { _exit(0); }\nint main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }\n' |
        cc -static -x c -o "$rootfs/pause" -
    for each in 3.10.2 3.10.1 3.10 3.9; do
        image "registry.k8s.io/pause:$each" "$rootfs" '{"Entrypoint":["/pause"]}'
    done
    mkdir -p "$rootfs/test_dir" "$rootfs/C:/weird_test_dir" "$rootfs/:colon_prefixed"
    echo test_content >"$rootfs/test_dir/test_file"
    echo test_content >"$rootfs/C:/weird_test_dir/weird_test_file"
    echo test_content >"$rootfs/:colon_prefixed/colon_prefixed_file"
    image "$of/volume-copy-up:2.2" "$rootfs" \
        '{"Cmd":["sh"],"Volumes":{"/test_dir":{},"C:/weird_test_dir":{},"/:colon_prefixed":{}}}'
    rm -r "$rootfs/C:" "$rootfs/:colon_prefixed" "$rootfs/test_dir/test_file"
    chown 65534:65533 "$rootfs/test_dir"
    image "$of/volume-ownership:2.1" "$rootfs" '{"Cmd":["sh"],"Volumes":{"/test_dir":{}}}'
}

# certificate: one for every host of the images, and for the machine's own list of authorities.
certificate() {
    local hosts
    hosts=$(find "$work/store/names" -mindepth 1 -maxdepth 1 -printf 'DNS:%f,')
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=medley-suite -addext "subjectAltName=${hosts%,}" \
        -keyout "$work/key.pem" -out "$work/ca.pem" 2>/dev/null
    cat "$work/ca.pem" "$work/key.pem" >"$work/registry.pem"
}

# settle_in: makes the new namespaces the suite's own. Runs inside of them.
settle_in() {
    local each
    mount --make-rprivate /
    for each in /var/lib/containerd /var/lib/containerd-test /run/containerd /run/containerd-test /etc/cni/net.d /opt/cni/bin; do
        mkdir -p "$each" "$work/own$each"
        mount --bind "$work/own$each" "$each"
    done
    mount --bind /usr/lib/cni /opt/cni/bin
    { echo "127.0.0.1 localhost" && find "$work/store/names" -mindepth 1 -maxdepth 1 -printf '127.0.0.1 %f\n'; } >"$work/hosts"
    mount --bind "$work/hosts" /etc/hosts
    ip link set lo up
    cat >/etc/cni/net.d/10-medley.conflist <<NETWORK
{"cniVersion":"1.0.0","name":"medley-suite","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,
"ipam":{"type":"host-local","dataDir":"$work/cni","ranges":[[{"subnet":"10.88.0.0/16"}],[{"subnet":"fd00:88::/64"}]],
"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}},{"type":"portmap","capabilities":{"portMappings":true}}]}
NETWORK
    export PATH=$work/programs:$PATH SSL_CERT_FILE=$work/ca.pem CONTAINERD_SHIM_WASM_CACHE=$work/own/cache
    # A process without CAP_SYS_RESOURCE gives its containers no score below its own.
    ((0x$(awk '/^CapEff/ { print $2 }' /proc/self/status) >> 24 & 1)) || echo 1000 >/proc/self/oom_score_adj
    python3 "$top/test/suites/registry.py" serve "$work/store" 127.0.0.1 443 "$work/registry.pem" 2>"$work/registry.log" &
    for _ in $(seq 50); do
        ! { true >/dev/tcp/127.0.0.1/443; } 2>/dev/null || return 0
        sleep 0.1
    done
    die "the registry does not answer: $(tail -n 3 "$work/registry.log")"
}

# kill_left CGROUP: ends what a suite has left: its containers, and all that sees its dirs.
kill_left() {
    local pid
    find /sys/fs/cgroup -path "*/$1*" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u | xargs -r kill -9 2>/dev/null || true
    for pid in /proc/[0-9]*; do
        ! grep -qs " /run/containerd-test " "$pid/mountinfo" || kill -9 "${pid#/proc/}" 2>/dev/null || true
    done
}

# each_runtime CGROUP RUNTIME...: runs `$0 --inside RUNTIME`, which writes $work/RUNTIME.log, in
# namespaces of its own, for each; and removes what the suite leaves of cgroups by that name.
each_runtime() {
    local cgroup=$1 runtime
    shift
    for runtime; do
        rm -rf "$work/own"
        WORK=$work unshare --mount --net --ipc --fork --kill-child \
            bash "$self" --inside "$runtime" </dev/null || true
        kill_left "$cgroup"
        find /sys/fs/cgroup -depth -type d -path "*/$cgroup*" -exec rmdir {} + 2>/dev/null || true
        outcome "$runtime"
    done
}

# outcome RUNTIME: counts what `go test -v` wrote, and keeps the names for the comparison.
outcome() {
    local log=$work/$1.log
    [ -z "${KEEP:-}" ] || { mkdir -p "$KEEP" && cp "$work/$1".* "$KEEP/"; }
    grep -qE '^(PASS|FAIL)$' "$log" || {
        tail -n 40 "$log" >&2
        die "the suite did not end with $1"
    }
    for each in PASS FAIL SKIP; do
        sed -n "s/^ *--- $each: \([^ ]*\) .*/\1/p" "$log" | sort -u >"$work/$1.$each"
    done
    echo "$me: $1: $(grep -vc / "$work/$1.PASS") passed, $(grep -vc / "$work/$1.FAIL") failed, $(grep -vc / "$work/$1.SKIP") skipped"
    sed 's/^/  failed: /' "$work/$1.FAIL"
}

# compare: what passes with runc and not with Medley; fails if there is anything.
compare() {
    local worse
    [ -e "$work/runc.PASS" ] && [ -e "$work/wasm.PASS" ] || return 0
    worse=$(comm -23 "$work/runc.PASS" "$work/wasm.PASS")
    [ -z "$worse" ] || {
        echo "$me: passes with runc alone:"
        echo "$worse"
        return 1
    }
    echo "$me: all that passes with runc passes with Medley"
}
