#!/bin/sh
# Sees to a Chromium with Korean letters and emoji, which the tests of the pages open.
# Installs it as root on Debian; says what is missing elsewhere.
#
# CHROMIUM  the browser's path; default: what is on PATH
set -eu

has_browser() {
    for name in ${CHROMIUM:-chromium chromium-browser google-chrome}; do
        if command -v "$name" >/dev/null; then return 0; fi
    done
    return 1
}

# Without fontconfig nothing can be said about fonts: take them as there.
has_fonts() { ! command -v fc-list >/dev/null || [ -n "$(fc-list "$1")" ]; }

missing=
has_browser || missing="$missing chromium"
has_browser && has_fonts :lang=ko || missing="$missing fonts-nanum"
has_browser && has_fonts :lang=und-zsye || missing="$missing fonts-noto-color-emoji"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "browser       installing$missing"
    # shellcheck disable=SC2086  # several words
    apt-get install --quiet=2 --yes $missing >/dev/null 2>&1 ||
        { apt-get update --quiet=2 && apt-get install --quiet=2 --yes $missing >/dev/null; }
else
    echo "browser       missing:$missing"
    echo "              Tests of the pages need a Chromium with these fonts: install them, or set"
    echo "              CHROMIUM to the path of one."
fi
