#!/bin/sh
# The main job, on a store of its own that is gone afterwards: make demo [IMAGE=alpine].
#   ESTIBA=path sh tools/demo.sh [IMAGE]
set -eu

image=${1:-}
estiba=${ESTIBA:-estiba}
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
alpine_folder=$here/../shared/images
folder=$(mktemp -d "${TMPDIR:-/var/tmp}/estiba-demo.XXXXXX")
chmod 755 "$folder"
mkdir -m 700 "$folder/run"
# The caller's store is not touched; his configuration says which registry an image comes from, and nothing else is asked of it.
export ESTIBA_ROOT="$folder/root" XDG_RUNTIME_DIR="$folder/run"
if [ -z "$image" ]; then
    export ESTIBA_CONFIG="$folder/config.json"
    echo '{}' >"$ESTIBA_CONFIG"
fi

finish() {
    status=$?
    # Layers belong to ids that only the engine may remove.
    "$estiba" image prune --all --force >/dev/null 2>&1 || true
    rm -rf "$folder" 2>/dev/null || echo "left behind: $folder" >&2
    exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi
say() { printf '\n%s── %s%s\n' "$bold" "$*" "$plain"; }
show() { # prints the command as a person would type it, then runs it
    printf '%s$ estiba' "$bold"
    for word; do case $word in *[!a-zA-Z0-9_./:=@+-]*) printf " '%s'" "$word" ;; *) printf ' %s' "$word" ;; esac; done
    printf '%s\n' "$plain"
    "$estiba" "$@"
}

say "1. The image that is built in: one layer, one program, no network"
show run --rm hello

if [ -n "$image" ]; then
    say "2. An image of a registry: its layers are fetched, checked and unpacked"
    show pull "$image"
    base=$image
elif [ -f "$alpine_folder/alpine-minirootfs-3.20.3-$(uname -m).tar.gz" ]; then
    say "2. Two releases of Alpine: what they have in common is stored once"
    base=alpine:3.20
    for version in 3.19.4 3.20.3; do
        file=$alpine_folder/alpine-minirootfs-$version-$(uname -m).tar.gz
        [ ! -f "$file" ] || show import "$(realpath --relative-to=. "$file")" "alpine:${version%.*}"
    done
else
    say "2. An image of this machine's own programs, with exactly the libraries they need"
    base=host
    show image from-host host /bin/sh /bin/ls /bin/cat /usr/bin/id
fi

say "3. Two images, laid on each other without copying a layer"
show image from-host tools /usr/bin/getconf /usr/bin/nproc
show image stack -t stacked "$base" tools

say "4. The images, taken apart into layers: who stands on what"
show image tree

say "5. A container from the stack, on this machine's kernel"
show run --rm stacked /bin/sh -c 'echo "kernel $(cat /proc/sys/kernel/osrelease), process $$, $(nproc) processors, pages of $(getconf PAGESIZE) bytes"; ls /'

say "6. What was done, step by step"
show run --rm --explain "$base" /bin/sh -c 'exit 0'

say "7. What it takes, and what sharing saved"
show system df

say "That was the main job. The store of this demo is removed now; yours was not touched."
