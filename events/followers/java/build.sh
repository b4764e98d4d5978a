#!/bin/sh
# Builds the Java follower when its sources have changed, and prints the path of its jar.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${CONCORDAT_CACHE:-$HOME/.cache/concordat}/follower-java
jar=$out/follower.jar
# Of two builds at once the second finds it done.
mkdir -p "$out"
exec 9>"$out.lock"
flock 9
sum=$(cd "$here" && find pom.xml src -type f | LC_ALL=C sort | xargs sha256sum | sha256sum)
if [ ! -f "$jar" ] || [ "$(cat "$out/sources.sum" 2>/dev/null)" != "$sum" ]; then
    # The sum is written last, so that a build that was stopped half-way is done again.
    rm -f "$out/sources.sum"
    mvn -q -B -f "$here/pom.xml" -DbuildDirectory="$out" package >&2
    printf '%s\n' "$sum" > "$out/sources.sum"
fi
printf '%s\n' "$jar"
