# shellcheck shell=bash disable=SC2154 # of lib.sh and of `tests`
# `install` by hand, and back.

# What is written there, and what uninstall is to have left of it.
begin_command() { prepared_root; }
end_command() { "$shim" uninstall --restart; }

# Copies of dirs come into being in an overlay when something is written below them, and stay.
prepared_root() {
    local dir
    for dir in /usr/local/bin /var/lib /etc/containerd; do rm "$(mktemp -p "$dir")"; done
    root_listing /run/tests/before
}

handlers=(--handler wasm --handler crun --handler crun-wasmedge --handler crun-wasmer --handler crun-wasmtime
    --handler spin --handler slight)

test_a_dry_run_changes_nothing() {
    local said
    said=$("$shim" install --dry-run "${handlers[@]}")
    has "the diff" '+[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun-wasmedge]' "$said"
    same_root /run/tests/before
}

test_install_finds_the_node_and_restarts_containerd() {
    local before after said
    before=$(systemctl show --property MainPID --value containerd)
    said=$("$shim" install --restart "${handlers[@]}")
    has "what install says" kubeadm: "$said"
    after=$(systemctl show --property MainPID --value containerd)
    [ "$before" != "$after" ] || fail "containerd was not restarted"
    "$shim" status
    # The administrator's own words are as they were.
    grep -q "as its administrator wrote it" /etc/containerd/config.toml
}

test_a_second_install_changes_and_restarts_nothing() {
    local before after said
    "$shim" install --restart "${handlers[@]}" >/dev/null
    before=$(systemctl show --property MainPID --value containerd)
    said=$("$shim" install --restart "${handlers[@]}")
    has "what install says" "nothing to change" "$said"
    after=$(systemctl show --property MainPID --value containerd)
    same "containerd's pid" "$before" "$after"
}

test_uninstall_leaves_nothing() {
    "$shim" install --restart "${handlers[@]}"
    "$shim" uninstall --restart
    same_root /run/tests/before
    "$shim" status && fail "status finds it all there"
    return 0
}
