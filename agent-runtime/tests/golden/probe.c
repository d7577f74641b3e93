/* Says what a process in a container sees, one fact a line, the same line on every host where the same holds.
 *
 * Run by capture.sh under Docker and by ../golden.rs under our runtime, so that both are normalised alike:
 * container ids, mount and device numbers, inode numbers and paths of the host are left out or replaced here.
 * `probe pause` waits for a signal, to be exec'd into. Plain C, because the calls have to be made raw. */

#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static char *slurp(const char *path)
{
	static char text[1 << 18];
	int fd = open(path, O_RDONLY);
	size_t length = 0;
	ssize_t got;
	if (fd < 0)
		return NULL;
	while ((got = read(fd, text + length, sizeof text - 1 - length)) > 0)
		length += got;
	close(fd);
	text[length] = 0;
	return text;
}

static const char *error_name(int error)
{
	return error ? strerrorname_np(error) : "ok";
}

static int is_id(const char *text)
{
	for (int i = 0; i < 64; i++)
		if (!isxdigit((unsigned char)text[i]))
			return 0;
	return 1;
}

/* A path with a container id in it is one of the host's: all up to the id becomes <own>. */
static void print_path(const char *path)
{
	for (const char *at = path; *at; at++) {
		if (is_id(at)) {
			printf("<own>%s", at + 64);
			return;
		}
	}
	printf("%s", path);
}

/* Of /proc/self/status: what does not differ from run to run. */
static void status(void)
{
	static const char *wanted[] = { "Umask", "Uid", "Gid", "Groups", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt",
		"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters",
		"PPid", NULL };
	char *text = slurp("/proc/self/status");
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		char *value = strchr(line, ':');
		*value++ = 0;
		for (const char **name = wanted; *name; name++) {
			if (strcmp(*name, line))
				continue;
			printf("status %s", line);
			for (char *save, *word = strtok_r(value, "\t ", &save); word; word = strtok_r(NULL, "\t ", &save))
				printf(" %s", word);
			printf("\n");
		}
	}
	printf("process first %s, leads its session %s, dumpable %s\n", getpid() == 1 ? "yes" : "no",
		getsid(0) == getpid() ? "yes" : "no", access("/proc/self/fd", R_OK) == 0 ? "yes" : "no");
	text = slurp("/proc/self/oom_score_adj");
	printf("process oom_score_adj %s", text ? text : "?\n");
	char cwd[4096];
	printf("process cwd %s\n", getcwd(cwd, sizeof cwd));
}

static void limits(void)
{
	char *text = slurp("/proc/self/limits");
	for (char *line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
		char name[27] = { 0 }, soft[32], hard[32];
		memcpy(name, line, 26);
		for (char *end = name + 25; *end == ' '; end--)
			*end = 0;
		sscanf(line + 26, "%31s %31s", soft, hard);
		/* These two follow the memory of the machine. */
		if (strcmp(name, "Max pending signals") && strcmp(name, "Max processes"))
			printf("limit %s: %s %s\n", name, soft, hard);
	}
}

static int by_text(const void *one, const void *other)
{
	return strcmp(*(char *const *)one, *(char *const *)other);
}

static void environment(void)
{
	int count = 0;
	while (environ[count])
		count++;
	char **sorted = malloc(count * sizeof *sorted);
	memcpy(sorted, environ, count * sizeof *sorted);
	qsort(sorted, count, sizeof *sorted, by_text);
	for (int i = 0; i < count; i++)
		printf("env %s\n", sorted[i]);
}

static void descriptors(void)
{
	for (int fd = 0; fd < 64; fd++) {
		char name[32], target[256];
		snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
		ssize_t length = readlink(name, target, sizeof target - 1);
		struct stat stat;
		if (length < 0 || fstat(fd, &stat))
			continue;
		target[length] = 0;
		char *number = strchr(target, '[');
		if (number)
			*number = 0;
		if (!strncmp(target, "/dev/pts/", 9))
			strcpy(target, "/dev/pts/N");
		printf("fd %d %s owner %d\n", fd, target, number || isatty(fd) ? (int)stat.st_uid : -1);
	}
}

/* Super block options that name the host or its size are left out. */
static void print_super(char *options)
{
	static const char *hidden[] = { "lowerdir", "upperdir", "workdir", "nr_inodes", "inode64", "inode32", "seclabel",
		"uuid=on", "uuid=null", "xino=off", "index=off", "nfs_export=off", "volatile", "fsync=volatile",
		"redirect_dir=on", "metacopy=off", "userxattr", NULL };
	const char *comma = "";
	for (char *save, *word = strtok_r(options, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		int hide = 0;
		for (const char **name = hidden; *name; name++)
			hide |= !strncmp(word, *name, strlen(*name));
		if (!hide) {
			printf("%s%s", comma, word);
			comma = ",";
		}
	}
}

static void mounts(void)
{
	char *text = slurp("/proc/self/mountinfo");
	for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char root[2048], target[2048], options[512], rest[8192], kind[64], source[2048], super[8192];
		if (sscanf(line, "%*d %*d %*d:%*d %2047s %2047s %511s %8191[^\n]", root, target, options, rest) != 4)
			continue;
		char *dash = strstr(rest, "- ");
		sscanf(dash, "- %63s %2047s %8191s", kind, source, super);
		*dash = 0;
		for (char *number = strchr(rest, ':'); number; number = strchr(number + 1, ':'))
			while (isdigit((unsigned char)number[1]))
				memmove(number + 1, number + 2, strlen(number + 1));
		printf("mount ");
		/* Where a directory of the host is bound, the host's file system is nobody's business. */
		int bound = strcmp(root, "/") && strncmp(kind, "cgroup", 6) && strcmp(kind, "proc") && strcmp(kind, "tmpfs")
			&& strcmp(kind, "devtmpfs");
		print_path(target);
		printf(" %s %s ", bound ? "bind" : kind, options);
		if (!bound) {
			print_super(super);
			printf(" root ");
			print_path(root);
			if (strcmp(kind, "overlay"))
				printf(" source %s", source);
		}
		printf(" propagation [%s]\n", rest);
	}
}

static void list(const char *directory, const char *section, int deep)
{
	struct dirent **entries;
	int count = scandir(directory, &entries, NULL, alphasort);
	for (int i = 0; i < count; i++) {
		char path[4096], target[4096];
		struct stat stat;
		snprintf(path, sizeof path, "%s/%s", strcmp(directory, "/") ? directory : "", entries[i]->d_name);
		if (entries[i]->d_name[0] == '.' || lstat(path, &stat))
			continue;
		printf("%s %s ", section, path);
		if (S_ISLNK(stat.st_mode)) {
			ssize_t length = readlink(path, target, sizeof target - 1);
			target[length < 0 ? 0 : length] = 0;
			printf("-> %s\n", target);
			continue;
		}
		printf("%06o %d:%d", stat.st_mode, stat.st_uid, stat.st_gid);
		if (S_ISCHR(stat.st_mode) || S_ISBLK(stat.st_mode))
			printf(" dev %d:%d", major(stat.st_rdev), minor(stat.st_rdev));
		printf("\n");
		if (deep && S_ISDIR(stat.st_mode))
			list(path, section, deep - 1);
	}
}

static void control_groups(void)
{
	static const char *files[] = { "cpu.max", "memory.max", "memory.swap.max", "pids.max", "cpu/cpu.cfs_quota_us",
		"cpu/cpu.cfs_period_us", "cpu/cpu.shares", "memory/memory.limit_in_bytes", "memory/memory.memsw.limit_in_bytes",
		"memory/memory.swappiness", "pids/pids.max", "devices/devices.list", NULL };
	char *text = slurp("/proc/self/cgroup");
	for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *name = strchr(line, ':') + 1, *path = strchr(name, ':');
		*path++ = 0;
		printf("cgroup member %s ", name);
		print_path(path);
		printf("\n");
	}
	list("/sys/fs/cgroup", "cgroup entry", 0);
	for (const char **file = files; *file; file++) {
		char path[256];
		snprintf(path, sizeof path, "/sys/fs/cgroup/%s", *file);
		text = slurp(path);
		if (!text)
			continue;
		for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
			printf("cgroup value %s %s\n", *file, line);
	}
}

/* Opened, never written. */
static void writable(void)
{
	static const char *files[] = { "/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/swappiness",
		"/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/proc/self/oom_score_adj", "/proc/self/mem",
		"/proc/self/attr/current", "/proc/self/uid_map", "/proc/self/setgroups", "/proc/self/timerslack_ns",
		"/proc/1/oom_score_adj", "/sys/kernel/profiling", "/sys/fs/cgroup/cgroup.procs",
		"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/memory/tasks",
		"/sys/fs/cgroup/devices/devices.allow", "/sys/kernel/uevent_helper", "/dev/null", "/dev/tty", "/dev/console",
		"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/passwd", NULL };
	static const char *directories[] = { "/", "/dev", "/dev/shm", "/dev/mqueue", "/proc", "/sys", "/sys/fs/cgroup",
		"/sys/fs/cgroup/memory", "/tmp", "/etc", NULL };
	for (const char **file = files; *file; file++) {
		int fd = open(*file, O_WRONLY | O_NOCTTY | O_NONBLOCK);
		printf("write %s %s\n", *file, error_name(fd < 0 ? errno : 0));
		if (fd >= 0)
			close(fd);
	}
	for (const char **directory = directories; *directory; directory++) {
		char path[256];
		snprintf(path, sizeof path, "%s/probe-%d", *directory, getpid());
		int error = mkdir(path, 0700) ? errno : 0;
		printf("mkdir %s %s\n", *directory, error_name(error));
		if (!error)
			rmdir(path);
	}
}

static void masked(void)
{
	static const char *paths[] = { "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
		"/sys/devices/virtual/powercap", NULL };
	for (const char **path = paths; *path; path++) {
		struct stat stat;
		if (lstat(*path, &stat))
			continue;
		struct dirent **entries;
		int count = S_ISDIR(stat.st_mode) ? scandir(*path, &entries, NULL, NULL) - 2 : -1;
		if (count < 0) {
			char *text = slurp(*path);
			count = text ? (int)strlen(text) : -errno;
		}
		printf("masked %s %s\n", *path, count == 0 ? "empty" : "VISIBLE");
	}
}

/* The first numbers of the kernel's own namespaces never change; the host's network one may be another's. */
static void namespaces(void)
{
	static const struct { const char *name; const char *initial; } all[] = { { "cgroup", "4026531835" },
		{ "pid", "4026531836" }, { "user", "4026531837" }, { "uts", "4026531838" }, { "ipc", "4026531839" },
		{ "time", "4026531834" } };
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		char path[64], target[64];
		snprintf(path, sizeof path, "/proc/self/ns/%s", all[i].name);
		ssize_t length = readlink(path, target, sizeof target - 1);
		target[length < 0 ? 0 : length] = 0;
		printf("namespace %s %s\n", all[i].name, strstr(target, all[i].initial) ? "the host's" : "its own");
	}
}

/* Tunnel devices that the kernel makes in every network namespace are there, and down. */
static void network(void)
{
	struct dirent **entries;
	int count = scandir("/sys/class/net", &entries, NULL, alphasort), others = 0;
	char *text;
	for (int i = 0; i < count; i++) {
		char path[512];
		snprintf(path, sizeof path, "/sys/class/net/%s/flags", entries[i]->d_name);
		text = entries[i]->d_name[0] == '.' ? NULL : slurp(path);
		int up = text && strtol(text, NULL, 16) & 1;
		if (!strcmp(entries[i]->d_name, "lo"))
			printf("network loopback %s\n", up ? "up" : "down");
		else
			others += up;
	}
	/* With other links it is the host's network, whose settings are the host's. */
	if (others)
		return;
	printf("network nothing else\n");
	static const char *settings[] = { "ip_unprivileged_port_start", "ping_group_range" };
	for (int i = 0; i < 2; i++) {
		char path[128];
		snprintf(path, sizeof path, "/proc/sys/net/ipv4/%s", settings[i]);
		text = slurp(path);
		printf("network %s %s", settings[i], text ? text : "?\n");
	}
	text = slurp("/etc/hosts");
	for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		printf("hosts %s\n", line);
}

struct call { const char *name; long number, a, b, c, d, e; };

static char nothing[4096];
#define NOWHERE ((long)"/nonexistent/path")
#define ZERO ((long)nothing)

/* Each is harmless where it is allowed: bad addresses, bad descriptors, queries, or undone with its process. */
static const struct call calls[] = {
	{ "clone(NEWUSER)", SYS_clone, CLONE_NEWUSER | SIGCHLD },
	{ "clone(NEWNS)", SYS_clone, CLONE_NEWNS | SIGCHLD },
	{ "clone(NEWCGROUP)", SYS_clone, CLONE_NEWCGROUP | SIGCHLD },
	{ "clone(NEWPID|NEWNET)", SYS_clone, CLONE_NEWPID | CLONE_NEWNET | SIGCHLD },
	{ "clone()", SYS_clone, SIGCHLD },
	{ "clone3", SYS_clone3 },
	{ "unshare(NEWUSER)", SYS_unshare, CLONE_NEWUSER },
	{ "unshare(NEWNS)", SYS_unshare, CLONE_NEWNS },
	{ "unshare(0)", SYS_unshare, 0 },
	{ "setns", SYS_setns, -1, 0 },
	{ "mount", SYS_mount, NOWHERE, NOWHERE, NOWHERE },
	{ "umount2", SYS_umount2, NOWHERE },
	{ "pivot_root", SYS_pivot_root, NOWHERE, NOWHERE },
	{ "fsopen", SYS_fsopen, NOWHERE },
	{ "move_mount", SYS_move_mount, -1, NOWHERE, -1, NOWHERE },
	{ "open_tree", SYS_open_tree, -1, NOWHERE },
	{ "mount_setattr", SYS_mount_setattr, -1, NOWHERE },
	{ "chroot", SYS_chroot, (long)"/" },
	{ "keyctl", SYS_keyctl, 0, -3, 0 },
	{ "add_key", SYS_add_key, 0 },
	{ "request_key", SYS_request_key, 0 },
	{ "bpf", SYS_bpf, 9999 },
	{ "perf_event_open", SYS_perf_event_open, 0 },
	{ "io_uring_setup", SYS_io_uring_setup, 0 },
	{ "userfaultfd", SYS_userfaultfd, -1 },
	{ "open_by_handle_at", SYS_open_by_handle_at, -1, 0 },
	{ "name_to_handle_at", SYS_name_to_handle_at, -1, NOWHERE, 0 },
	{ "fanotify_init", SYS_fanotify_init, -1 },
	{ "personality(query)", SYS_personality, 0xffffffff },
	{ "personality(LINUX32)", SYS_personality, 8 },
	{ "personality(NO_RANDOMIZE)", SYS_personality, 0x40000 },
	{ "ptrace", SYS_ptrace, 16, 0x7fffffff },
	{ "process_vm_readv", SYS_process_vm_readv, 0x7fffffff, 0, 0, 0, 0 },
	{ "kcmp", SYS_kcmp, 0x7fffffff, 0x7fffffff },
	{ "pidfd_open", SYS_pidfd_open, 0x7fffffff },
	{ "pidfd_getfd", SYS_pidfd_getfd, -1, -1 },
	{ "reboot", SYS_reboot, 0, 0, 0 },
	{ "swapon", SYS_swapon, NOWHERE },
	{ "init_module", SYS_init_module, 0, 0, 0 },
	{ "finit_module", SYS_finit_module, -1 },
	{ "delete_module", SYS_delete_module, 0 },
	{ "kexec_load", SYS_kexec_load, 0, 0, 0, -1 },
	{ "acct", SYS_acct, NOWHERE },
	{ "settimeofday", SYS_settimeofday, 0, 0 },
	{ "clock_settime", SYS_clock_settime, 0, 0 },
	{ "adjtimex", SYS_adjtimex, ZERO },
	{ "iopl", SYS_iopl, 3 },
	{ "ioperm", SYS_ioperm, 0, 1, 1 },
	{ "quotactl", SYS_quotactl, -1 },
	{ "syslog", SYS_syslog, 10 },
	{ "mbind", SYS_mbind, 0, 0, -1 },
	{ "set_mempolicy", SYS_set_mempolicy, -1 },
	{ "get_mempolicy", SYS_get_mempolicy, 0, 0, 0, 0, -1 },
	{ "vhangup", SYS_vhangup },
	{ "sethostname", SYS_sethostname, 0, -1 },
	{ "setdomainname", SYS_setdomainname, 0, -1 },
	{ "arch_prctl", SYS_arch_prctl, 0x1003, ZERO },
	{ "modify_ldt", SYS_modify_ldt, 99 },
	{ "setpriority(-5)", SYS_setpriority, 0, 0, -5 },
	{ "setuid(0)", SYS_setuid, 0 },
	{ "setgroups", SYS_setgroups, 0, 0 },
	{ "setrlimit(up)", SYS_prlimit64, 0, 7, (long)&(const uint64_t[2]){ 16, 1 << 30 } },
	{ "mknod(char)", SYS_mknod, (long)"/tmp/probe-char", S_IFCHR | 0600, 0x103 },
	{ "mknod(block)", SYS_mknod, (long)"/tmp/probe-block", S_IFBLK | 0600, 0x700 },
	{ "chown(tmp)", SYS_chown, (long)"/tmp", 0, 0 },
	{ "socket(VSOCK)", SYS_socket, 40, SOCK_STREAM, 0 },
	{ "socket(INET RAW)", SYS_socket, AF_INET, SOCK_RAW, 1 },
	{ "socket(PACKET)", SYS_socket, AF_PACKET, SOCK_RAW, 0 },
	{ "socket(NETLINK)", SYS_socket, AF_NETLINK, SOCK_RAW, 0 },
	{ "socket(UNIX)", SYS_socket, AF_UNIX, SOCK_STREAM, 0 },
	{ "memfd_create", SYS_memfd_create, ZERO, 0 },
	{ "seccomp", SYS_seccomp, 99 },
	{ "call 451 (cachestat)", 451, -1 },
	{ "call 452 (fchmodat2)", 452, -1, NOWHERE, 0, -1 },
	{ "call 454 (futex_wake)", 454, 0, 0, 0, -1 },
	{ "call 457 (statmount)", 457, 0, 0, 0, -1 },
	{ "call 462 (mseal)", 462, 1, 1, -1 },
	{ "call 600", 600 },
	{ "x32 mount", 0x40000000 + SYS_mount },
	{ "x32 call 600", 0x40000000 + 600 },
};

/* In a process of its own, since some change it; the result is its exit code. */
static void system_calls(void)
{
	for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
		const struct call *call = calls + i;
		fflush(stdout);
		pid_t child = fork();
		if (child == 0) {
			pid_t self = getpid();
			long result = syscall(call->number, call->a, call->b, call->c, call->d, call->e);
			/* A clone that is allowed comes back twice. */
			if (getpid() != self)
				_exit(0);
			_exit(result == -1 ? errno : 0);
		}
		int end;
		waitpid(child, &end, 0);
		if (WIFSIGNALED(end))
			printf("call %s killed by SIG%s\n", call->name, sigabbrev_np(WTERMSIG(end)));
		else
			printf("call %s %s\n", call->name, error_name(WEXITSTATUS(end)));
	}
	unlink("/tmp/probe-char");
	unlink("/tmp/probe-block");
}

/* Character devices of the host that must not open, and some that must. */
static void devices(void)
{
	static const struct { const char *name; int major, minor; } all[] = { { "kmsg", 1, 11 }, { "mem", 1, 1 },
		{ "fuse", 10, 229 }, { "tun", 10, 200 }, { "full", 1, 7 }, { "tty0", 4, 0 }, { "ptmx", 5, 2 } };
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		const char *path = "/tmp/probe-device";
		if (mknod(path, S_IFCHR | 0600, makedev(all[i].major, all[i].minor))) {
			printf("device %s cannot be made: %s\n", all[i].name, error_name(errno));
			continue;
		}
		int fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY);
		/* A device without a driver is as good as a refused one. */
		int error = fd < 0 ? errno : 0;
		printf("device %s %s\n", all[i].name, error == EPERM ? "refused" : "reached");
		unlink(path);
	}
}

int main(int count, char **arguments)
{
	if (count > 1 && !strcmp(arguments[1], "pause")) {
		signal(SIGTERM, _exit);
		pause();
		return 0;
	}
	if (count > 1 && !strcmp(arguments[1], "limits")) {
		limits();
		return 0;
	}
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	status();
	limits();
	environment();
	descriptors();
	namespaces();
	mounts();
	list("/dev", "dev", 1);
	list("/", "root", 0);
	list("/etc", "root", 0);
	printf("root /.dockerenv %s\n", error_name(access("/.dockerenv", F_OK) ? errno : 0));
	control_groups();
	masked();
	writable();
	devices();
	network();
	system_calls();
	return 0;
}
