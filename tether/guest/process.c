/* Starting processes in the container: namespaces, streams or terminal, user, limits, capabilities, and exec. */
#include "tether.h"
#include "program.h"
#include "confine.h"
#include "init.h"
#include "user.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

extern char **environ;

bool process_read(struct reader *r, struct process *p) {
  memset(p, 0, sizeof *p);
  uint8_t flags = read_u8(r);
  p->tty = flags & PROCESS_TTY;
  p->open_stdin = flags & PROCESS_OPEN_STDIN;
  p->identify_only = flags & PROCESS_IDENTIFY_ONLY;
  p->unfit_args = flags & PROCESS_UNFIT_ARGS;
  p->user = read_string(r);
  p->cwd = read_string(r);
  p->rows = (uint16_t)read_u32(r);
  p->cols = (uint16_t)read_u32(r);
  p->capabilities = read_u64(r);
  p->args = read_strings(r);
  p->env = read_strings(r);
  p->groups = read_strings(r);
  uint32_t count = read_u32(r);
  if (count > MAX_LIMITS) r->bad = true;
  p->limits = calloc(MAX_LIMITS, sizeof *p->limits);
  if (p->limits == NULL) abort();
  for (uint32_t i = 0; i < count && !r->bad; i++) {
    p->limits[i].resource = read_u32(r);
    p->limits[i].soft = read_u64(r);
    p->limits[i].hard = read_u64(r);
    p->limit_count = i + 1;
  }
  p->no_new_privileges = read_u8(r) & NO_NEW_PRIVILEGES;
  p->oom_score = (int32_t)read_u32(r);
  /* A container that was made before this was told has the usual one. */
  p->umask = r->at < r->end ? read_u32(r) & 0777 : USUAL_UMASK;
  return !r->bad && p->args[0] != NULL;
}

void process_free(struct process *p) {
  free(p->user);
  free(p->cwd);
  free_strings(p->args);
  free_strings(p->env);
  free_strings(p->groups);
  free(p->limits);
}

/* The child's report: sent before exec when something fails, code 0 for a program that the kernel refuses; closed by a successful exec. */
struct report {
  int code;
  char message[500];
};

static int report_fd;

static void __attribute__((noreturn, format(printf, 2, 3))) give_up(int code, const char *format, ...) {
  struct report r = {code, ""};
  va_list args;
  va_start(args, format);
  vsnprintf(r.message, sizeof r.message, format, args);
  va_end(args);
  write_all(report_fd, &r, sizeof r);
  _exit(code);
}

/*
 * The process has begun, but the kernel does not take its program: it says so on its own standard error and ends, as runc's init does,
 * with the code that runc has since 1.2.
 */
static void __attribute__((noreturn)) refuse(const char *path, int why) {
  const struct report begun = {0, ""};
  errno = why;
  dprintf(2, "exec %s: %s\n", path, why == ENOEXEC ? "exec format error" : cause());
  write_all(report_fd, &begun, sizeof begun);
  _exit(255);
}

static const char *variable(char **env, const char *name) {
  size_t length = strlen(name);
  for (; *env != NULL; env++)
    if (strncmp(*env, name, length) == 0 && (*env)[length] == '=') return *env + length + 1;
  return NULL;
}

/* As Go's exec.LookPath: why `path` can't be executed, or 0. */
static int unfit(const char *path) {
  struct stat st;
  if (stat(path, &st) != 0) return errno;
  if (S_ISDIR(st.st_mode)) return EISDIR;
  return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) != 0 ? EACCES : 0;
}

static void find_program(const char *name, char **env, char *path, size_t size) {
  if (strchr(name, '/') != NULL) {
    snprintf(path, size, "%s", name);
    errno = unfit(path);
    if (errno == 0) return;
    if (errno == EACCES || errno == EISDIR) give_up(126, "exec: \"%s\": %s", name, cause());
    give_up(errno == ENOENT || errno == ENOTDIR ? 127 : 128, "exec: \"%s\": stat %s: %s", name, name, cause());
  }
  const char *list = variable(env, "PATH");
  while (list != NULL && *list != 0) {
    size_t length = strcspn(list, ":");
    size_t shown = length;
    while (shown > 0 && list[shown - 1] == '/') shown--; /* as Go joins paths */
    snprintf(path, size, "%.*s/%s", length == 0 ? 1 : (int)shown, length == 0 ? "." : list, name);
    if (*name != 0 && unfit(path) == 0) return;
    list += length + (list[length] == ':');
  }
  give_up(127, "exec: \"%s\": executable file not found in $PATH", name);
}

/* How soon this process is killed when memory runs out. */
static bool set_own_score(int32_t score) {
  char text[16];
  int length = snprintf(text, sizeof text, "%d", score), fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  bool done = fd >= 0 && write(fd, text, (size_t)length) == length;
  if (fd >= 0) close(fd);
  return done;
}

/*
 * Its streams are the process's own: it may open them by name (/dev/stdout is a link to one), and so may others of the same user. As
 * runc: all but /dev/null, whose owner would change for everybody; the group stays. What cannot be given away stays as it is.
 */
static void give_streams(uid_t uid) {
  for (int fd = 0; fd < 3; fd++) {
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_uid == uid || (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))) continue;
    if (fchown(fd, uid, (gid_t)-1) != 0) say("stream %d stays another user's: %s", fd, strerror(errno));
  }
}

/* Becomes the process; in the container's namespaces and root already. */
static void __attribute__((noreturn)) become(const struct process *p) {
  static struct identity who;
  char problem[400];
  if (!identify(p->user, p->groups, &who, problem, sizeof problem)) give_up(128, "%s", problem);
  if (p->identify_only) _exit(0);
  for (uint32_t i = 0; i < p->limit_count; i++) {
    struct rlimit64 limit = {p->limits[i].soft, p->limits[i].hard};
    if (setrlimit64((__rlimit_resource_t)p->limits[i].resource, &limit) != 0) give_up(128, "error during container init: error setting rlimits for ready process: error setting rlimit type %u: %s", p->limits[i].resource, cause());
  }
  if (chdir(p->cwd) != 0) give_up(errno == ENOENT ? 127 : 126, "chdir to cwd (\"%s\") set in config.json failed: %s", p->cwd, cause());
  /* Links of /proc lead to what this process has open outside (CVE-2024-21626). */
  char inside[PATH_MAX];
  if (syscall(SYS_getcwd, inside, sizeof inside) < 0 || inside[0] != '/') give_up(128, "current working directory is outside of container mount namespace root -- possible container breakout detected");
  if (p->oom_score != 0 && !set_own_score(p->oom_score)) give_up(128, "cannot set the OOM score: %s", strerror(errno));
  give_streams(who.uid);
  confine_capabilities(p->capabilities);
  if (setgroups(who.group_count, who.groups) != 0 || setgid(who.gid) != 0 || setuid(who.uid) != 0) give_up(128, "cannot become user %s: %s", p->user, strerror(errno));
  if (p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) give_up(128, "cannot set no_new_privs: %s", strerror(errno));
  umask(p->umask);
  environ = p->env;
  const char *home = variable(p->env, "HOME");
  if (home == NULL || *home == 0) setenv("HOME", who.home, 1);
  char path[4352];
  find_program(p->args[0], environ, path, sizeof path);
  /* The kernel drops what process 1 has no handler for: an init gets what was sent before it was ready. */
  sigset_t held;
  if (program.init && strcmp(p->args[0], INIT_PATH) == 0) sigfillset(&held);
  else sigemptyset(&held);
  for (int s = 1; s < 32; s++) signal(s, SIG_DFL);
  sigprocmask(SIG_SETMASK, &held, NULL);
  if (p->unfit_args) refuse(path, EINVAL);
  execve(path, p->args, environ);
  refuse(path, errno);
}

static int open_directory(const char *path) { return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC); }

/* The child of a first process: moves into the container's root and sets it up. */
static void enter_root(void) {
  if (unshare(CLONE_NEWCGROUP) != 0) give_up(128, "cannot make a cgroup namespace: %s", strerror(errno));
  struct outside outside = {.dev = open_directory(PREPARED "/dev"), .sys = open_directory(PREPARED "/sys"), .files = open_directory("/files"), .empty = open_directory("/empty"), .machine_dev = -1, .init = -1, .volumes = open_directory(VOLUMES)};
  if (program.privileged) outside.machine_dev = open_directory("/dev");
  if (program.init) outside.init = open("/init", O_PATH | O_CLOEXEC);
  if (chdir(ROOT) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0) give_up(128, "cannot enter the container's root: %s", strerror(errno));
  const char *failed = program_setup(&outside);
  if (failed != NULL) give_up(128, "%s", failed);
}

static void enter_container(pid_t container) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/cgroup", container);
  int group = open(path, O_RDONLY | O_CLOEXEC);
  if (group < 0 || setns(group, CLONE_NEWCGROUP) != 0) give_up(128, "cannot enter the container: %s", strerror(errno));
  close(group);
  snprintf(path, sizeof path, "/proc/%d/ns/mnt", container);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNS) != 0) give_up(128, "cannot enter the container: %s", strerror(errno));
  close(fd);
}

/* Takes terminal `number` as its own; that of the first process is the console too. */
static void use_terminal(int number, bool first) {
  char path[64];
  snprintf(path, sizeof path, "/dev/pts/%d", number);
  int slave = open(path, O_RDWR);
  if (slave < 0 || ioctl(slave, TIOCSCTTY, 0) != 0) give_up(128, "cannot open the terminal: %s", strerror(errno));
  for (int i = 0; i < 3; i++) dup2(slave, i);
  if (slave > 2) close(slave);
  if (!first) return;
  const char *failed = setup_bound(path, "/dev/console", false);
  if (failed != NULL) give_up(128, "%s", failed);
}

/* Opens a terminal in the container's devpts; `number` names its other end. */
static int open_terminal(const struct process *p, int *number) {
  int master = open(PREPARED "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), unlock = 0;
  if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) != 0 || ioctl(master, TIOCGPTN, number) != 0) return -1;
  struct winsize size = {p->rows, p->cols, 0, 0};
  if (p->rows != 0) ioctl(master, TIOCSWINSZ, &size);
  return master;
}

/* As fork, but the child begins its life in the container's control group. */
static pid_t clone_into_group(uint64_t flags) {
  struct {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
  } args = {.flags = flags | 0x200000000u /* CLONE_INTO_CGROUP */, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup_fd()};
  return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

static pid_t spawn(bool first, pid_t container) {
  if (first) return clone_into_group(CLONE_NEWPID | CLONE_NEWNS);
  /* setns to a PID namespace counts for children only: go there, fork, come back. */
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/pid", container);
  int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC), other = open(path, O_RDONLY | O_CLOEXEC);
  pid_t pid = -1;
  if (own >= 0 && other >= 0 && setns(other, CLONE_NEWPID) == 0) {
    pid = clone_into_group(0);
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
 * A process that is not to be killed for want of memory is in the container's control group before it can say so itself: it has the
 * score from the tether then, which as process 1 is not killed either way.
 */
static pid_t spawn_with_score(const struct process *p, bool first, pid_t container) {
  if (p->oom_score >= 0) return spawn(first, container);
  set_own_score(p->oom_score);
  pid_t pid = spawn(first, container);
  if (pid != 0) set_own_score(0);
  return pid;
}

struct started process_start(const struct process *p, bool first, pid_t container) {
  struct started s = {.pid = -1, .in = -1, .out = -1, .err = -1, .code = 128, .message = "out of resources"};
  int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1}, report[2] = {-1, -1}, terminal = -1, number = 0;
  bool ready = pipe2(report, O_CLOEXEC) == 0;
  if (p->tty) {
    terminal = open_terminal(p, &number);
    ready = ready && terminal >= 0;
  } else {
    ready = ready && pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0;
    if (p->open_stdin) ready = ready && pipe2(in, O_CLOEXEC) == 0;
  }
  pid_t pid = ready ? spawn_with_score(p, first, container) : -1;
  if (pid == 0) {
    report_fd = report[1];
    setsid();
    if (first) enter_root();
    else enter_container(container);
    if (p->tty) {
      use_terminal(number, first);
    } else {
      int null = p->open_stdin ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);
      dup2(p->open_stdin ? in[0] : null, 0);
      dup2(out[1], 1);
      dup2(err[1], 2);
    }
    become(p);
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
