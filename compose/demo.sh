#!/usr/bin/env bash
# Shows inferq at work: a broker, a worker on the sample packages, requests, and what came back.
#
#   compose/demo.sh         run by `make demo`; STAY=1 leaves broker and worker running
#   compose/demo.sh stop    ends what STAY=1 left running
#
# AMQP_URL names a broker to use in place of a private one. DEMO_AMQP_PORT and DEMO_ADMIN_PORT fix the ports.
set -euo pipefail
cd "$(dirname "$0")/.."

STATE=$PWD/target/demo
# A copy: `make test` has one with fail points where this came from.
BINARY=target/demo-bin/inferq
PACKAGES=compose/packages
SAMPLES=compose/samples
READY_S=60
DRAIN_S=30

say() { echo "demo: $*"; }
die() { echo "demo: $*" >&2; exit 1; }

# A process id may have gone to someone else since: ours carries this folder in its environment.
ours() { [ -n "$1" ] && grep -qzxF "DEMO_STATE=$STATE" "/proc/$1/environ" 2>/dev/null; }

recorded() { cat "$STATE/$1.pid" 2>/dev/null || true; }

end_process() {
    local pid until
    pid=$(recorded "$1")
    if ours "$pid"; then
        kill -TERM "$pid" 2>/dev/null || true
        until=$((SECONDS + DRAIN_S))
        while ours "$pid"; do
            if [ "$SECONDS" -ge "$until" ]; then
                say "the $1 did not drain within $DRAIN_S s: killed"
                kill -KILL "$pid" 2>/dev/null || true
                break
            fi
            sleep 0.1
        done
    fi
    rm -f "$STATE/$1.pid"
}

stop_all() {
    end_process worker
    compose/rabbitmq-node.sh stop "$STATE/rabbitmq"
}

start_broker() {
    if [ -n "${AMQP_URL:-}" ]; then
        URL=$AMQP_URL
        # shellcheck disable=SC2016 # to be typed as it stands: the URL may hold a password
        URL_TO_TYPE='"$AMQP_URL"'
        python3 compose/probe.py amqp "$URL" --seconds 5 || die "no broker answers at AMQP_URL; start it or unset AMQP_URL"
        say "broker: the one that AMQP_URL names (the queues that inferq declares there stay)"
        return
    fi
    say "broker: starting a private RabbitMQ node, its data under target/demo/rabbitmq"
    URL=$(compose/rabbitmq-node.sh start "$STATE/rabbitmq" "${DEMO_AMQP_PORT:-0}" 9>&-) || die "no broker, no demo"
    URL_TO_TYPE=$URL
    say "broker: $URL"
}

start_worker() {
    local free
    read -r free SECOND_ADMIN < <(python3 compose/probe.py ports 2)
    ADMIN=127.0.0.1:${DEMO_ADMIN_PORT:-$free}
    if (exec 3<>"/dev/tcp/127.0.0.1/${ADMIN#*:}") 2>/dev/null; then
        die "port ${ADMIN#*:} is taken; set DEMO_ADMIN_PORT to another, or unset it for a free one"
    fi
    say "worker: $BINARY serve --repository $PACKAGES (a debug build; log: target/demo/worker.log)"
    DEMO_STATE=$STATE setsid "$BINARY" serve --repository "$PACKAGES" --broker-url "$URL" \
        --admin-addr "$ADMIN" </dev/null >"$STATE/worker.log" 2>&1 9>&- &
    echo $! >"$STATE/worker.pid"
    python3 compose/probe.py http "http://$ADMIN/readyz" --seconds "$READY_S" --pid $! >"$STATE/readyz" || {
        tail -n 20 "$STATE/worker.log" >&2
        die "the worker is not ready; above is the end of target/demo/worker.log"
    }
    say "worker: ready"
}

# send PACKAGE FILE… [-- OPTION…]: publishes, awaits the replies, keeps them for the table.
send() {
    local package=$1 files=() file
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        files+=("$1")
        shift
    done
    [ $# -eq 0 ] || shift
    for file in "${files[@]}"; do
        printf '%s\t%s\n' "$package" "$file" >>"$STATE/requests.tsv"
    done
    "$BINARY" send "$package" "${files[@]}" --broker-url "$URL" "$@" \
        >>"$STATE/replies/$package.ndjson" 2>>"$STATE/send.log" || true
}

send_all() {
    local folder any="" made=$STATE/requests
    mkdir -p "$STATE/replies" "$made"
    for folder in "$SAMPLES"/*/; do
        send "$(basename "$folder")" "$folder"*
        any=$folder
    done
    # Two that no sample can show: nobody serves the package; nobody wants the answer any more.
    any=$(find "$any" -name '*.json' ! -name 'bad-*' | sort | head -n 1)
    cp "$any" "$made/bad-unknown-package.json"
    cp "$any" "$made/bad-expired.json"
    send no-such-package "$made/bad-unknown-package.json"
    send "$(basename "$(dirname "$any")")" "$made/bad-expired.json" -- --deadline-ms 0
}

print_stay() {
    cat <<EOF

Left running; \`make demo-stop\` ends it.

  broker        $URL_TO_TYPE
  admin page    http://$ADMIN/status   (also /metrics, /readyz, /livez)
  worker's log  target/demo/worker.log

Publish by hand:

  $BINARY send digits $SAMPLES/digits/*.png --broker-url $URL_TO_TYPE

or as any producer would, here tests/clients/producer.py (\`make setup\` installs pika into target/venv):

$(sed -n '/^import sys/,$s/^/    /p' tests/clients/producer.py)

  target/venv/bin/python tests/clients/producer.py $URL_TO_TYPE fraud $SAMPLES/fraud/not-fraud-1.json

Start a second worker on the same queues:

  $BINARY serve --repository $PACKAGES --broker-url $URL_TO_TYPE --admin-addr 127.0.0.1:$SECOND_ADMIN
EOF
}

run() {
    [ -x "$BINARY" ] || die "$BINARY is not built; run: make demo"
    exec 9>target/demo.lock
    flock -n 9 || die "another demo is running in this folder"
    if ours "$(recorded worker)"; then
        say "ending what an earlier STAY=1 left running"
    fi
    stop_all
    rm -rf "$STATE"
    mkdir -p "$STATE"
    trap stop_all EXIT
    trap 'exit 130' INT TERM

    start_broker
    start_worker
    send_all
    echo
    python3 compose/demo_table.py "$STATE" || die "not every request came back as it should; target/demo has the logs"
    if [ -n "${STAY:-}" ] && [ "$STAY" != 0 ]; then
        trap - EXIT
        print_stay
        return
    fi
    say "stopping the worker and the broker"
}

case "${1:-run}" in
    run) run ;;
    stop) stop_all && say "nothing is left running" ;;
    *)
        sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
        exit 64
        ;;
esac
