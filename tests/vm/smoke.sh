#!/bin/busybox sh
# The demo, and what else a one-node cluster does, on another kernel, with cgroup v2 alone: each line says what was
# checked.
# The last line is `vm: passed` or `vm: failed`; `cargo xtask vm` looks for it.
export PATH=/bin:/opt/shoal/target/dist/release HOME=/root
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm && mount -t devpts pts /dev/pts && mount -t tmpfs shm /dev/shm
mount -t securityfs security /sys/kernel/security
mount -t tmpfs run /run
mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup /sys/fs/cgroup
modprobe overlay
ip link set lo up
hostname vm
echo "root:x:0:0::/root:/bin/sh" > /etc/passwd
echo "root:x:0:" > /etc/group
cd /root || exit 1

failed=0
check() { # WHAT COMMAND...
    what=$1; shift
    if out=$("$@" 2>&1); then echo "ok: $what"; else failed=1; printf 'NOT OK: %s\n%s\n' "$what" "$out"; fi
}
seen() { # PATTERN COMMAND...: its output has the extended pattern
    pattern=$1; shift
    out=$("$@" 2>&1); printf '%s\n' "$out" | grep -qE "$pattern" || { printf '%s\n' "$out"; false; }
}
within() { # COMMAND...: succeeds in 60 s
    for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return 0; sleep 0.2; done
    "$@"
}
inside() { shoal exec "$1.1" sh -c "$2"; }
limit() { # FILE VALUE: a container's control group has it
    for file in /sys/fs/cgroup/shoal-*/*/"$1"; do [ "$(cat "$file")" = "$2" ] && return 0; done
    cat /sys/fs/cgroup/shoal-*/*/"$1"; false
}
refused() { # COMMAND...: the container may not
    seen '^REFUSED$' inside box "{ $*; } 2>/dev/null || echo REFUSED"
}
both() { # the page of each of two servers
    [ "$(for _ in $(seq 20); do wget -q -O- http://127.0.0.1:8080/; done | sort -u | wc -l)" = 2 ]
}
demo() { # as `make demo` has it
    PATH="/opt/demo:$PATH" bash /opt/shoal/scripts/demo
}
since_boot() { echo "time: $1 $(cut -d . -f 1 /proc/uptime) s after the kernel's start"; }
asking() { # until /tmp/enough is there: a line for each request
    while [ ! -e /tmp/enough ]; do
        if wget -q -O /dev/null http://127.0.0.1:8080/ 2>/dev/null; then echo answered; else echo lost; fi
    done > /tmp/asked
}
same() { [ "$1" = "$2" ] || { echo "before: $1, after: $2"; false; }; }

echo "kernel $(uname -r), controllers $(cat /sys/fs/cgroup/cgroup.controllers)"
mkdir -p image/bin && cp /bin/busybox image/bin/ && for name in sh sleep cat echo mknod mount id head tail hostname httpd mkdir nslookup wget; do ln -s busybox "image/bin/$name"; done
tar -C image -cf image.tar .

since_boot "the demo begins"
check "the demo shows all that it has to" demo
since_boot "the demo is over"
check "a cluster comes up" shoal dev up --detach
check "an image is imported" shoal image import image.tar box:1
check "a service runs" shoal service create --name box --network host --limit-memory 32M --limit-pids 20 --limit-cpu 0.5 box:1 sleep 1000
check "its memory is limited" limit memory.max 33554432
check "its processes are limited" limit pids.max 20
check "its processor time is limited" limit cpu.max "50000 100000"
check "a command runs in it" seen hello inside box "echo hello"
check "the command has the filter" seen 'Seccomp:.2' inside box "cat /proc/self/status"
check "the command is in the container's control group" seen '^0::/$' inside box "cat /proc/self/cgroup"
check "it has the AppArmor profile" seen '^shoal-default .enforce.$' inside box "cat /proc/1/attr/apparmor/current"
check "so has the command" seen '^shoal-default .enforce.$' inside box "cat /proc/self/attr/apparmor/current"
check "it may not mount" refused mount -t tmpfs none /proc
# The serial line is there, and whoever may make its file could read it: only the filter of devices is in the way.
check "the host may use the serial line" sh -c ": < /dev/ttyS0"
check "a container may make its file" inside box "mknod /serial c 4 64"
check "and may not use it" seen "/serial: Operation not permitted" inside box ": < /serial"
check "it may use the null device" inside box "echo > /dev/null"
check "it may use terminals" inside box ": < /dev/ptmx"
check "it may not write to its control group" refused "echo max > /sys/fs/cgroup/memory.max"
check "memory that runs out is named" sh -c 'shoal service create -d --name eater --network host --restart-condition none --limit-memory 16M box:1 tail /dev/zero >/dev/null'
check "out of memory is told" within seen '[Oo]ut of memory|OOM' shoal service ps --no-trunc eater
before=$(shoal ps --format '{{.ID}} {{.Pid}}')
kill -9 "$(cat /run/shoal*/shoald.pid)"
check "the daemon comes back after kill -9" within shoal dev up --detach
check "it takes its containers up" within seen Running shoal service ps box
check "with the processes that they had" same "$before" "$(shoal ps --format '{{.ID}} {{.Pid}}')"
[ $failed = 0 ] || tail -n 40 /var/lib/shoal-dev/shoald.log
check "a network is made" shoal network create front
check "a web server runs on it" shoal service create --name web --network front --replicas 2 --publish 8080:80 --stop-signal KILL box:1 sh -c "mkdir -p /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www"
check "its port answers" within wget -q -O- http://127.0.0.1:8080/
check "its port leads to both" within both
check "a client finds it by its name" shoal service create --name asker --network front --stop-signal KILL box:1 sleep 1000
check "the name leads to it" within inside asker "wget -q -O- http://web/"
check "a task is found by its slot" within inside asker "wget -q -O- http://2.web/"
check "names of others are refused" seen REFUSED inside asker "nslookup nobody.web || echo REFUSED"
asking &
kill -9 "$(cat /run/shoal*/shoald.pid)"
check "the port answers without the daemon" seen . wget -q -O- http://127.0.0.1:8080/
check "the daemon comes back once more" within shoal dev up --detach
touch /tmp/enough && wait $!
check "requests were made meanwhile" grep -q answered /tmp/asked
check "none of them was lost" sh -c '! grep lost /tmp/asked'
check "the name leads to it still" within inside asker "wget -q -O- http://web/"
check "a container runs and is removed" seen '^here$' shoal run --rm --network front box:1 sh -c "wget -q -O- http://web/ > /dev/null && echo here"
check "services are removed" shoal service rm box eater web asker
check "the cluster goes down" shoal dev down --purge
check "no control group is left" sh -c '! ls -d /sys/fs/cgroup/shoal-* 2>/dev/null'
check "no link is left" sh -c '! ip -o link | grep shoal'
check "no process is left" sh -c '! ps | grep -v grep | grep shoal-'
check "no mount is left" sh -c '! grep shoal /proc/mounts'
since_boot "all is done"
if [ $failed = 0 ]; then echo "vm: passed"; else echo "vm: failed"; fi
poweroff -f
