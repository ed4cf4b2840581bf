#!/bin/sh
# Installs Chromium and its driver from the distribution where that needs no questions
# (root, apt). Elsewhere it says what is missing, and the browser tests skip themselves.
set -u
if command -v chromium >/dev/null 2>&1 && command -v chromedriver >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null && exit 0
fi
echo "chromium and chromedriver are not installed: the browser tests will be skipped" >&2
