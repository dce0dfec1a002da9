/* Control groups: what a container's processes may use is limited there, and counted (cgroup.c). */
#ifndef CGROUP_H
#define CGROUP_H

#include "common.h"

struct cgroup {
  const char *path;
  int fd;         /* new processes begin in this group */
  int events;     /* POLLPRI when something has happened to its memory */
  uint64_t kills; /* processes that the kernel has killed because memory ran out, as last seen */
};

/* Once, for the machine. */
void cgroup_mount(void);
/* A container's own group. */
void cgroup_make(struct cgroup *group);
/* The group of a rehearsal's processes, which are no container's. */
int cgroup_of_rehearsals(void);

/* Writes to one of the group's files. NULL or what failed. */
const char *cgroup_limit(const struct cgroup *group, const char *file, const char *value);
/* Stops the group's processes, or lets them go on. NULL or what failed. */
const char *cgroup_freeze(const struct cgroup *group, bool on);
uint64_t cgroup_kills(struct cgroup *group);

#endif
