/*
 * Shared by the fuzzers of the guest's C: an input that is read piece by piece, and system calls that it controls.
 * A fuzzer includes the guest's files one after the other, so that it can reset their variables for the next run.
 */
#ifndef WORLD_H
#define WORLD_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <dirent.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input of this run. The first byte selects the sizes of the pieces in which it arrives. */
struct world {
  const uint8_t *at, *end;
  uint32_t chance; /* xorshift state: calls return the same each time */
  bool gone;       /* the other side has closed */
  uint64_t ms;
};
extern struct world world;

void world_begin(const uint8_t *data, size_t size);
uint32_t world_chance(void);
/* An assertion: ends the run as a sanitizer does. */
#define HOLDS(what) ((what) ? (void)0 : world_fails(#what, __FILE__, __LINE__))
void __attribute__((noreturn)) world_fails(const char *what, const char *file, int line);

ssize_t world_read(int fd, void *buffer, size_t length);
ssize_t world_write(int fd, const void *data, size_t length);
int world_poll(struct pollfd *polls, nfds_t count, int timeout);
/* Strings that a request or a program leaves allocated until its process ends; freed here after the run. */
struct reader;
char *world_keep(char *s); /* the same for a string that was not read */
char *world_string(struct reader *r);
void world_free(void *p);
void world_free_all(void);
int world_number(void); /* for calls that return 0 or fail with some error */
int world_file(void);   /* for calls that return a descriptor */

#endif
