#!/usr/bin/env bash
# A private RabbitMQ node: any user, loopback only, everything it writes under one folder.
#
#   compose/rabbitmq-node.sh start DIR [PORT]   prints the node's URL; PORT 0 or none: a free one
#   compose/rabbitmq-node.sh stop DIR
#   compose/rabbitmq-node.sh server             prints the path and the version of the server found
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
BOOT_S=${RABBITMQ_BOOT_SECONDS:-90}
STOP_S=20

say() { echo "rabbitmq-node: $*" >&2; }
die() { say "$@"; exit 1; }

# The program in /usr/sbin changes user; the one that it wraps runs as anybody.
server() {
    local candidate
    for candidate in "${RABBITMQ_SERVER:-}" /usr/lib/rabbitmq/bin/rabbitmq-server \
        "$(command -v rabbitmq-server || true)"; do
        if [ -n "$candidate" ] && [ -x "$candidate" ]; then
            local real
            real=$(readlink -f "$candidate")
            echo "$candidate $(sed -nE 's|.*/rabbitmq_server-([0-9][^/]*)/.*|\1|p' <<<"$real")"
            return
        fi
    done
    return 1
}

# A process id may have gone to someone else since: ours carries this folder in its environment.
ours() {
    local pid=$1 dir=$2
    [ -n "$pid" ] && grep -qzxF "RABBITMQ_MNESIA_BASE=$dir/data" "/proc/$pid/environ" 2>/dev/null
}

recorded() { cat "$1" 2>/dev/null || true; }

running() { ours "$(recorded "$1/node.pid")" "$1" || ours "$(recorded "$1/leader.pid")" "$1"; }

explain() {
    local file
    for file in "$1"/boot.log "$1"/log/*.log; do
        if [ -s "$file" ]; then
            say "the end of $file:"
            tail -n 15 "$file" >&2
        fi
    done
}

start() {
    local port=${2:-0} dir found binary dist epmd name
    mkdir -p "$1"
    dir=$(cd "$1" && pwd)
    if running "$dir"; then
        cat "$dir/url"
        return
    fi
    found=$(server) || die "no RabbitMQ server found; run: make setup"
    binary=${found% *}

    read -r free dist epmd < <(python3 "$HERE/probe.py" ports 3)
    if [ "$port" = 0 ]; then
        port=$free
    elif python3 "$HERE/probe.py" amqp "amqp://127.0.0.1:$port" --seconds 0 2>/dev/null ||
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        die "port $port is taken; name another, or none for a free one"
    fi

    name="inferq-$port@localhost"
    mkdir -p "$dir/home" "$dir/data" "$dir/log"
    rm -f "$dir"/*.pid "$dir"/log/*.log
    echo "[]." >"$dir/enabled_plugins"
    : >"$dir/empty"
    echo "amqp://guest:guest@127.0.0.1:$port" >"$dir/url"
    echo "$epmd" >"$dir/epmd.port"

    # A clean environment and empty files: nothing of the machine's own broker is read or touched.
    # The port mapper is private as well, so that nothing at all outlives the node.
    setsid env -i PATH="$PATH" LANG=C.UTF-8 HOME="$dir/home" \
        ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$epmd" \
        RABBITMQ_NODENAME="$name" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$port" \
        RABBITMQ_DIST_PORT="$dist" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}" \
        RABBITMQ_MNESIA_BASE="$dir/data" RABBITMQ_LOG_BASE="$dir/log" \
        RABBITMQ_PID_FILE="$dir/node.pid" RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins" \
        RABBITMQ_FEATURE_FLAGS_FILE="$dir/feature_flags" RABBITMQ_CONF_ENV_FILE="$dir/empty" \
        RABBITMQ_CONFIG_FILE="$HERE/rabbitmq.conf" RABBITMQ_ADVANCED_CONFIG_FILE="$dir/none.config" \
        "$binary" </dev/null >"$dir/boot.log" 2>&1 &
    echo $! >"$dir/leader.pid"

    if ! python3 "$HERE/probe.py" amqp "$(cat "$dir/url")" --seconds "$BOOT_S" --pid $!; then
        explain "$dir"
        stop "$dir"
        die "the node on port $port did not start"
    fi
    cat "$dir/url"
}

gone_within() {
    local dir=$1 until=$((SECONDS + $2))
    while running "$dir"; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.1
    done
}

stop() {
    local dir leader node
    dir=$(cd "$1" 2>/dev/null && pwd) || return 0
    leader=$(recorded "$dir/leader.pid")
    node=$(recorded "$dir/node.pid")
    if running "$dir"; then
        if ours "$node" "$dir"; then kill -TERM "$node"; else kill -TERM "$leader"; fi
        if ! gone_within "$dir" "$STOP_S"; then
            say "the node did not stop within $STOP_S s: killed"
            kill -KILL -- "-$leader" 2>/dev/null || true
            gone_within "$dir" 5 || die "process $leader cannot be ended"
        fi
    fi
    if [ -s "$dir/epmd.port" ] && command -v epmd >/dev/null; then
        ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$(cat "$dir/epmd.port") epmd -kill >/dev/null 2>&1 || true
    fi
    rm -f "$dir"/*.pid "$dir/epmd.port" "$dir/url"
}

case "${1:-}:$#" in
    start:2 | start:3) start "$2" "${3:-0}" ;;
    stop:2) stop "$2" ;;
    server:1) server ;;
    *)
        sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
        exit 64
        ;;
esac
