#!/bin/bash
# Captures what a process sees under Docker: ./capture.sh DIRECTORY COMMAND...
#
# COMMAND... runs a command on a Docker host as root (for the local one: `env`; for one elsewhere, something like
# `ssh box`); the files DIRECTORY/{probe.tar,probe} must be readable there as /mnt/probe.tar and /mnt/probe, so make
# DIRECTORY the directory that the host sees as /mnt. Writes docker-<control group version>/*.txt beside this script.
# Needs a C compiler with a static C library. Changes nothing but an image, a volume and containers named probe*.
set -euo pipefail
cd "$(dirname "$0")"
shared=$1; shift
host=("$@")

cc -static -O1 -Wall -o "$shared/probe" probe.c
root=$(mktemp -d); trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,etc,tmp,proc,sys,dev,srv,data}
chmod 1777 "$root/tmp"
cp "$shared/probe" "$root/bin/probe"
printf 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:App:/home/app:/bin/sh\n' > "$root/etc/passwd"
printf 'root:x:0:\napp:x:1000:\naudio:x:29:app\nvideo:x:44:\n' > "$root/etc/group"
tar -C "$root" --numeric-owner --owner=0 --group=0 -cf "$shared/probe.tar" .

"${host[@]}" docker import /mnt/probe.tar probe:1 > /dev/null
version=v2; "${host[@]}" test -e /sys/fs/cgroup/cgroup.controllers || version=v1
out=docker-$version; mkdir -p "$out"
name=$("${host[@]}" cat /proc/sys/kernel/hostname)
"${host[@]}" /mnt/probe limits > "$shared/limits"

# What the daemon was started with and what the host is called is not Docker's doing.
tidy() {
    tr -d '\r' | awk -v limits="$shared/limits" -v name="$name" '
        BEGIN { while ((getline line < limits) > 0) inherited[line] = 1 }
        ($0 in inherited) { sub(/: .*/, ": inherited") }
        $1 == "env" && $2 == "HOSTNAME=" name { $2 = "HOSTNAME=<host>" }
        $1 == "env" && $2 ~ /^HOSTNAME=[0-9a-f]{12}$/ { $2 = "HOSTNAME=<short id>" }
        { print }' > "$out/$1.txt"
}
run() { local case=$1; shift; "${host[@]}" docker run --rm --network "$@" probe:1 /bin/probe | tidy "$case"; }
start() { "${host[@]}" docker run -d --network host --name "$@" probe:1 /bin/probe pause > /dev/null; }
into() { local case=$1; shift; "${host[@]}" docker exec "$@" /bin/probe | tidy "$case"; }

run root-first host
run user-first host --user app
run number-first host --user 1000:1000
run tty-first host -t
run limited-first none --user app --memory 64m --cpus 0.5 --pids-limit 50 --ulimit nofile=1000:2000 \
    --read-only --tmpfs /tmp:size=1m --volume probe-volume:/data --volume /etc:/srv/etc:ro --cap-drop ALL \
    --cap-add NET_BIND_SERVICE --security-opt no-new-privileges --oom-score-adj 100 --env A=b --workdir /srv/made \
    --hostname inside --group-add video --sysctl kernel.shmmax=12345
run root-limited-first none --cap-add SYS_ADMIN --cap-drop CHOWN --memory 64m --memory-swap 64m
start probe-root
start probe-user --user app --env HOME=/elsewhere
into root-exec probe-root
into user-in-root-exec --user app --workdir /tmp --env B=c probe-root
into tty-exec -t probe-root
into user-exec probe-user
into root-in-user-exec --user 0 probe-user
"${host[@]}" docker rm -f probe-root probe-user > /dev/null
"${host[@]}" docker volume rm -f probe-volume > /dev/null
"${host[@]}" docker version --format 'Docker {{.Server.Version}}, kernel {{.Server.KernelVersion}}' > "$out/VERSION"
