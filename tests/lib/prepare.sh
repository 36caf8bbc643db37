# SPDX-License-Identifier: Apache-2.0
# prepare.sh - sourced by tests/run.sh and tests/demo.sh: installs what is missing, builds.
#
# Sets nothing but: top (the checkout). Functions:
#   install_packages        the packages of tests/packages that are not installed, by apt-get
#   build_into DIR ARGS...  meson setup (once) and ninja; the log only if it fails

top=$(cd "$(dirname "$0")/.." && pwd)

install_packages() {
    missing=
    for package in $(grep -v '^#' "$top/tests/packages"); do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing="$missing $package"
    done
    [ -z "$missing" ] && return 0
    sudo=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || {
            echo "run.sh: missing packages:$missing; run as root or install them" >&2
            return 1
        }
        sudo=sudo
    fi
    echo "installing:$missing"
    log=$(mktemp)
    # shellcheck disable=SC2086
    if { $sudo apt-get update && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y \
        --no-install-recommends $missing; } >"$log" 2>&1; then
        rm -f "$log"
    else
        tail -n 30 "$log" >&2
        rm -f "$log"
        return 1
    fi
}

build_into() {
    dir=$1
    shift
    log=$dir.log
    mkdir -p "$(dirname "$dir")"
    if { [ -f "$dir/build.ninja" ] || meson setup "$dir" "$top" "$@"; } >"$log" 2>&1 &&
        ninja -C "$dir" >>"$log" 2>&1; then
        return 0
    fi
    echo "build failed: $dir" >&2
    grep -E -A5 'error|ERROR|FAILED' "$log" | head -n 60 >&2
    return 1
}
