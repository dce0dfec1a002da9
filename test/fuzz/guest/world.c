/* See world.h. */
#include "world.h"
#include "../../../tether/guest/buffer.h"
/* The fuzzers have their own versions of what it writes. */
#define write_all common_write_all
#include "../../../tether/guest/common.c"
#undef write_all

struct world world;

void world_begin(const uint8_t *data, size_t size) {
  world = (struct world){.at = data, .end = data + size, .chance = 1, .ms = 1000000};
  if (size > 0) world.chance = *world.at++ * 2654435761u | 1;
}

void world_fails(const char *what, const char *file, int line) {
  fprintf(stderr, "does not hold: %s (%s:%d)\n", what, file, line);
  abort();
}

uint32_t world_chance(void) {
  world.chance ^= world.chance << 13;
  world.chance ^= world.chance >> 17;
  return world.chance ^= world.chance << 5;
}

/* Mostly everything that is left; sometimes less, or nothing for now. */
ssize_t world_read(int fd, void *buffer, size_t length) {
  (void)fd;
  size_t left = (size_t)(world.end - world.at);
  if (left == 0) {
    errno = EAGAIN;
    return world.gone ? 0 : -1;
  }
  uint32_t chance = world_chance() % 8;
  if (chance == 0) {
    errno = EINTR;
    return -1;
  }
  if (length > left) length = left;
  if (chance < 4 && length > 1) length = 1 + world_chance() % length;
  memcpy(buffer, world.at, length);
  world.at += length;
  return (ssize_t)length;
}

ssize_t world_write(int fd, const void *data, size_t length) {
  (void)fd;
  static volatile uint8_t sink;
  for (size_t i = 0; i < length; i++) sink ^= ((const uint8_t *)data)[i]; /* the memory must be readable */
  uint32_t chance = world_chance() % 8;
  if (chance == 0) {
    errno = EAGAIN;
    return -1;
  }
  return (ssize_t)(chance == 1 && length > 1 ? 1 + world_chance() % length : length);
}

int world_poll(struct pollfd *polls, nfds_t count, int timeout) {
  world.ms += timeout > 0 ? (uint64_t)timeout : 0;
  for (nfds_t i = 0; i < count; i++) polls[i].revents = (short)((polls[i].events & (POLLIN | POLLOUT)) | (world.gone ? POLLHUP : 0));
  return (int)count;
}

int world_number(void) {
  static const int errors[] = {ENOENT, EEXIST, ENOTDIR, EISDIR, EPERM, EBUSY, ENOTEMPTY, EINVAL};
  uint32_t chance = world_chance();
  errno = errors[chance >> 8 & 7];
  return chance % 4 == 0 ? -1 : 0;
}

int world_file(void) { return world_number() == 0 ? 100 : -1; }

static char *strings[65536];
static size_t string_count;

char *world_keep(char *s) {
  if (string_count < sizeof strings / sizeof *strings) strings[string_count++] = s;
  return s;
}

char *world_string(struct reader *r) { return world_keep(read_string(r)); }

void world_free(void *p) {
  for (size_t i = 0; i < string_count; i++) {
    if (strings[i] != p) continue;
    strings[i] = strings[--string_count];
    break;
  }
  free(p);
}

void world_free_all(void) {
  while (string_count > 0) free(strings[--string_count]);
}
