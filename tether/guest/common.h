/* What every part of the tether uses: words about errors, clocks, and writing all of something (common.c). */
#ifndef COMMON_H
#define COMMON_H

#include "protocol.generated.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The text of errno as Go writes it. Clients look for these texts. */
const char *cause(void);
void say(const char *format, ...) __attribute__((format(printf, 1, 2))); /* to the kernel's log */

uint64_t now_ns(void); /* wall clock */
uint64_t monotonic_ms(void);
void sleep_ms(unsigned ms);

/* False when it could not be written; a descriptor that does not block is waited for. */
bool write_all(int fd, const void *data, size_t length);

/* `directory` and `name`, one after the other, in `path`; returns `path`. */
#define PATH_SIZE 128
const char *joined(char path[PATH_SIZE], const char *directory, const char *name);

#endif
