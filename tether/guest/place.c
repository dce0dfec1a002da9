/* See place.h. An image may have anything at these paths, or nothing. */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_LINKS 255 /* in one path, as in runc */

const char *place_find(const char *path, char found[PLACE_SIZE]) {
  char rest[2 * PLACE_SIZE], part[PLACE_SIZE], target[PLACE_SIZE];
  size_t length = 0;
  int links = 0;
  errno = ENAMETOOLONG;
  if (strlen(path) >= PLACE_SIZE) return cause();
  memcpy(rest, path, strlen(path) + 1);
  while (*rest != 0) {
    char *begin = rest + strspn(rest, "/");
    size_t size = strcspn(begin, "/");
    errno = ENAMETOOLONG;
    if (size >= sizeof part || length + 1 + size >= PLACE_SIZE) return cause();
    memcpy(part, begin, size);
    part[size] = 0;
    memmove(rest, begin + size, strlen(begin + size) + 1);
    if (size == 0 || strcmp(part, ".") == 0) continue;
    if (strcmp(part, "..") == 0) {
      while (length > 0 && found[--length] != '/') continue;
      continue;
    }
    found[length] = '/';
    memcpy(found + length + 1, part, size + 1);
    ssize_t n = readlink(found, target, sizeof target - 1);
    if (n < 0 && errno == ENOTDIR) return cause();
    if (n < 0) { /* not a link, or nothing */
      length += 1 + size;
      continue;
    }
    target[n] = 0;
    errno = ELOOP;
    if (++links > MAX_LINKS) return cause();
    errno = ENAMETOOLONG;
    if (strlen(target) + 1 + strlen(rest) >= PLACE_SIZE) return cause();
    memmove(rest + n + 1, rest, strlen(rest) + 1);
    memcpy(rest, target, (size_t)n);
    rest[n] = '/';
    if (*target == '/') length = 0;
  }
  if (length == 0) found[length++] = '/';
  found[length] = 0;
  return NULL;
}

void place_directories(const char *path) {
  char part[PLACE_SIZE];
  for (size_t i = 1; path[i - 1] != 0 && i < sizeof part; i++) {
    if (path[i] != '/' && path[i] != 0) continue;
    memcpy(part, path, i);
    part[i] = 0;
    mkdir(part, 0755);
  }
}

void place_parents(const char *path) {
  char directory[PLACE_SIZE];
  snprintf(directory, sizeof directory, "%s", path);
  char *slash = strrchr(directory, '/');
  if (slash == NULL || slash == directory) return;
  *slash = 0;
  place_directories(directory);
}

const char *place_problem(void) {
  static char text[200];
  if (errno != ENOTDIR) return cause();
  snprintf(text, sizeof text, "%s: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type", cause());
  return text;
}

/* Docker's init layer. `link` is the target of a symbolic link; "" makes an empty file, NULL a directory. */
static const struct fixture {
  const char *path, *link;
} fixtures[] = {
  {"/dev/pts", NULL}, {"/dev/shm", NULL}, {"/proc", NULL}, {"/sys", NULL}, {"/etc/resolv.conf", ""}, {"/etc/hosts", ""}, {"/etc/hostname", ""}, {"/dev/console", ""}, {"/etc/mtab", "/proc/mounts"}, {"/.dockerenv", ""},
};

/* Removes anything but a directory at the path and on the way to it. */
static void clear_way(const char *path) {
  char part[64];
  for (size_t i = 1; path[i - 1] != 0; i++) {
    if (path[i] != '/' && path[i] != 0) continue;
    snprintf(part, sizeof part, "%.*s", (int)i, path);
    unlink(part);
  }
}

const char *place_init_layer(uint64_t created) {
  static char problem[200];
  struct stat done;
  if (lstat("/.dockerenv", &done) == 0 && S_ISREG(done.st_mode) && done.st_ctime > 0 && (uint64_t)done.st_ctime >= created) return NULL;
  for (const struct fixture *f = fixtures; f < fixtures + sizeof fixtures / sizeof *fixtures; f++) {
    struct stat st;
    clear_way(f->path);
    if (lstat(f->path, &st) == 0) continue; /* a directory */
    place_parents(f->path);
    int failed;
    if (f->link == NULL) failed = mkdir(f->path, 0755);
    else if (*f->link != 0) failed = symlink(f->link, f->path);
    else if ((failed = open(f->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0755)) >= 0) failed = close(failed);
    if (failed == 0) continue;
    snprintf(problem, sizeof problem, "cannot make %s: %s", f->path, cause());
    return problem;
  }
  return NULL;
}
