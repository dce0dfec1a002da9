/* Which parts of a cage this machine lets us make: each is tried in a process of its own. */
#include "launcher.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

static int enter(int flags)
{
    return unshare(flags) < 0 ? errno : 0;
}

static int try_mount(void)
{
    int error = enter(CLONE_NEWNS);
    if (error) return error;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) return errno;
    return mount("caisson", "/", "tmpfs", MS_RDONLY, "size=4k") < 0 ? errno : 0;
}

static int try_pid(void)
{
    return enter(CLONE_NEWPID);
}

static int try_ipc(void)
{
    return enter(CLONE_NEWIPC);
}

static int try_uts(void)
{
    return enter(CLONE_NEWUTS);
}

static int try_cgroup(void)
{
    return enter(CLONE_NEWCGROUP);
}

int probe(void)
{
    static const struct {
        const char *name;
        int (*try)(void);
    } parts[] = {{"mount", try_mount}, {"pid", try_pid}, {"ipc", try_ipc}, {"uts", try_uts}, {"cgroup", try_cgroup}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        pid_t child = fork();
        if (child < 0) fail("making a process");
        if (child == 0) _exit(parts[i].try());
        int status;
        if (waitpid(child, &status, 0) < 0) fail("waiting for a process");
        int error = WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
        if (error) printf("%s no %s\n", parts[i].name, strerror(error));
        else printf("%s yes\n", parts[i].name);
        fflush(stdout);
    }
    return 0;
}
