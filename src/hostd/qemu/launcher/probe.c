/* Finds out which parts of a cage this machine allows: each is tried in a process of its own, which says what went wrong. */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void enter(int flags)
{
    if (unshare(flags) < 0) fail("unshare");
}

/* Builds both roots, as for a program. */
static void try_mount(const char *stage)
{
    struct cage cage = {.stage = stage};
    enter(CLONE_NEWNS);
    build_root(&cage, "/usr/bin/none");
    enclose();
}

/* A PID namespace only comes into being with a process in it. */
static void try_pid(const char *stage)
{
    (void)stage;
    enter(CLONE_NEWPID);
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) _exit(0);
    waitpid(child, NULL, 0);
}

static void try_ipc(const char *stage)
{
    (void)stage;
    enter(CLONE_NEWIPC);
}

static void try_uts(const char *stage)
{
    (void)stage;
    enter(CLONE_NEWUTS);
    if (sethostname("caisson", 7) < 0) fail("sethostname");
}

static void try_cgroup(const char *stage)
{
    (void)stage;
    enter(CLONE_NEWCGROUP);
}

static int filtered(void)
{
    const struct cage none = {0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) fail("no_new_privs");
    return install_filter(&none, "");
}

static void try_seccomp(const char *stage)
{
    (void)stage;
    filtered();
}

static void try_told(const char *stage)
{
    (void)stage;
    int notifier = filtered();
    errno = 0;
    if (notifier < 0) fail("the kernel hands no refused calls over");
}

/* Fills `said` with what the child said, or leaves it empty. */
static void ask(void (*try)(const char *), const char *stage, char *said, size_t size)
{
    int failure[2];
    if (pipe2(failure, O_CLOEXEC) < 0) fail("making a pipe");
    pid_t child = fork();
    if (child < 0) fail("making a process");
    if (child == 0) {
        tell_failures(failure[1], "");
        errno = 0;
        try(stage);
        _exit(0);
    }
    close(failure[1]);
    ssize_t length = read(failure[0], said, size - 1);
    said[length > 0 ? length : 0] = 0;
    said[strcspn(said, "\n")] = 0;
    close(failure[0]);
    int status;
    if (waitpid(child, &status, 0) < 0) fail("waiting for a process");
    if (!*said && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) snprintf(said, size, "who tries is ended");
}

int probe(const char *stage)
{
    static const struct {
        const char *name;
        void (*try)(const char *);
    } parts[] = {{"mount", try_mount}, {"pid", try_pid}, {"ipc", try_ipc}, {"uts", try_uts}, {"cgroup", try_cgroup}, {"seccomp", try_seccomp},
                 {"told", try_told}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char said[1200];
        ask(parts[i].try, stage, said, sizeof said);
        if (*said) printf("%s no %s\n", parts[i].name, said);
        else printf("%s yes\n", parts[i].name);
        fflush(stdout);
    }
    return 0;
}
