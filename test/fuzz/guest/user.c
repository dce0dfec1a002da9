/* Fuzzes the lookup of a process's user: an image may have anything in its /etc/passwd and /etc/group. */
#include "world.h"
#include "../../../tether/guest/user.h"
#include <ctype.h>

/* The input: the user, a group, /etc/passwd, /etc/group, with zero bytes between them. */
static char user[512], group[512];
static const uint8_t *contents[2];
static size_t lengths[2];
static int asked; /* of the two files */

static int world_path(const char *path) {
  asked = strcmp(path, "/etc/passwd") != 0;
  return lengths[asked] == 0 ? -1 : 100;
}
static int world_regular(struct stat *st) {
  *st = (struct stat){.st_mode = S_IFREG};
  return 0;
}

#define open(path, ...) world_path(path)
#define close(fd) ((void)(fd), 0)
#define fstat(fd, st) world_regular(st)
#define fdopen(fd, mode) fmemopen((void *)(uintptr_t)contents[asked], lengths[asked], mode)
#include "../../../tether/guest/user.c"

static const uint8_t *cut(const uint8_t **at, const uint8_t *end, size_t *length) {
  const uint8_t *from = *at, *zero = memchr(from, 0, (size_t)(end - from));
  *length = (size_t)((zero == NULL ? end : zero) - from);
  *at = zero == NULL ? end : zero + 1;
  return from;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const uint8_t *at = data, *end = data + size;
  size_t length;
  if (size == 0) return 0;
  const uint8_t *name = cut(&at, end, &length);
  snprintf(user, sizeof user, "%.*s", (int)(length < 500 ? length : 500), (const char *)name);
  name = cut(&at, end, &length);
  snprintf(group, sizeof group, "%.*s", (int)(length < 500 ? length : 500), (const char *)name);
  contents[0] = cut(&at, end, &lengths[0]);
  contents[1] = at;
  lengths[1] = (size_t)(end - at);
  char *groups[] = {group, NULL}, *none[] = {NULL};
  struct identity who = {0};
  char problem[300];
  bool found = identify(user, *group == 0 ? none : groups, &who, problem, sizeof problem);
  HOLDS(who.group_count <= MAX_GROUPS && memchr(who.home, 0, sizeof who.home) != NULL);
  HOLDS(found || memchr(problem, 0, sizeof problem) != NULL);
  return 0;
}
