#!/usr/bin/env bash
# Gets what the machine lacks and says what it does; does nothing, without network, when all is there.
#
#   compose/setup.sh run    what `make demo` needs: a RabbitMQ server, the ONNX Runtime library
#   compose/setup.sh test   also what `make test` needs: a Redis server, and foreign AMQP clients in a Python environment
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=target/venv
CLIENTS=tests/clients/requirements.txt
LIBRARY=target/onnxruntime
# The oldest whose quorum queues dead-letter at least once; the oldest Python of the clients.
RABBITMQ_MIN=3.10
PYTHON_MIN=3.11

say() { echo "setup: $*"; }
die() { say "$@" >&2; exit 1; }

older() { [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

have_tools() {
    local tool
    for tool in cargo cc python3; do
        command -v "$tool" >/dev/null ||
            die "$tool is missing; needed are Rust (cargo), a C compiler (cc), make and Python 3"
    done
}

check_python() {
    local found
    found=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    ! older "$found" "$PYTHON_MIN" ||
        die "the foreign clients need Python $PYTHON_MIN or newer, python3 is $found"
}

can_pip() { "$1" -c 'import pip' 2>/dev/null; }

have_library() { [ -n "${ORT_DYLIB_PATH:-}" ] || [ -f "$LIBRARY/libonnxruntime.so" ]; }

clients_stamp() { sha256sum <"$CLIENTS" | cut -d ' ' -f 1; }

have_clients() {
    [ "$(cat "$VENV/clients.stamp" 2>/dev/null)" = "$(clients_stamp)" ] &&
        "$VENV/bin/python" -c 'import pika, aio_pika' 2>/dev/null
}

# Debian's python3 comes without pip and without what makes one.
pip_is_needed_and_missing() {
    if have_library && { [ "$1" = run ] || have_clients; }; then return 1; fi
    ! can_pip "$VENV/bin/python" && ! can_pip python3 && ! python3 -c 'import ensurepip' 2>/dev/null
}

install_packages() {
    local as=() by_hand="apt-get update && apt-get install -y --no-install-recommends $*"
    command -v apt-get >/dev/null || die "missing: $*; install them with the system's package manager"
    if [ "$(id -u)" -ne 0 ]; then
        by_hand="sudo sh -c '$by_hand'"
        sudo -n true 2>/dev/null || die "missing: $*; run this, then the same again:
  $by_hand"
        as=(sudo -n)
    fi
    say "installing with apt-get: $*"
    "${as[@]}" apt-get update -qq || say "apt-get update failed; trying with the lists that are there"
    "${as[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >target/apt.log 2>&1 || {
        tail -n 15 target/apt.log >&2
        die "apt-get refused; run this, then the same again:
  $by_hand"
    }
}

system_packages() {
    local missing=() how="already there"
    compose/rabbitmq-node.sh server >/dev/null || missing+=(rabbitmq-server)
    [ "$1" = run ] || command -v redis-server >/dev/null || missing+=(redis-server)
    ! pip_is_needed_and_missing "$1" || missing+=(python3-venv)
    if [ ${#missing[@]} -gt 0 ]; then
        install_packages "${missing[@]}"
        how="installed; where the distribution starts a broker of its own with it, inferq leaves that alone"
    fi
    local binary version
    read -r binary version < <(compose/rabbitmq-node.sh server) || die "no RabbitMQ server after installing it"
    if [ -n "$version" ] && older "$version" "$RABBITMQ_MIN"; then
        die "RabbitMQ $RABBITMQ_MIN or newer is needed, $binary is $version; RABBITMQ_SERVER=PATH names another"
    fi
    say "RabbitMQ server ${version:-of unknown version}: $how ($binary)"
}

environment() {
    if "$VENV/bin/python" -c '' 2>/dev/null; then return; fi
    say "making a Python environment in $VENV"
    rm -rf "$VENV"
    if python3 -c 'import ensurepip' 2>/dev/null; then
        python3 -m venv "$VENV"
    else
        python3 -m venv --without-pip "$VENV"
    fi
}

onnxruntime() {
    if [ -n "${ORT_DYLIB_PATH:-}" ]; then
        [ -f "$ORT_DYLIB_PATH" ] || die "ORT_DYLIB_PATH names no file: $ORT_DYLIB_PATH; mend or unset it"
        say "ONNX Runtime: ORT_DYLIB_PATH is set and used as it is ($ORT_DYLIB_PATH)"
        return
    fi
    local python=python3
    if ! have_library && ! can_pip python3; then
        environment
        python=$VENV/bin/python
    fi
    "$python" compose/onnxruntime.py "$LIBRARY"
}

clients() {
    check_python
    if have_clients; then
        say "foreign AMQP clients: already there ($VENV)"
        return
    fi
    environment
    say "installing foreign AMQP clients into $VENV"
    local pip=("$VENV/bin/python" -m pip)
    can_pip "$VENV/bin/python" || pip=(python3 -m pip --python "$VENV/bin/python")
    "${pip[@]}" install --quiet --disable-pip-version-check --no-deps --requirement "$CLIENTS" ||
        die "the foreign clients could not be installed; run: make setup"
    clients_stamp >"$VENV/clients.stamp"
}

case "${1:-}" in
    run | test) ;;
    *)
        sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
        exit 64
        ;;
esac
mkdir -p target
have_tools
system_packages "$1"
onnxruntime
if [ "$1" = test ]; then
    clients
fi
