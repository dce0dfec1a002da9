/*
 * caisson-cage: starts a program (QEMU) in a cage.
 *
 *   caisson-cage KEY=VALUE... -- PROGRAM ARGUMENT...
 *   caisson-cage probe STAGE
 *
 * The program runs as its own user from its first instruction: what it needs as root is made here and inherited as descriptors. The program
 * is a child, since a process cannot enter a PID namespace itself. This process stays: it waits for the program, so that no zombie is left,
 * keeps others from using its user id, and reports refused system calls. By then it has no rights. When it is killed, the program ends too.
 *
 * On CONTROL_FD it writes `started <process id> <user id>` when the program was executed, or `failed <why>`. When it reads anything there,
 * or hostd is gone, it takes the program's root away (the program has loaded all it needs by then) and writes `enclosed`.
 */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static long number(const char *text)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || end == text || *end) {
        errno = 0;
        fail("'%s' is no number", text);
    }
    return value;
}

static struct made made(char *text)
{
    char *colon = strchr(text, ':');
    if (!colon) fail("'%s' is not of the form descriptor:name", text);
    *colon = 0;
    struct made one = {.fd = number(text), .name = colon + 1};
    if (one.fd <= CONTROL_FD || one.fd >= FIRST_INHERITED_FD) fail("descriptor %d is not for what is made here", one.fd);
    return one;
}

static int parts(char *text)
{
    static const struct {
        const char *name;
        int part;
    } names[] = {{"mount", MOUNT}, {"pid", PID}, {"ipc", IPC}, {"uts", UTS}, {"cgroup", CGROUP}};
    int all = 0;
    for (char *name = strtok(text, ","); name; name = strtok(NULL, ","))
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (!strcmp(names[i].name, name)) all |= names[i].part;
    return all;
}

static struct range range(char *text)
{
    char *dash = strchr(text, '-');
    if (!dash) fail("'%s' is not of the form first-last", text);
    *dash = 0;
    struct range one = {number(text), number(dash + 1)};
    if (one.first == 0) fail("the program needs a user of its own");
    return one;
}

static int one_more(int *count)
{
    if (*count == MOST) fail("more than %d of a kind", MOST);
    return (*count)++;
}

static void take(struct cage *cage, char *option)
{
    char *value = strchr(option, '=');
    if (!value) fail("'%s' is not of the form key=value", option);
    *value++ = 0;
    if (!strcmp(option, "namespaces")) cage->parts = parts(value);
    else if (!strcmp(option, "netns")) cage->netns = value;
    else if (!strcmp(option, "stage")) cage->stage = value;
    else if (!strcmp(option, "group")) cage->groups[one_more(&cage->group_count)].name = value;
    else if (!strcmp(option, "listen")) cage->listeners[one_more(&cage->listener_count)] = made(value);
    else if (!strcmp(option, "tap")) cage->taps[one_more(&cage->tap_count)] = made(value);
    else if (!strcmp(option, "bind")) cage->binds[one_more(&cage->bind_count)] = value;
    else if (!strcmp(option, "preload")) cage->binds[one_more(&cage->bind_count)] = cage->preload = value;
    else if (!strcmp(option, "keep")) cage->kept[one_more(&cage->kept_count)] = value;
    else if (!strcmp(option, "users")) cage->ranges[one_more(&cage->range_count)] = range(value);
    else if (!strcmp(option, "nice")) cage->nice = number(value);
    else if (!strcmp(option, "oom")) cage->oom_score = number(value);
    else if (!strcmp(option, "inherited")) cage->inherited = number(value);
    else if (!strcmp(option, "processes")) cage->processes = number(value);
    else if (!strcmp(option, "pretend-punch")) cage->pretend_punch = number(value);
    else if (!strcmp(option, "kvm")) cage->kvm = number(value);
    else if (!strcmp(option, "unfiltered")) cage->unfiltered = number(value);
    else fail("there is no option '%s'", option);
}

/* Runs in the child and becomes the program. The parent reads from `failure` what went wrong; it is closed when all went well. */
static void run(const struct cage *cage, const char *program, int failure)
{
    tell_failures(failure, "");
    join_groups(cage);
    /* hostd has a higher one while it is being started. Lowering it is always allowed. */
    if (getpriority(PRIO_PROCESS, 0) < cage->nice && setpriority(PRIO_PROCESS, 0, cage->nice) < 0) fail("setting the priority");
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    set_limits(cage);
    drop_rights(cage);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) fail("being ended with the launcher");
    int notifier = cage->unfiltered ? -1 : install_filter(cage, program);
    if (notifier >= 0) hand_over(failure, notifier);
    char preload[PATH_MAX + 16];
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s", cage->preload ? cage->preload : "");
    execve(program, cage->program, (char *[]){"PATH=/usr/bin:/bin", "LC_ALL=C", cage->preload ? preload : NULL, NULL});
    fail("%s", program);
}

/* Clears the arguments, so that nobody takes this process for the program because of them. */
static void forget_arguments(int argc, char **argv)
{
    memset(argv[1], 0, argv[argc - 1] + strlen(argv[argc - 1]) - argv[1]);
}

/*
 * Waits until hostd says something or is gone (true), or a child has ended (false); refuses calls meanwhile.
 * `control` is -1 when hostd has nothing more to say.
 */
static bool called(int control, int children, int notifier)
{
    struct pollfd events[] = {{.fd = control, .events = POLLIN}, {.fd = children, .events = POLLIN}, {.fd = notifier, .events = POLLIN}};
    for (;;) {
        if (poll(events, 3, -1) < 0) {
            if (errno != EINTR) fail("waiting");
            continue;
        }
        if (events[2].revents & POLLIN) refuse_call(notifier);
        /* Nobody is left to make calls. */
        else if (events[2].revents) events[2].fd = -1;
        if (events[1].revents) return false;
        if (events[0].revents) return true;
    }
}

static int end_of(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    int signal = WTERMSIG(status);
    dprintf(STDERR_FILENO, "caisson-cage: QEMU was ended by signal %d (%s)%s\n", signal, strsignal(signal),
            signal == SIGSYS ? ": it made a system call that its own sandbox forbids, or one of another architecture; the kernel's log has its number" : "");
    return 128 + signal;
}

static int supervise(const struct cage *cage, pid_t child, int failure, int children)
{
    char text[1200];
    int notifier;
    ssize_t length = take_over(failure, text, sizeof text - 1, &notifier);
    if (length > 0 && notifier >= 0) {
        int none;
        notifier = above(notifier, cage);
        length = take_over(failure, text, sizeof text - 1, &none);
    }
    if (length > 0) {
        text[length] = 0;
        errno = 0;
        waitpid(child, NULL, 0);
        fail("%.*s", (int)strcspn(text, "\n"), text);
    }
    close(failure);
    dprintf(CONTROL_FD, "started %d %d\n", child, cage->uid);
    bool asked = called(CONTROL_FD, children, notifier);
    if (asked) {
        if (cage->parts & MOUNT) enclose();
        drop_rights(cage);
        dprintf(CONTROL_FD, "enclosed\n");
    }
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    close(CONTROL_FD);
    if (asked) called(-1, children, notifier);
    return end_of(child);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "probe")) return probe(argv[2]);
    signal(SIGPIPE, SIG_IGN);
    if (fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC) == 0) tell_failures(CONTROL_FD, "failed ");
    errno = 0;
    struct cage cage = {.processes = 256};
    int at = 1;
    while (at < argc && strcmp(argv[at], "--")) take(&cage, argv[at++]);
    if (at + 1 >= argc) fail("there is nothing to start");
    cage.program = argv + at + 1;
    if (cage.range_count == 0) fail("the program needs a user of its own");

    /* First, close whatever was inherited by mistake. */
    for (int fd = CONTROL_FD + 1; fd < FIRST_INHERITED_FD; fd++) close(fd);
    close_from(FIRST_INHERITED_FD + cage.inherited);
    const char *program = find_program(cage.program[0]);
    take_user(&cage);
    open_groups(&cage);
    set_oom_score(&cage);
    make_listeners(&cage);
    int network = cage.netns ? open(cage.netns, O_RDONLY | O_CLOEXEC) : -1;
    if (cage.netns && (network < 0 || setns(network, CLONE_NEWNET) < 0)) fail("entering the network namespace %s", cage.netns);
    open_taps(&cage);
    int flags = (cage.parts & MOUNT ? CLONE_NEWNS : 0) | (cage.parts & PID ? CLONE_NEWPID : 0) | (cage.parts & IPC ? CLONE_NEWIPC : 0) |
                (cage.parts & UTS ? CLONE_NEWUTS : 0);
    if (flags && unshare(flags) < 0) fail("making namespaces");
    if (cage.parts & UTS && sethostname("caisson", 7) < 0) fail("naming the host");
    if (cage.parts & MOUNT) build_root(&cage, program);
    else if (cage.kvm) show_machines_kvm(&cage);

    sigset_t ended;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, NULL);
    int children = signalfd(-1, &ended, SFD_CLOEXEC);
    if (children < 0) fail("watching children");
    children = above(children, &cage);
    int failure[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, failure) < 0) fail("making a pair of sockets");
    for (int i = 0; i < 2; i++) failure[i] = above(failure[i], &cage);
    pid_t child = fork();
    if (child < 0) fail("making a process");
    if (child == 0) run(&cage, program, failure[1]);
    close(failure[1]);
    forget_arguments(argc, argv);
    for (int i = 0; i < cage.listener_count; i++) close(cage.listeners[i].fd);
    for (int i = 0; i < cage.tap_count; i++) close(cage.taps[i].fd);
    for (int i = 0; i < cage.inherited; i++) close(FIRST_INHERITED_FD + i);
    return supervise(&cage, child, failure[0], children);
}
