/* Starting processes in a container: namespaces, streams or terminal. */
#include "process.h"
#include "container.h"
#include "setup.h"
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_directory(const char *path) { return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC); }

/* Moves a first process into the container's root and sets it up. */
static void enter_root(struct container *c) {
  char path[PATH_SIZE];
  if (unshare(CLONE_NEWCGROUP) != 0) process_give_up(128, "cannot make a cgroup namespace: %s", strerror(errno));
  struct outside outside = {.files = open_directory(c->files), .empty = open_directory(EMPTY), .volumes = open_directory(c->volumes), .machine_dev = -1, .init = -1};
  outside.dev = open_directory(joined(path, c->prepared, "/dev"));
  outside.sys = open_directory(joined(path, c->prepared, "/sys"));
  if (c->program.privileged) outside.machine_dev = open_directory("/dev");
  if (c->program.init) outside.init = open("/init", O_PATH | O_CLOEXEC);
  if (chdir(c->root) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0) process_give_up(128, "cannot enter the container's root: %s", strerror(errno));
  const char *failed = program_setup(&c->program, &outside);
  if (failed != NULL) process_give_up(128, "%s", failed);
}

/* Moves a further process into the namespaces of the first. */
static void enter_container(const struct container *c) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/cgroup", c->first);
  int group = open(path, O_RDONLY | O_CLOEXEC);
  if (group < 0 || setns(group, CLONE_NEWCGROUP) != 0) process_give_up(128, "cannot enter the container: %s", strerror(errno));
  close(group);
  snprintf(path, sizeof path, "/proc/%d/ns/mnt", c->first);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNS) != 0) process_give_up(128, "cannot enter the container: %s", strerror(errno));
  close(fd);
}

/* Makes terminal `number` the process's own; that of the first process is the console too. */
static void use_terminal(int number, bool first) {
  char path[64];
  snprintf(path, sizeof path, "/dev/pts/%d", number);
  int slave = open(path, O_RDWR);
  if (slave < 0 || ioctl(slave, TIOCSCTTY, 0) != 0) process_give_up(128, "cannot open the terminal: %s", strerror(errno));
  for (int i = 0; i < 3; i++) dup2(slave, i);
  if (slave > 2) close(slave);
  if (!first) return;
  const char *failed = setup_bound(path, "/dev/console", false);
  if (failed != NULL) process_give_up(128, "%s", failed);
}

/* Opens a terminal in the container's devpts; `number` names its other end. */
static int open_terminal(const struct container *c, const struct process *p, int *number) {
  char path[PATH_SIZE];
  int master = open(joined(path, c->prepared, "/dev/pts/ptmx"), O_RDWR | O_NOCTTY | O_CLOEXEC), unlock = 0;
  if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) != 0 || ioctl(master, TIOCGPTN, number) != 0) return -1;
  struct winsize size = {p->rows, p->cols, 0, 0};
  if (p->rows != 0) ioctl(master, TIOCSWINSZ, &size);
  return master;
}

/* fork, but the child begins its life in the container's control group. */
static pid_t clone_into_group(const struct container *c, uint64_t flags) {
  struct {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
  } args = {.flags = flags | 0x200000000u /* CLONE_INTO_CGROUP */, .exit_signal = SIGCHLD, .cgroup = (uint64_t)c->cgroup.fd};
  return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

static pid_t spawn(const struct container *c, bool first) {
  if (first) return clone_into_group(c, CLONE_NEWPID | CLONE_NEWNS);
  /* setns to a PID namespace is for children only: enter it, fork, and come back. */
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/pid", c->first);
  int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC), other = open(path, O_RDONLY | O_CLOEXEC);
  pid_t pid = -1;
  if (own >= 0 && other >= 0 && setns(other, CLONE_NEWPID) == 0) {
    pid = clone_into_group(c, 0);
    if (pid != 0 && setns(own, CLONE_NEWPID) != 0) say("setns: %s", strerror(errno));
  }
  if (own >= 0) close(own);
  if (other >= 0) close(other);
  return pid;
}

static void close_pair(int pair[2]) {
  if (pair[0] >= 0) close(pair[0]);
  if (pair[1] >= 0) close(pair[1]);
}

/*
 * A child is in the container's control group, where it may be killed, before it can lower its own OOM score. So the tether lowers its
 * own for the child to inherit: process 1 is never killed, whatever its score.
 */
static pid_t spawn_with_score(const struct container *c, const struct process *p, bool first) {
  if (p->oom_score >= 0) return spawn(c, first);
  process_set_own_score(p->oom_score);
  pid_t pid = spawn(c, first);
  if (pid != 0) process_set_own_score(0);
  return pid;
}

struct started process_start(struct container *c, const struct process *p, bool first) {
  struct started s = NOT_STARTED;
  int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1}, report[2] = {-1, -1}, terminal = -1, number = 0;
  bool ready = pipe2(report, O_CLOEXEC) == 0;
  if (p->tty) {
    terminal = open_terminal(c, p, &number);
    ready = ready && terminal >= 0;
  } else {
    ready = ready && pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0;
    if (p->open_stdin) ready = ready && pipe2(in, O_CLOEXEC) == 0;
  }
  pid_t pid = ready ? spawn_with_score(c, p, first) : -1;
  if (pid == 0) {
    report_fd = report[1];
    setsid();
    if (first) enter_root(c);
    else enter_container(c);
    if (p->tty) {
      use_terminal(number, first);
    } else {
      int null = p->open_stdin ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);
      dup2(p->open_stdin ? in[0] : null, 0);
      dup2(out[1], 1);
      dup2(err[1], 2);
    }
    process_become(c, p);
  }
  if (report[1] >= 0) close(report[1]);
  if (in[0] >= 0) close(in[0]);
  if (out[1] >= 0) close(out[1]);
  if (err[1] >= 0) close(err[1]);
  in[0] = out[1] = err[1] = -1;
  struct report r;
  ssize_t n = -1;
  if (pid > 0)
    while ((n = read(report[0], &r, sizeof r)) < 0 && errno == EINTR) continue;
  if (report[0] >= 0) close(report[0]);
  if (n == 0 || (n == sizeof r && r.code == 0)) {
    s.pid = pid;
    s.code = 0;
    s.message[0] = 0;
    s.in = p->tty ? terminal : in[1];
    s.out = p->tty ? terminal : out[0];
    s.err = err[0];
    return s;
  }
  if (n == sizeof r) {
    s.code = r.code;
    r.message[sizeof r.message - 1] = 0;
    snprintf(s.message, sizeof s.message, "%s", r.message);
  }
  close_pair(in);
  close_pair(out);
  close_pair(err);
  if (terminal >= 0) close(terminal);
  return s;
}
