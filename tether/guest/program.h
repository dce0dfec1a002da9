/* The program: what the host wants of this VM (see ../program/compile.ts for its form). */
#ifndef PROGRAM_H
#define PROGRAM_H

#include "tether.h"

struct program {
  uint32_t bus, unit;
  bool read_only, loaded, privileged, writable_cgroups, init, init_layer;
  uint64_t created; /* seconds; for init_layer */
  uint64_t shm_size; /* 0: no /dev/shm */
  uint32_t stop_signal, stop_timeout_s, gate_timeout_ms;
  struct process process;
};
extern struct program program;

/* Reads a program and carries out the steps outside the container's root. NULL or what failed. */
const char *program_load(const uint8_t *bytes, size_t length);
/* What was opened outside the container's root for the steps inside: prepared directories, the machine's /dev, and the init. */
struct outside {
  int dev, sys, files, empty, machine_dev, init, volumes;
};
/* What most programs ask for, for a rehearsal of them; then nothing again. */
void program_rehearse(bool on);
/* The steps inside the container's root. */
const char *program_setup(const struct outside *outside);

/* machine.c, inside the container's root */
const char *setup_system(uint64_t shm_size, int dev, int sys);
const char *setup_tmpfs(const char *path, unsigned long flags, const char *options);
const char *setup_file(const char *path, int files, const char *name, bool read_only);
const char *setup_bound(const char *source, const char *path, bool read_only);
const char *setup_directory(const char *path);
const char *setup_volume(int volumes, uint32_t disk, const char *inside, const char *path, bool read_only);

#endif
