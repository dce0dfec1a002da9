/* What bounds the program: limits, control groups, its user. */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

void open_groups(struct cage *cage)
{
    for (int i = 0; i < cage->group_count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/cgroup.procs", cage->groups[i].name);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0) fail("opening %s", path);
        cage->groups[i].fd = above(fd, cage);
    }
}

void join_groups(const struct cage *cage)
{
    for (int i = 0; i < cage->group_count; i++)
        if (write(cage->groups[i].fd, "0", 1) < 0) fail("joining the control group %s", cage->groups[i].name);
    if (cage->parts & CGROUP && unshare(CLONE_NEWCGROUP) < 0) fail("making a control group namespace");
}

void set_oom_score(const struct cage *cage)
{
    char score[16];
    snprintf(score, sizeof score, "%d", cage->oom_score);
    /* A score lower than hostd's cannot be set if hostd may not lower its own. */
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, score, strlen(score)) < 0) {
        if (errno != EACCES && errno != EPERM) fail("setting the OOM score");
    }
    if (fd >= 0) close(fd);
}

static void limit(int what, rlim_t most)
{
    struct rlimit now;
    if (getrlimit(what, &now) < 0) fail("reading a limit");
    if (now.rlim_max > most) now.rlim_max = most;
    now.rlim_cur = now.rlim_max;
    if (setrlimit(what, &now) < 0) fail("setting a limit");
}

void set_limits(const struct cage *cage)
{
    /* A core dump would contain the guest's memory. */
    limit(RLIMIT_CORE, 0);
    /* The program's own descriptors, one that it makes for each open disk, connections, and what is handed over later. */
    limit(RLIMIT_NOFILE, 4096 + 4 * cage->inherited);
    /* Threads of this user, whom no other VM has. */
    limit(RLIMIT_NPROC, cage->processes);
    limit(RLIMIT_MEMLOCK, 64 * 1024);
    limit(RLIMIT_MSGQUEUE, 0);
    limit(RLIMIT_SIGPENDING, 1024);
    limit(RLIMIT_RTPRIO, 0);
    limit(RLIMIT_NICE, 0);
    /* No RLIMIT_FSIZE: disks and the log may grow larger than any useful limit, and it cannot open other files. */
}

void drop_rights(const struct cage *cage)
{
    for (int capability = 0; capability < 64; capability++) {
        int there = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
        if (there < 0) break;
        /* If we may not drop it, no_new_privs below still keeps the program from gaining it. */
        if (there && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EPERM) fail("giving up capability %d", capability);
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (setgroups(cage->device_group ? 1 : 0, &cage->device_group) < 0) fail("giving up groups");
    if (setresgid(cage->gid, cage->gid, cage->gid) < 0) fail("becoming group %d", cage->gid);
    if (setresuid(cage->uid, cage->uid, cage->uid) < 0) fail("becoming user %d", cage->uid);
    /* They are gone with the change of user already; this also clears the inheritable ones. */
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    if (syscall(SYS_capset, &header, none) < 0) fail("giving up capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) fail("setting no_new_privs");
}
