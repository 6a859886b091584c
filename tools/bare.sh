#!/usr/bin/env bash
# Tries the README's commands where nothing is installed yet: on a bare Debian, debootstrap's minbase, with make and git.
#
#   tools/bare.sh                       make demo AUTO=1, then make test, on Debian 12 and 13, as root and as a user
#   tools/bare.sh trixie user demo      only that; the words are bookworm, trixie; root, user; demo, test
#
# Root's commands install what they lack. For a user, root first installs what tools/setup.sh tells the user to, word for
# word and nothing else: that too has to be enough. Nothing that is merely recommended is installed, for either.
# Tried is the last commit of this checkout. Packages come from where this machine's own APT and pip get theirs.
# It runs in namespaces of its own, in a directory under TMPDIR or /var/tmp: nothing of it is left, but for that directory
# where it was itself killed (kill -9).
# What the commands say goes to standard error, the results at the end to standard output.
set -euo pipefail
cd "$(dirname "$0")/.."

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
certificates=/etc/ssl/certs/ca-certificates.crt

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

# ---- outside: the namespaces, and the directory --------------------------------------------------------------------------

check_machine() {
    local tool
    [ "$(id -u)" = 0 ] || die "tools/bare.sh makes root file systems: run it as root."
    for tool in apt-get debootstrap git setpriv unshare; do
        command -v "$tool" >/dev/null || die "$tool is missing: install it with 'apt-get install debootstrap git util-linux'."
    done
    # Without its keyring debootstrap would trust any mirror.
    [ -e "$keyring" ] || die "$keyring is missing: install it with 'apt-get install debian-archive-keyring'."
}

clean_up() {
    local turn
    trap '' HUP INT TERM
    if [ -n "$inside" ]; then
        kill -KILL "$inside" 2>/dev/null || true
        wait "$inside" 2>/dev/null || true
    fi
    for turn in 1 2 3 4 5; do # The last of those just killed may still be writing.
        if rm -rf --one-file-system "$work" 2>/dev/null; then return; fi
        sleep "$turn"
    done
    say "$work could not be removed."
}

# go_inside WORD...: runs this script again, in namespaces of its own. Each process is killed when the one above it dies:
# this one, unshare, the first one inside, and with that all that are inside. The mounts are not seen out here, so the
# removal of the directory cannot reach through one. Shared memory of a PostgreSQL that was killed goes with its namespace.
go_inside() {
    inside=''
    work=$(mktemp -d "${TMPDIR:-/var/tmp}/postroom-bare.XXXXXX")
    chmod 755 "$work"
    trap clean_up EXIT
    trap 'exit 130' HUP INT TERM
    BARE_WORK=$work setpriv --pdeathsig KILL unshare --mount --ipc --pid --mount-proc --fork --kill-child tools/bare.sh "$@" &
    inside=$!
    wait "$inside"
}

# ---- inside: a root file system ------------------------------------------------------------------------------------------

# sources RELEASE: this machine's own APT sources of Debian, said for that release.
sources() {
    local codename site suite
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    apt-get indextargets --format "\$(SITE) \$(RELEASE)" "Created-By: Packages" "Component: main" | sort -u |
        while read -r site suite; do
            case "$suite" in
            "$codename" | "$codename-updates" | "$codename-security") echo "deb $site $1${suite#"$codename"} main" ;;
            esac
        done
}

# What this machine's APT and pip were told about how packages are reached.
apt_settings() {
    apt-config dump | grep -E '^Acquire::(Check-|Retries|https?::)' || true
    echo "Acquire::https::CAInfo \"/etc/bare.crt\";"
    echo 'APT::Install-Recommends "false";'
}
pip_settings() {
    echo '[global]'
    # All of it but what is a path of this machine.
    { python3 -m pip config list || true; } 2>/dev/null |
        sed -nE "s/^[^.]+\.([a-z-]+)='(.*)'$/\1 = \2/p" |
        sed -e '/^find-links = /d' -e 's|^cert = .*|cert = /etc/bare.crt|' | awk '!seen[$1]++'
}

# make_root RELEASE: $work/RELEASE is as a machine with nothing but Debian, make, git, and a checkout.
make_root() {
    local lines mirror
    root=$work/$1
    lines=$(sources "$1")
    mirror=$(awk -v suite="$1" '$3 == suite { print $2; exit }' <<<"$lines")
    [ -n "$mirror" ] || die "This machine's APT has no sources of a Debian, from which those of $1 could be told."
    if ! debootstrap --variant=minbase --force-check-gpg --keyring="$keyring" "$1" "$root" "$mirror" >"$work/log" 2>&1; then
        tail -n 20 "$work/log" >&2
        return 1
    fi
    echo "$lines" >"$root/etc/apt/sources.list"
    apt_settings >"$root/etc/apt/apt.conf.d/99bare"
    pip_settings >"$root/etc/pip.conf"
    if [ -e "$certificates" ]; then cp -L "$certificates" "$root/etc/bare.crt"; fi
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    git clone --quiet --no-hardlinks . "$root/postroom"
    as root apt-get -qq update && install make git
}

# as root|user COMMAND...: in the root file system and its checkout, in a login's environment, which holds next to nothing.
as() {
    local ids=0:0 home=/root
    if [ "$1" = user ]; then ids=1000:1000 home=/home/ann; fi
    shift
    env --ignore-environment --default-signal PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME="$home" "${proxies[@]}" \
        chroot --userspec="$ids" --groups='' "$root" env --chdir=/postroom "$@" </dev/null >&2
}

install() { as root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 install "$@"; }

# use_root RELEASE root|user: from here on, a copy of the release's root file system, mounted, in which that user is known.
use_root() {
    root=$work/$1-$2
    cp -a --reflink=auto "$work/$1" "$root"
    mount -t proc proc "$root/proc"
    mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    if [ "$2" = user ]; then
        echo 'ann:x:1000:1000::/home/ann:/bin/bash' >>"$root/etc/passwd"
        echo 'ann:x:1000:' >>"$root/etc/group"
        mkdir -p "$root/home/ann"
        chown -R 1000:1000 "$root/home/ann" "$root/postroom"
        # What root installs for the user may start no service here; tools/setup.sh sees to that by itself.
        printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
        chmod +x "$root/usr/sbin/policy-rc.d"
    fi
}

# ---- inside: the commands ------------------------------------------------------------------------------------------------

# install_told run|dev: what tools/setup.sh tells the user to install, until it tells of nothing more.
install_told() {
    local said packages
    for _ in first second third; do # Python at first, then what Python finds missing; the third time nothing is left.
        said=$(as user tools/setup.sh "$1" 2>&1) || true
        if [ -n "$said" ]; then say "$said"; fi
        packages=$(sed -n "s/.*'apt-get install \([^']*\)'.*/\1/p" <<<"$said")
        if [ -z "$packages" ]; then return 0; fi
        # shellcheck disable=SC2086  # several packages
        install $packages || return
    done
    say "tools/setup.sh still misses something, though all that it told was installed."
    return 1
}

# try root|user demo|test
try() {
    case "$1-$2" in
    user-demo) install_told run || return ;;
    user-test) install_told dev || return ;;
    esac
    case "$2" in
    demo) as "$1" make demo AUTO=1 ;;
    test) as "$1" make test ;;
    esac
}

note() { results+=$(printf '%-9s %-5s %-17s %-7s %5d s' "$1" "$2" "$3" "$4" "$5")$'\n'; }

try_all() {
    local releases=$1 users=$2 commands=$3 release user command began result failed=0
    results=''
    mapfile -t proxies < <(env | grep -iE '^(https?|no)_proxy=' || true)
    for release in $releases; do
        began=$SECONDS result=ok
        say "==== $release: debootstrap"
        make_root "$release" || result=FAILED failed=1
        note "$release" "" debootstrap "$result" $((SECONDS - began))
        if [ "$result" != ok ]; then continue; fi
        for user in $users; do
            use_root "$release" "$user"
            for command in $commands; do
                say "==== $release, as $user: $command"
                began=$SECONDS result=ok
                try "$user" "$command" || result=FAILED failed=1
                note "$release" "$user" "make $command" "$result" $((SECONDS - began))
            done
        done
    done
    printf '%s' "$results"
    return "$failed"
}

releases='' users='' commands=''
for word in "$@"; do
    case "$word" in
    bookworm | trixie) releases+=" $word" ;;
    root | user) users+=" $word" ;;
    demo | test) commands+=" $word" ;;
    *) die "usage: tools/bare.sh [bookworm|trixie]... [root|user]... [demo|test]..." ;;
    esac
done
if [ -z "${BARE_WORK:-}" ]; then
    check_machine
    go_inside "$@"
else
    work=$BARE_WORK
    try_all "${releases:-bookworm trixie}" "${users:-root user}" "${commands:-demo test}"
fi
