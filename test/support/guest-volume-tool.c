/*
 * What tests of shared volumes need in a container and busybox has no command for:
 *   lock FILE        takes a POSIX lock of the whole file, or prints `busy` and ends; prints `locked`, and keeps it until it is killed
 *   write FILE       adds a line to it each time, `1`, `2`, …, and says so once it is on the disk
 *   timed FILE N     writes N times 4 KiB with fsync, and prints how many microseconds one took
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what) {
  printf("%s: %s\n", what, strerror(errno));
  return 1;
}

static int lock(const char *path) {
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  int fd = open(path, O_RDWR | O_CREAT, 0644);
  if (fd < 0) return fail("open");
  if (fcntl(fd, F_SETLK, &whole) != 0) return errno == EAGAIN || errno == EACCES ? (puts("busy"), 0) : fail("lock");
  puts("locked");
  for (;;) pause();
}

static int append(const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (fd < 0) return fail("open");
  for (int i = 1;; i++) {
    char line[16];
    int length = snprintf(line, sizeof line, "%d\n", i);
    if (write(fd, line, (size_t)length) != length || fsync(fd) != 0) return fail("write");
    printf("%d\n", i);
    usleep(20000);
  }
}

static int timed(const char *path, int count) {
  static char block[4096];
  struct timespec from, to;
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) return fail("open");
  clock_gettime(CLOCK_MONOTONIC, &from);
  for (int i = 0; i < count; i++)
    if (write(fd, block, sizeof block) != sizeof block || fsync(fd) != 0) return fail("write");
  clock_gettime(CLOCK_MONOTONIC, &to);
  printf("%ld us\n", ((to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000) / count);
  return 0;
}

int main(int count, char **words) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (count == 3 && strcmp(words[1], "lock") == 0) return lock(words[2]);
  if (count == 3 && strcmp(words[1], "write") == 0) return append(words[2]);
  if (count == 4 && strcmp(words[1], "timed") == 0) return timed(words[2], atoi(words[3]));
  return 2;
}
