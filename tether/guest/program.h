/*
 * A program: what the host wants of a container, as ../program/compile.ts writes it. program_load reads it and carries out the steps
 * outside the container's root; program_setup, in the child that becomes the first process, those inside.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include "process.h"

struct container;

/* What is mounted over, or hides, a path of the container. */
struct cover {
  enum step step;
  char *path, *options; /* of a volume: the directory in it */
  uint64_t flags;       /* of mount(2) */
  uint32_t disk;        /* a volume's volume_number */
};

/* A file bound over a path, with its name below c->files. */
struct bound_file {
  char *path, *name;
  char *content; /* as the host wrote it last; NULL: it stays as it is */
};

struct program {
  bool read_only, loaded, privileged, writable_cgroups, init, init_layer;
  uint64_t created;  /* Unix seconds; for init_layer */
  uint64_t shm_size; /* 0: no /dev/shm */
  uint32_t stop_signal, stop_timeout_s, gate_timeout_ms;
  struct bound_file files[MAX_FILES];
  uint32_t file_count;
  struct cover covers[MAX_MOUNTS]; /* in order */
  uint32_t cover_count;
  struct process process;
};

/* NULL or what failed. */
const char *program_load(struct container *c, const uint8_t *bytes, size_t length);
/* What most programs ask for, for a rehearsal of them. */
void program_rehearsed(struct program *program);

/* What was opened outside the container's root for the steps inside; -1: it is not needed. */
struct outside {
  int dev, sys, files, empty, machine_dev, init, volumes;
};
/* Inside the container's root. NULL or what failed. */
const char *program_setup(const struct program *program, const struct outside *outside);

#endif
