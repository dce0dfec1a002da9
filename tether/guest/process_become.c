/* The child that becomes a process: its user, limits and capabilities, and exec, with runc's words for what fails. */
#include "confine.h"
#include "container.h"
#include "process.h"
#include "user.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

extern char **environ;

int report_fd;

void process_give_up(int code, const char *format, ...) {
  struct report r = {code, ""};
  va_list args;
  va_start(args, format);
  vsnprintf(r.message, sizeof r.message, format, args);
  va_end(args);
  write_all(report_fd, &r, sizeof r);
  _exit(code);
}

/*
 * The process has begun, but the kernel does not take its program. As runc's init does, it says so on its own standard error, and ends
 * with the code that runc has used since 1.2.
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

/* The errno of why `path` cannot be executed, as Go's exec.LookPath sees it; 0: it can. */
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
    if (errno == EACCES || errno == EISDIR) process_give_up(126, "exec: \"%s\": %s", name, cause());
    process_give_up(errno == ENOENT || errno == ENOTDIR ? 127 : 128, "exec: \"%s\": stat %s: %s", name, name, cause());
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
  process_give_up(127, "exec: \"%s\": executable file not found in $PATH", name);
}

bool process_set_own_score(int32_t score) {
  char text[16];
  int length = snprintf(text, sizeof text, "%d", score), fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  bool done = fd >= 0 && write(fd, text, (size_t)length) == length;
  if (fd >= 0) close(fd);
  return done;
}

/*
 * Makes the user own the process's streams, which are opened by name too (/dev/stdout links to one). As in runc, the group stays, and so
 * does /dev/null, whose owner would change for everybody.
 */
static void give_streams(uid_t uid) {
  for (int fd = 0; fd < 3; fd++) {
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_uid == uid || (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))) continue;
    if (fchown(fd, uid, (gid_t)-1) != 0) say("stream %d stays another user's: %s", fd, strerror(errno));
  }
}

void process_become(const struct container *c, const struct process *p) {
  static struct identity who;
  char problem[400];
  if (!identify(p->user, p->groups, &who, problem, sizeof problem)) process_give_up(128, "%s", problem);
  if (p->identify_only) _exit(0);
  for (uint32_t i = 0; i < p->limit_count; i++) {
    struct rlimit64 limit = {p->limits[i].soft, p->limits[i].hard};
    if (setrlimit64((__rlimit_resource_t)p->limits[i].resource, &limit) != 0) process_give_up(128, "error during container init: error setting rlimits for ready process: error setting rlimit type %u: %s", p->limits[i].resource, cause());
  }
  if (chdir(p->cwd) != 0) process_give_up(errno == ENOENT ? 127 : 126, "chdir to cwd (\"%s\") set in config.json failed: %s", p->cwd, cause());
  /* A link in /proc may have led to a directory outside that this process still has open (CVE-2024-21626). */
  char inside[PATH_MAX];
  if (syscall(SYS_getcwd, inside, sizeof inside) < 0 || inside[0] != '/') process_give_up(128, "current working directory is outside of container mount namespace root -- possible container breakout detected");
  if (p->oom_score != 0 && !process_set_own_score(p->oom_score)) process_give_up(128, "cannot set the OOM score: %s", strerror(errno));
  give_streams(who.uid);
  confine_capabilities(p->capabilities);
  if (setgroups(who.group_count, who.groups) != 0 || setgid(who.gid) != 0 || setuid(who.uid) != 0) process_give_up(128, "cannot become user %s: %s", p->user, strerror(errno));
  if (p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) process_give_up(128, "cannot set no_new_privs: %s", strerror(errno));
  umask(p->umask);
  environ = p->env;
  const char *home = variable(p->env, "HOME");
  if (home == NULL || *home == 0) setenv("HOME", who.home, 1);
  char path[4352];
  find_program(p->args[0], environ, path, sizeof path);
  /* The kernel drops signals that process 1 has no handler for: an init begins with all blocked, and so loses none. */
  sigset_t held;
  if (c->program.init && strcmp(p->args[0], INIT_PATH) == 0) sigfillset(&held);
  else sigemptyset(&held);
  for (int s = 1; s < 32; s++) signal(s, SIG_DFL);
  sigprocmask(SIG_SETMASK, &held, NULL);
  if (p->unfit_args) refuse(path, EINVAL);
  execve(path, p->args, environ);
  refuse(path, errno);
}
