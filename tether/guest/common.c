/* See common.h. */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *cause(void) {
  static char text[128];
  snprintf(text, sizeof text, "%s", strerror(errno));
  /* Go's begin with a small letter, unless the first word is an abbreviation. */
  if (text[0] >= 'A' && text[0] <= 'Z' && !(text[1] >= 'A' && text[1] <= 'Z')) text[0] = (char)(text[0] + 32);
  return text;
}

void say(const char *format, ...) {
  static int kmsg = -1;
  char line[512] = "tether: ";
  va_list args;
  va_start(args, format);
  vsnprintf(line + 8, sizeof line - 8, format, args);
  va_end(args);
  if (kmsg < 0) kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
  if (kmsg >= 0 && write(kmsg, line, strlen(line)) < 0) return;
}

static uint64_t clock_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t now_ns(void) { return clock_ns(CLOCK_REALTIME); }
uint64_t monotonic_ms(void) { return clock_ns(CLOCK_MONOTONIC) / 1000000u; }

void sleep_ms(unsigned ms) {
  const struct timespec pause = {ms / 1000, ms % 1000 * 1000000L};
  nanosleep(&pause, NULL);
}

bool write_all(int fd, const void *data, size_t length) {
  const uint8_t *at = data;
  while (length > 0) {
    ssize_t n = write(fd, at, length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      struct pollfd p = {fd, POLLOUT, 0};
      poll(&p, 1, 100);
      if (p.revents & POLLHUP) return false;
      continue;
    }
    if (n < 0) return false;
    at += n;
    length -= (size_t)n;
  }
  return true;
}

const char *joined(char path[PATH_SIZE], const char *directory, const char *name) {
  snprintf(path, PATH_SIZE, "%s%s", directory, name);
  return path;
}
