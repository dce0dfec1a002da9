/*
 * Who starts a container and at once signals it, or runs something in it, expects that its first process has got going: has set its
 * handlers, has made the files that it makes first. A process elsewhere has done that by the time the next request arrives; an emulated one has not, and a
 * signal without a handler is lost on the first process of a PID namespace. So what is asked of a container waits until its first
 * process waits for something itself, or for a moment.
 *
 * The moment is not a time of the clock: a busy host may give the machine's processors next to nothing meanwhile. It is a number of looks at
 * the process, made on the processor that it runs on: that gets as much as the process does.
 */
#include "headstart.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_LOOKS 100
#define LOOK_MS 5
/* One that has run for so long has got going, or does not. */
#define OLD_MS 10000

struct kept {
  struct kept *next;
  enum message type;
  uint32_t id;
  size_t length;
  uint8_t payload[];
};

static pid_t first = -1;
static bool over, moved;
static uint64_t old, looked; /* monotonic ms */
static int looks;
static struct kept *kept, **last = &kept;

void headstart_begin(pid_t pid) {
  first = pid;
  old = monotonic_ms() + OLD_MS;
}

/* Field 39 of /proc/<pid>/stat, of those that follow the name. */
#define PROCESSOR 36

/* To be where it is. */
static void follow(const char *fields) {
  for (int i = 0; i < PROCESSOR; i++) {
    fields = strchr(fields, ' ');
    if (fields == NULL) return;
    fields++;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(atoi(fields), &set);
  moved = sched_setaffinity(0, sizeof set, &set) == 0;
}

/* What is started now is to run anywhere. */
static void go_anywhere(void) {
  if (!moved) return;
  moved = false;
  cpu_set_t set;
  memset(&set, 0xff, sizeof set);
  if (sched_setaffinity(0, sizeof set, &set) < 0) say("it stays on one processor");
}

/* Its state in /proc/<pid>/stat, behind the name in parentheses; a process that reads its own code from disk is in none of these. */
static bool waits(bool asked) {
  char path[32], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", first);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return true;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return true;
  text[n] = 0;
  const char *name_end = strrchr(text, ')');
  if (name_end == NULL || name_end + 2 >= text + n || strchr("STtZX", name_end[2]) != NULL) return true;
  if (asked) follow(name_end + 2);
  return false;
}

/* @param asked somebody waits for it */
static bool is_over(bool asked) {
  if (over || first < 0) return over;
  uint64_t now = monotonic_ms();
  if (asked && now >= looked + LOOK_MS) {
    looks++;
    looked = now;
  }
  over = looks >= MOST_LOOKS || now >= old || waits(asked);
  if (over) go_anywhere();
  return over;
}

/* What is asked of the container's processes or files, and what is meant for sessions that are still to begin. */
static bool is_asked_of_container(enum message type, uint32_t id, struct reader payload) {
  switch (type) {
    case MESSAGE_EXEC:
    case MESSAGE_FILES:
    case MESSAGE_OBSERVE:
      return true;
    case MESSAGE_SIGNAL:
      if (id == 0) return read_u32(&payload) != SIGKILL;
      return session_find(id) == NULL;
    case MESSAGE_SUBSCRIBE:
    case MESSAGE_UNSUBSCRIBE:
    case MESSAGE_CREDIT:
    case MESSAGE_STDIN:
    case MESSAGE_STDIN_EOF:
    case MESSAGE_RESIZE:
      return id != 0 && session_find(id) == NULL;
    default:
      return false;
  }
}

bool headstart_keeps(enum message type, uint32_t id, const struct reader *payload) {
  if (first < 0 || (kept == NULL && is_over(false)) || !is_asked_of_container(type, id, *payload)) return false;
  size_t length = (size_t)(payload->end - payload->at);
  struct kept *one = malloc(sizeof *one + length);
  if (one == NULL) abort();
  *one = (struct kept){.type = type, .id = id, .length = length};
  memcpy(one->payload, payload->at, length);
  *last = one;
  last = &one->next;
  return true;
}

int headstart_look(void) {
  if (kept == NULL) return -1;
  if (!is_over(true)) return LOOK_MS;
  while (kept != NULL) {
    struct kept *one = kept;
    kept = one->next;
    if (kept == NULL) last = &kept;
    struct reader payload = {.at = one->payload, .end = one->payload + one->length};
    act_on(one->type, one->id, &payload);
    free(one);
  }
  return -1;
}
