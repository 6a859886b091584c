#!/usr/bin/env bash
# Makes a checkout ready to run.
#
#   tools/setup.sh run      to use Postroom          requirements.lock
#   tools/setup.sh dev      to test it               requirements-dev.lock and -client.lock, Chromium, libatomic, smtp-sink, PgBouncer,
#                                                    Email::MIME, dkimpy
#   tools/setup.sh bench    to measure it            requirements-bench.lock, smtp-sink, redis-server
#
# Each lock holds all of the one before, every file of it pinned and hashed, so one .venv serves all three. The stamp in
# .venv is a checksum of what was installed: a changed lock installs again, an unchanged one costs a few milliseconds.
# System packages are installed only by root on a Debian-like system; anybody else is told what is missing.
# Everything is said on standard error, so that a caller's output stays clean.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_updated=
install_packages() {
    # No package may start a service (postfix would), and none may push out another (a mail server that is in use).
    local policy=/usr/sbin/policy-rc.d own_policy= status=0 log
    log=$(mktemp)
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && own_policy=1
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    say "Installing system packages: $*"
    if [ "$*" = postfix ] && command -v debconf-set-selections >/dev/null; then
        # Only its test tools are wanted: without a configuration it does not start at the next boot either.
        echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
    fi
    if [ "$*" = pgbouncer ] && [ -d /etc/systemd/system ]; then
        ln -sf /dev/null /etc/systemd/system/pgbouncer.service  # only the program is wanted, not a service at the next boot
    fi
    if [ -z "$apt_updated" ]; then
        apt-get -qq -o DPkg::Lock::Timeout=300 update >"$log" 2>&1 || say "apt-get update failed; trying with the old lists."
        apt_updated=1
    fi
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        install --no-install-recommends --no-remove "$@" </dev/null >>"$log" 2>&1 || status=$?
    if [ "$status" != 0 ]; then tail -n 20 "$log" >&2; fi
    rm -f "$log"
    if [ -n "$own_policy" ]; then
        rm -f "$policy"
        trap - EXIT
    fi
    return "$status"
}

# need NAME PACKAGE COMMAND...: one of the commands is there, or is installed, or its lack is said. Never fatal: the tests
# that need it fail, each for itself, and are not skipped; a benchmark says what it could not measure.
need() {
    local name=$1 package=$2 candidate
    shift 2
    for candidate in "$@"; do
        if command -v "$candidate" >/dev/null; then return 0; fi
    done
    if can_install && install_packages "$package"; then return 0; fi
    say "$name is missing: install it as root with 'apt-get install $package', or what needs it will fail."
}

# need_working NAME "PACKAGE..." COMMAND ARGUMENT...: the same for what is no command of its own, such as a module of Perl.
need_working() {
    local name=$1 packages=$2
    shift 2
    if "$@" >/dev/null 2>&1; then return 0; fi
    # shellcheck disable=SC2086 - several packages
    if can_install && install_packages $packages && "$@" >/dev/null 2>&1; then return 0; fi
    say "$name is missing: install it as root with 'apt-get install $packages', or what needs it will fail."
}

# The distribution's own Python first: it is built with profile-guided and link-time optimisation, which a Python built by a
# version manager mostly is not, and that is worth a fifth of a sender's CPU. PYTHON=... chooses another.
find_python() {
    local candidate modules
    for modules in ensurepip,venv sys; do
        for candidate in ${PYTHON:-} /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
            if "$candidate" -c "import $modules, sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; then
                printf '%s' "$candidate"
                return 0
            fi
        done
    done
    return 1
}

make_venv() {
    local python package
    if ! python=$(find_python); then
        can_install && install_packages python3 python3-venv || true
        python=$(find_python) ||
            die "Postroom needs Python 3.11 or newer, and none is on the PATH:" \
                "install it as root with 'apt-get install python3 python3-venv'."
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        package=$("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')
        can_install && install_packages "$package" ||
            die "$python cannot make virtual environments: install it as root with 'apt-get install $package'."
    fi
    say "Making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
}

checksum_of() { cat requirements*.lock pyproject.toml tools/setup.sh | cksum; }

# install_locked LOCK SET...: the sets are those that the lock covers, its own first.
install_locked() {
    local lock=$1 set
    shift
    if [ "$(cat ".venv/.installed-$1" 2>/dev/null)" = "$(checksum_of)" ] && .venv/bin/python -c '' 2>/dev/null; then
        return 0
    fi
    .venv/bin/python -m pip --version >/dev/null 2>&1 || make_venv
    say "Installing from $lock"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$lock" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation \
        --editable . >&2
    # What a larger set added may be from an older lock: only these sets are known to be right now.
    rm -f .venv/.installed-*
    for set in "$@"; do checksum_of >".venv/.installed-$set"; done
}

# What makes clients of the API, for a test: in an environment of its own, since it wants other versions than Postroom.
install_client_maker() {
    if [ "$(cat .venv/client/.installed 2>/dev/null)" = "$(checksum_of)" ]; then return 0; fi
    say "Installing from requirements-client.lock"
    .venv/bin/python -m venv --clear .venv/client
    .venv/client/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
        --requirement requirements-client.lock >&2
    checksum_of >.venv/client/.installed
}

case "${1:-}" in
run)
    install_locked requirements.lock run
    ;;
dev)
    install_locked requirements-dev.lock dev run
    install_client_maker
    need Chromium chromium chromium chromium-browser google-chrome
    # The driver that steers it is a program of its own inside Playwright's wheel: it is asked whether it starts.
    need_working "libatomic, which Playwright's driver loads," libatomic1 \
        sh -c '.venv/lib/python3*/site-packages/playwright/driver/node --version'
    need "smtp-sink, Postfix's test server," postfix smtp-sink
    need "PgBouncer, the pooler of the tests," pgbouncer pgbouncer
    need_working "Email::MIME, a parser of mail that is not Python's," libemail-mime-perl perl -MEmail::MIME -e 1
    need_working "dkimpy, a verifier of signatures that is not ours," "python3-dkim python3-nacl" \
        /usr/bin/python3 -c 'import dkim, nacl'
    ;;
bench)
    install_locked requirements-bench.lock bench dev run
    need "smtp-sink, Postfix's test server," postfix smtp-sink
    need "Redis, the broker of a benchmark's peer," redis-server redis-server
    ;;
*)
    die "usage: tools/setup.sh run|dev|bench"
    ;;
esac
