/*
 * The container's control group: what its processes may use is limited there, and counted. The tether itself and its helpers stay
 * outside. Made before a snapshot is; a program writes limits to its files (cgroup v2, Documentation/admin-guide/cgroup-v2.rst).
 */
#include "tether.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TOP "/cgroup"
#define REHEARSAL TOP "/rehearsal"

static int container_fd = -1, rehearsal_fd = -1, events_fd = -1;
static bool rehearsing;
static uint64_t kills; /* by the kernel, for want of memory; as last seen */

static bool put(const char *path, const char *value) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool done = write(fd, value, strlen(value)) >= 0;
  int why = errno;
  close(fd);
  errno = why;
  return done;
}

void cgroup_prepare(void) {
  mkdir(TOP, 0755);
  if (mount("cgroup", TOP, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0) say("cannot mount cgroup2: %s", strerror(errno));
  static const char *const controllers[] = {"+cpuset", "+cpu", "+io", "+memory", "+pids"};
  for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++)
    if (!put(TOP "/cgroup.subtree_control", controllers[i])) say("cgroup %s: %s", controllers[i], strerror(errno));
  mkdir(CGROUP, 0755);
  mkdir(REHEARSAL, 0755);
  container_fd = open(CGROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  rehearsal_fd = open(REHEARSAL, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  events_fd = open(CGROUP "/memory.events", O_RDONLY | O_CLOEXEC);
  cgroup_kills();
}

void cgroup_rehearse(bool on) { rehearsing = on; }

int cgroup_fd(void) { return rehearsing ? rehearsal_fd : container_fd; }

const char *cgroup_limit(const char *file, const char *value) {
  static char problem[300];
  char path[128];
  if (strlen(file) > 64 || strchr(file, '/') != NULL || strncmp(file, "cgroup.", 7) == 0) return "bad name of a limit";
  snprintf(path, sizeof path, CGROUP "/%s", file);
  if (put(path, value)) return NULL;
  snprintf(problem, sizeof problem, "cannot set %s to %.100s: %s", file, value, strerror(errno));
  return problem;
}

/* Processes in the middle of a long wait for a disk freeze when that is over: they are not waited for without end. */
static void wait_frozen(void) {
  const struct timespec pause = {0, 1000000};
  char text[128];
  int fd = open(CGROUP "/cgroup.events", O_RDONLY | O_CLOEXEC);
  for (int i = 0; fd >= 0 && i < 500; i++) {
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0) break;
    text[n] = 0;
    if (strstr(text, "frozen 1") != NULL) break;
    nanosleep(&pause, NULL);
  }
  if (fd >= 0) close(fd);
}

const char *cgroup_freeze(bool on) {
  static char problem[128];
  if (!put(CGROUP "/cgroup.freeze", on ? "1" : "0")) {
    snprintf(problem, sizeof problem, "cannot %s the processes: %s", on ? "freeze" : "thaw", strerror(errno));
    return problem;
  }
  if (on) wait_frozen();
  return NULL;
}

int cgroup_events(void) { return events_fd; }

uint64_t cgroup_kills(void) {
  char text[512];
  ssize_t n = events_fd < 0 ? -1 : pread(events_fd, text, sizeof text - 1, 0);
  if (n <= 0) return kills;
  text[n] = 0;
  char *found = strstr(text, "oom_kill ");
  if (found != NULL) kills = strtoull(found + 9, NULL, 10);
  return kills;
}
