/*
 * The containers of this machine: one for now. Everything that belongs to a container is in its entry of the table, and functions take
 * the entry they act on; a second container in the machine is a second entry, with directories, a control group and a first session of
 * its own (container.c).
 */
#ifndef CONTAINER_H
#define CONTAINER_H

#include "cgroup.h"
#include "headstart.h"
#include "output_log.h"
#include "program.h"
#include "root.h"

#define MAX_CONTAINERS 1

enum container_state {
  CONTAINER_WAITING,  /* for the endpoint's `go`, or until gate_end */
  CONTAINER_RUNNING,  /* its first process was started */
  CONTAINER_STOPPING, /* and was asked to end */
};

struct container {
  /* ---- fixed for each entry ---- */
  const char *root;     /* where its disk is mounted */
  const char *volumes;  /* where its volumes' disks are, by volume_number */
  const char *prepared; /* its /dev and /sys, which are moved into the root */
  const char *files;    /* memory for the files bound into it */
  const char *status_key; /* where the host is told of its run */
  uint32_t first_session; /* of its first process */

  struct cgroup cgroup;
  struct output_log log;
  struct program program;
  bool mounted_volumes[MAX_VOLUMES];
  struct headstart headstart;
  enum freeze freeze;  /* never FREEZE_ASK */
  uint64_t kills_told; /* how many of cgroup.kills the endpoint was told of */

  enum container_state state;
  /* CONTAINER_WAITING */
  bool go;
  uint64_t gate_end; /* monotonic ms */
  struct {
    bool subscribed;
    uint32_t credit;
  } waiting; /* of an endpoint that subscribed to the first process before it was there */
  /* CONTAINER_RUNNING, CONTAINER_STOPPING */
  pid_t first; /* its first process, whose namespaces are the container's; else -1 */
  /* CONTAINER_STOPPING */
  uint64_t kill_at; /* monotonic ms; 0: its first process was killed */
};

extern struct container containers[MAX_CONTAINERS];
#define each_container(c) (struct container *c = containers; c < containers + MAX_CONTAINERS; c++)

/* Fills the table's fixed part; nothing runs. */
void containers_make(void);

static inline bool container_runs(const struct container *c) { return c->state != CONTAINER_WAITING; }

/* Gets its program and carries it out, up to the start of its first process. */
void container_load(struct container *c);
/* What is due: the start of its first process, or the kill of one that was asked to end. */
void container_advance(struct container *c);
/* When something is due next, in monotonic ms; UINT64_MAX: nothing is. */
uint64_t container_due(const struct container *c);
/* Asks its first process to end, and kills it when it has not in time. */
void container_stop(struct container *c);
/* Tells the endpoint of processes that the kernel has killed because memory ran out. */
void container_check_memory(struct container *c);
void container_tell_kills(const struct container *c, bool news); /* news: just now; else before the connection began */
/* Stops its processes, or lets them go on. NULL or what failed. */
const char *container_freeze(struct container *c, enum freeze wanted);

/* Its first process has ended: the host and the endpoint are told, and the machine is powered off. */
void __attribute__((noreturn)) container_end(struct container *c, int code, int signal);

#endif
