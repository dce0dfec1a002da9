/* The program: what the host wants of this VM (see ../program/compile.ts for its form). */
#ifndef PROGRAM_H
#define PROGRAM_H

#include "tether.h"

struct program {
  uint32_t bus, unit;
  bool read_only, loaded;
  uint64_t shm_size;
  uint32_t stop_signal, stop_timeout_s, gate_timeout_ms;
  struct process process;
};
extern struct program program;

/* Reads a program and carries out the steps outside the container's root. NULL or what failed. */
const char *program_load(const uint8_t *bytes, size_t length);
/* The steps inside the container's root; the directories are prepared outside. */
const char *program_setup(int dev, int sys, int files);

/* machine.c, inside the container's root */
const char *setup_system(uint64_t shm_size, int dev, int sys);
const char *setup_file(const char *path, int files, uint32_t index);
const char *setup_directory(const char *path);

#endif
