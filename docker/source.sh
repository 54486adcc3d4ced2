#!/bin/sh
# Runs inside of the build: a stage's part of our code into /STAGE/opt/app, for every stage, then gives that the same
# bytes and times whenever and wherever it runs. Usage: source.sh [FOLDER to settle instead]
set -eu
compiled() { python3 -m compileall -q --invalidation-mode unchecked-hash "$@"; }

if [ $# -eq 0 ]; then
    set -- preprocess train agent evaluate
    cd /build/components
    find . -name __pycache__ -exec rm -rf {} +
    for stage in "$@"; do
        mkdir -p "/$stage/opt/app/components"
        cp __init__.py "/$stage/opt/app/components/"
        for package in contracts runtime "$stage"; do cp -R "$package" "/$stage/opt/app/components/"; done
    done
    # The task that configures a run reads the presets; it runs in the image of preprocess.
    mkdir -p /preprocess/opt/app/pipelines
    cp -R /build/pipelines/configs /preprocess/opt/app/pipelines/
    cd /
    compiled "$@"
else
    compiled "$@" >/dev/null || true # packages hold files for newer Pythons, and for none
fi
# Compiled here, because the images are read-only; checked never, because nothing changes in them.
chmod -R u=rwX,go=rX "$@"
find "$@" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
