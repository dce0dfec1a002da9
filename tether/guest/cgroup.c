/*
 * Control groups of version 2 (Documentation/admin-guide/cgroup-v2.rst). The tether and its helpers stay outside the containers' groups.
 * Made before a snapshot is.
 */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOP "/cgroup"
#define REHEARSAL TOP "/rehearsal"

static bool put(const char *path, const char *value) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool done = write(fd, value, strlen(value)) >= 0;
  int why = errno;
  close(fd);
  errno = why;
  return done;
}

static int make(const char *path) {
  mkdir(path, 0755);
  return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void cgroup_mount(void) {
  mkdir(TOP, 0755);
  if (mount("cgroup", TOP, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0) say("cannot mount cgroup2: %s", strerror(errno));
  static const char *const controllers[] = {"+cpuset", "+cpu", "+io", "+memory", "+pids"};
  for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++)
    if (!put(TOP "/cgroup.subtree_control", controllers[i])) say("cgroup %s: %s", controllers[i], strerror(errno));
}

void cgroup_make(struct cgroup *group) {
  char path[PATH_SIZE];
  group->fd = make(group->path);
  group->events = open(joined(path, group->path, "/memory.events"), O_RDONLY | O_CLOEXEC);
  cgroup_kills(group);
}

int cgroup_of_rehearsals(void) {
  static int fd = -1;
  if (fd < 0) fd = make(REHEARSAL);
  return fd;
}

const char *cgroup_limit(const struct cgroup *group, const char *file, const char *value) {
  static char problem[300];
  char path[PATH_SIZE], name[PATH_SIZE];
  if (strlen(file) > 64 || strchr(file, '/') != NULL || strncmp(file, "cgroup.", 7) == 0) return "bad name of a limit";
  if (put(joined(path, group->path, joined(name, "/", file)), value)) return NULL;
  snprintf(problem, sizeof problem, "cannot set %s to %.100s: %s", file, value, strerror(errno));
  return problem;
}

/* A process in a long wait for a disk only freezes when that is over, so this does not wait longer than half a second. */
static void wait_frozen(const struct cgroup *group) {
  char path[PATH_SIZE], text[128];
  int fd = open(joined(path, group->path, "/cgroup.events"), O_RDONLY | O_CLOEXEC);
  for (int i = 0; fd >= 0 && i < 500; i++) {
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0) break;
    text[n] = 0;
    if (strstr(text, "frozen 1") != NULL) break;
    sleep_ms(1);
  }
  if (fd >= 0) close(fd);
}

const char *cgroup_freeze(const struct cgroup *group, bool on) {
  static char problem[128];
  char path[PATH_SIZE];
  if (!put(joined(path, group->path, "/cgroup.freeze"), on ? "1" : "0")) {
    snprintf(problem, sizeof problem, "cannot %s the processes: %s", on ? "freeze" : "thaw", strerror(errno));
    return problem;
  }
  if (on) wait_frozen(group);
  return NULL;
}

uint64_t cgroup_kills(struct cgroup *group) {
  char text[512];
  ssize_t n = group->events < 0 ? -1 : pread(group->events, text, sizeof text - 1, 0);
  if (n <= 0) return group->kills;
  text[n] = 0;
  const char *found = strstr(text, "oom_kill ");
  if (found != NULL) group->kills = strtoull(found + 9, NULL, 10);
  return group->kills;
}
