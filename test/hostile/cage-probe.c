/*
 * Started in place of QEMU, in the same cage: tries what a compromised QEMU might try, and prints a line for each:
 * `<what> <name of the error, or "allowed">`.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void tell(const char *what, long result)
{
    printf("%s %s\n", what, result < 0 ? strerrorname_np(errno) : "allowed");
    fflush(stdout);
}

#define TRY(name, ...) tell(#name, syscall(SYS_##name, ##__VA_ARGS__))
#define OPEN(path, flags) tell("open:" path, syscall(SYS_openat, AT_FDCWD, path, flags, 0600))
#define SOCKET(family) tell("socket:" #family, syscall(SYS_socket, family, SOCK_STREAM, 0))

static void *idle(void *unused)
{
    poll(NULL, 0, -1); /* pause itself is not allowed */
    return unused;
}

static void calls(void)
{
    char bytes[256] = {0};
    struct timespec time = {0};
    /* Processes and their identities. */
    TRY(clone, SIGCHLD, 0, 0, 0, 0);
    tell("clone:threads-in-namespaces", syscall(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_NEWNET, 0, 0, 0, 0));
    TRY(clone3, bytes, 88);
    TRY(fork);
    TRY(vfork);
    TRY(execve, "/proc/self/exe", 0, 0);
    TRY(execveat, 0, "", 0, 0, AT_EMPTY_PATH);
    TRY(kill, 1, 0);
    TRY(ptrace, 16, 1, 0, 0);
    TRY(process_vm_readv, 1, 0, 0, 0, 0, 0);
    TRY(process_vm_writev, 1, 0, 0, 0, 0, 0);
    TRY(pidfd_open, 1, 0);
    TRY(pidfd_getfd, 0, 0, 0);
    TRY(pidfd_send_signal, 0, 0, 0, 0);
    TRY(kcmp, 1, 1, 0, 0, 0);
    TRY(setuid, 0);
    TRY(setresuid, 0, 0, 0);
    TRY(setgid, 0);
    TRY(setgroups, 0, 0);
    TRY(capset, bytes, bytes);
    TRY(setsid);
    TRY(setpriority, 0, 0, -5);
    TRY(sched_setscheduler, 0, 1, bytes);
    TRY(personality, 0);
    tell("prctl:dumpable", prctl(PR_SET_DUMPABLE, 1));
    tell("prctl:seccomp-off", prctl(PR_SET_SECCOMP, 0));
    /* Namespaces, mounts, roots. */
    TRY(unshare, CLONE_NEWUSER);
    TRY(setns, 0, 0);
    TRY(mount, "/", "/", "tmpfs", 0, 0);
    TRY(umount2, "/", 2);
    TRY(pivot_root, "/", "/");
    TRY(chroot, "/");
    TRY(open_tree, 0, "/", 0);
    TRY(move_mount, 0, "", 0, "", 0);
    TRY(fsopen, "tmpfs", 0);
    TRY(mount_setattr, 0, "/", 0, bytes, 32);
    TRY(sethostname, "x", 1);
    /* Other interfaces of the kernel. */
    TRY(io_uring_setup, 1, bytes);
    TRY(bpf, 0, bytes, 64);
    TRY(perf_event_open, bytes, 0, -1, -1, 0);
    TRY(userfaultfd, 0);
    TRY(keyctl, 0, 0);
    TRY(add_key, "user", "x", "x", 1, -1);
    TRY(request_key, "user", "x", 0, -1);
    TRY(memfd_create, "x", 0);
    TRY(memfd_secret, 0);
    TRY(init_module, bytes, 1, "");
    TRY(finit_module, 0, "", 0);
    TRY(kexec_load, 0, 0, 0, 0);
    TRY(reboot, 0, 0, 0);
    TRY(syslog, 3, bytes, 10);
    TRY(iopl, 3);
    TRY(ioperm, 0x70, 1, 1);
    TRY(modify_ldt, 0, bytes, 10);
    TRY(clock_settime, CLOCK_REALTIME, &time);
    TRY(adjtimex, bytes);
    TRY(acct, 0);
    TRY(swapon, "/x", 0);
    TRY(quotactl, 0, 0, 0, 0);
    TRY(open_by_handle_at, 0, bytes, 0);
    TRY(name_to_handle_at, 0, "/", bytes, bytes, 0);
    TRY(inotify_init1, 0);
    TRY(fanotify_init, 0, 0);
    TRY(landlock_create_ruleset, 0, 0, 1);
    TRY(mbind, 0, 4096, 0, 0, 0, 0);
    TRY(move_pages, 1, 0, 0, 0, 0, 0);
    TRY(migrate_pages, 1, 0, 0, 0);
    TRY(process_madvise, 0, 0, 0, 0, 0);
    TRY(shmget, 0, 4096, 0600);
    TRY(msgget, 0, 0600);
    TRY(semget, 0, 1, 0600);
    TRY(mq_open, "x", O_CREAT, 0600, 0);
    tell("ioctl:TIOCSTI", ioctl(0, 0x5412, bytes));
    tell("ioctl:SIOCGIFCONF", ioctl(0, 0x8912, bytes));
    struct rlimit files = {1 << 20, 1 << 20};
    tell("setrlimit:nofile", setrlimit(RLIMIT_NOFILE, &files));
    /* The network. */
    SOCKET(AF_UNIX);
    SOCKET(AF_INET);
    SOCKET(AF_INET6);
    SOCKET(AF_NETLINK);
    SOCKET(AF_PACKET);
    SOCKET(AF_VSOCK);
    SOCKET(AF_ALG);
    TRY(bind, 0, bytes, 16);
    /* Paths. */
    OPEN("/etc/passwd", O_RDONLY);
    OPEN("/usr/bin/env", O_RDONLY);
    OPEN("/proc/self/status", O_RDONLY);
    OPEN("/proc/1/environ", O_RDONLY);
    OPEN("/sys/kernel", O_RDONLY);
    OPEN("/dev/kvm", O_RDWR);
    OPEN("/dev/null", O_RDWR);
    OPEN("/dev/shm/x", O_RDWR | O_CREAT);
    OPEN("/tmp/x", O_RDWR | O_CREAT);
    OPEN("/run", O_RDONLY);
    OPEN("/../etc/passwd", O_RDONLY);
    OPEN("/x", O_RDWR | O_CREAT);
    TRY(getdents64, 0, bytes, sizeof bytes);
    TRY(mkdir, "/x", 0700);
    TRY(mknod, "/x", 0, 0);
    TRY(symlink, "/", "/x");
    TRY(rename, "/x", "/y");
    TRY(chmod, "/", 0777);
    /* Descriptors that it was not given. */
    int open_files = 0;
    for (int fd = 0; fd < 4096; fd++) open_files += fcntl(fd, F_GETFD) >= 0;
    printf("descriptors %d\n", open_files);
    /* Threads. */
    int threads = 0;
    pthread_t one;
    while (threads < 1000 && pthread_create(&one, NULL, idle, NULL) == 0) threads++;
    printf("threads %d\n", threads);
}

int main(int argc, char **argv)
{
    printf("up %d %d\n", getpid(), getuid());
    fflush(stdout);
    /* As with QEMU: after its start its root is taken away, or a file is where it keeps the machine's root. */
    const char *gate = argc > 2 && !strcmp(argv[1], "rights") ? argv[2] : "/usr";
    for (int i = 0; i < 2000 && access(gate, F_OK) == 0; i++) nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "x32")) syscall(0x40000000 + 20);
    else if (!strcmp(what, "i386")) __asm__ volatile("int $0x80" : : "a"(20) : "memory");
    else if (!strcmp(what, "eat")) for (int i = 0; i < 512; i++) memset(malloc(1 << 20), 1, 1 << 20);
    else if (!strcmp(what, "sleep")) poll(NULL, 0, -1);
    else if (!strcmp(what, "rights")) {
        /* Refused by whatever comes first. */
        tell("setuid", syscall(SYS_setreuid, 0, 0) < 0 ? (errno = EPERM, -1) : 0);
        OPEN("/etc/shadow", O_RDONLY);
        TRY(ptrace, 16, 999999999, 0, 0);
    }
    else if (!strcmp(what, "many")) {
        long result = 0;
        for (int i = 0; i < 2000; i++) result = ioctl(0, 0x5500 + i, 0);
        tell("many", result);
    }
    else if (!strcmp(what, "punch")) {
        char text[4] = "";
        tell("punch", fallocate(20, 3 /* FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE */, 0, 4096));
        printf("content %.3s\n", pread(20, text, 3, 0) == 3 ? text : "?");
    }
    else if (!strcmp(what, "connect")) {
        struct { unsigned short family; char path[108]; } address = {AF_UNIX, ""};
        strncpy(address.path, argv[2], sizeof address.path - 1);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        tell("connect", connect(fd, (struct sockaddr *)&address, sizeof address));
    }
    else calls();
    printf("end\n");
    fflush(stdout);
    return 0;
}
