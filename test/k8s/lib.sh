# shellcheck shell=bash disable=SC2034,SC2154 # variables are for those who source this
# What the tests of test/k8s have in common. They are processes of the node.

export LC_ALL=C PATH=/opt/medley-k8s:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export KUBECONFIG=/etc/kubernetes/admin.conf HOME=/run/tests

node="node-1"
# How long anything may take. A busy machine is slow; nothing waits for longer than it has to.
limit=240

say() { echo "k8s: $*"; }

# fail WHAT...: ends a test.
fail() {
    echo "failed: $*" >&2
    exit 1
}

# until_is SECONDS COMMAND...: tries the command again until it succeeds.
until_is() {
    local end=$((SECONDS + $1)) said
    shift
    until said=$("$@" 2>&1); do
        [ $SECONDS -lt $end ] || fail "not within time: $*: $said"
        sleep 0.2
    done
}

# same WHAT EXPECTED FOUND
same() { [ "$2" = "$3" ] || fail "$1 is: $3; and not: $2"; }

# has WHAT PART TEXT
has() { [[ $3 = *"$2"* ]] || fail "$1 lacks '$2': $3"; }

# What Kubernetes 1.20 has no new name for yet. Everything else is applied as it is.
for_1_20() {
    sed -z 's|apiVersion: batch/v1\nkind: CronJob|apiVersion: batch/v1beta1\nkind: CronJob|g
        s|apiVersion: autoscaling/v2\n|apiVersion: autoscaling/v2beta2\n|g
        s|preStop: { sleep: { seconds: 5 } }|preStop: { exec: { command: [/bin/sleep, "2"] } }|' "$1"
}

# apply FILE, delete FILE: of the repository.
apply() { for_1_20 "$top/$1" | kubectl apply -f -; }
delete() { for_1_20 "$top/$1" | kubectl delete --ignore-not-found --wait=false -f - && none_left; }

# No pod of the tests is left, one that is about to go included.
none_left() {
    local end=$((SECONDS + limit))
    while [ -n "$(kubectl get pods --output name)" ]; do
        [ $SECONDS -lt $end ] || fail "pods are left: $(kubectl get pods --no-headers)"
        sleep 0.2
    done
}

ready() { kubectl wait --for=condition=Ready --timeout="${limit}s" "$@"; }

# log_has POD CONTAINER TEXT
log_has() {
    [[ $(kubectl logs "$1" -c "$2") = *"$3"* ]] || { kubectl logs "$1" -c "$2" && return 1; }
}

# typed COMMAND...: what it says on a terminal on which nothing is typed and which is not hung up.
typed() {
    rm -f "$HOME/keys" && mkfifo "$HOME/keys"
    script -qec "$*" /dev/null <>"$HOME/keys" | tr -d '\r'
}

# phase_is POD PHASE
phase_is() { [ "$(kubectl get pod "$1" -o 'jsonpath={.status.phase}')" = "$2" ]; }

# forwarded WHAT PORT:PORT... -- COMMAND...: with a port-forward that is up.
forwarded() {
    local what=$1 ports=() out pid status=0
    shift
    while [ "$1" != -- ]; do ports+=("$1") && shift; done
    shift
    out=$(mktemp)
    kubectl port-forward "$what" "${ports[@]}" >"$out" 2>&1 &
    pid=$!
    until_is 30 grep -q "127.0.0.1:${ports[-1]%%:*}" "$out"
    "$@" || status=$?
    kill "$pid" || true
    wait "$pid" 2>/dev/null || true
    [ "$status" = 0 ] || cat "$out"
    rm -f "$out"
    return "$status"
}

# The node's root, in what it differs from this machine's, without what a kubelet, CNI and systemd write
# as they run. Links and files by their content.
root_listing() {
    find /medley/upper \
        \( -path /medley/upper/var/log -o -path /medley/upper/var/lib/cni -o -path /medley/upper/var/lib/systemd \
        -o -path /medley/upper/var/cache -o -path /medley/upper/medley -o -path /medley/upper/var/tmp \) -prune -o \
        -mindepth 1 -printf '%P %y %m %u:%g %l\n' | sort >"$1"
    find /medley/upper \( -path /medley/upper/var/log -o -path /medley/upper/var/lib/cni -o -path /medley/upper/var/lib/systemd \
        -o -path /medley/upper/var/cache -o -path /medley/upper/var/tmp \) -prune -o -type f -exec sha256sum {} + |
        sort -k 2 >>"$1"
}

# same_root BEFORE: the node's root is as it was.
same_root() {
    root_listing /run/tests/after
    diff "$1" /run/tests/after || fail "the node's root is not what it was before: see above, before < and after >"
}

# no_shims: no process of Medley's is left on the node.
no_shims() { ! pgrep -fa "$a_shim"; }
a_shim='containerd-shim-(wasm|wasmedge|wasmtime|wasmer|spin)-v[12] .*-socket'
