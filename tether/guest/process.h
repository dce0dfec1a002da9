/* Processes in a container (process_read.c, process.c, process_become.c). */
#ifndef PROCESS_H
#define PROCESS_H

#include "buffer.h"

struct container;

/* What the host wants to run. */
struct process {
  bool tty, open_stdin;
  bool identify_only; /* only the user is looked up, and nothing is run */
  bool unfit_args;    /* an argument has a zero byte, where what was read of it ends */
  char *user, *cwd;
  uint16_t rows, cols;
  char **args, **env, **groups;
  uint64_t capabilities;
  struct limit {
    uint32_t resource;
    uint64_t soft, hard;
  } *limits;
  uint32_t limit_count;
  bool no_new_privileges;
  int32_t oom_score;
  mode_t umask;
};
bool process_read(struct reader *r, struct process *p);
void process_free(struct process *p);

/* A process that was started, or why it was not. */
struct started {
  pid_t pid;        /* -1: it was not */
  int in, out, err; /* our ends; -1 where there is none; with a terminal, `in` and `out` are the same */
  int code;         /* 126, 127 or 128: what the container is to exit with when it was not */
  char message[512];
};
#define NOT_STARTED {.pid = -1, .in = -1, .out = -1, .err = -1, .code = 128, .message = "out of resources"}

/*
 * Starts a process of a container. The `first` one gets new namespaces and moves into the container's root, which it sets up as the
 * container's program says; others enter the namespaces of the first.
 */
struct started process_start(struct container *c, const struct process *p, bool first);

/* ---- between process.c and process_become.c ---- */

/* The child's report to the tether: why it failed, or code 0 when it has begun but the kernel refused its program. A successful exec closes the pipe. */
struct report {
  int code;
  char message[500];
};
extern int report_fd; /* in the child */
void __attribute__((noreturn, format(printf, 2, 3))) process_give_up(int code, const char *format, ...);
bool process_set_own_score(int32_t score); /* how soon this process is killed when memory runs out */
/* Becomes the process, in the namespaces and root of the container. */
void __attribute__((noreturn)) process_become(const struct container *c, const struct process *p);

#endif
