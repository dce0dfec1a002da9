/*
 * Whoever starts a container and at once signals it, or runs something in it, expects that its first process has got going: that it has
 * set its signal handlers and made the files it makes first. On a fast machine it has done so by the time the next request arrives. An
 * emulated one has not, and the first process of a PID namespace loses a signal that it has no handler for. So what is asked of a
 * container waits until its first process itself waits for something, or for a moment.
 *
 * The moment is not measured by the clock: a busy host may give the machine's processors next to nothing meanwhile. It is a number of
 * looks at the process, made on the processor that it runs on, which gets as much as the process does.
 */
#include "headstart.h"
#include "container.h"
#include "session.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_LOOKS 100
#define LOOK_MS 5
/* A process that has run this long has got going, or never will. */
#define OLD_MS 10000

struct kept {
  struct kept *next;
  enum message type;
  uint32_t id;
  size_t length;
  uint8_t payload[];
};

void headstart_begin(struct headstart *h, pid_t first) {
  h->first = first;
  h->old = monotonic_ms() + OLD_MS;
}

/* The processor it ran on last: field 39 of /proc/<pid>/stat, counted from the field after the name. */
#define PROCESSOR 36

/* Moves the tether to the process's processor. */
static void follow(struct headstart *h, const char *fields) {
  for (int i = 0; i < PROCESSOR; i++) {
    fields = strchr(fields, ' ');
    if (fields == NULL) return;
    fields++;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(atoi(fields), &set);
  h->moved = sched_setaffinity(0, sizeof set, &set) == 0;
}

/* Whatever the tether starts inherits where it may run: from now on anywhere. */
static void go_anywhere(struct headstart *h) {
  if (!h->moved) return;
  h->moved = false;
  cpu_set_t set;
  memset(&set, 0xff, sizeof set);
  if (sched_setaffinity(0, sizeof set, &set) < 0) say("the tether stays on one processor");
}

/*
 * Whether the process waits for something: its state in /proc/<pid>/stat, behind the name in parentheses. One that waits for its own code
 * from disk is in state D, which does not count.
 */
static bool waits(struct headstart *h, bool asked) {
  char path[32], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", h->first);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return true;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return true;
  text[n] = 0;
  const char *name_end = strrchr(text, ')');
  if (name_end == NULL || name_end + 2 >= text + n || strchr("STtZX", name_end[2]) != NULL) return true;
  if (asked) follow(h, name_end + 2);
  return false;
}

/* `asked`: somebody waits for it. */
static bool is_over(struct headstart *h, bool asked) {
  if (h->over || h->first == 0) return h->over;
  uint64_t now = monotonic_ms();
  if (asked && now >= h->looked + LOOK_MS) {
    h->looks++;
    h->looked = now;
  }
  h->over = h->looks >= MOST_LOOKS || now >= h->old || waits(h, asked);
  if (h->over) go_anywhere(h);
  return h->over;
}

/* What is asked of the container's processes or files, and what is meant for sessions whose start waits. */
static bool is_asked_of_container(const struct container *c, enum message type, uint32_t id, struct reader payload) {
  switch (type) {
    case MESSAGE_EXEC:
    case MESSAGE_FILES:
    case MESSAGE_OBSERVE:
      return true;
    case MESSAGE_SIGNAL:
      if (id == c->first_session) return read_u32(&payload) != SIGKILL;
      return session_find(id) == NULL;
    case MESSAGE_SUBSCRIBE:
    case MESSAGE_UNSUBSCRIBE:
    case MESSAGE_CREDIT:
    case MESSAGE_STDIN:
    case MESSAGE_STDIN_EOF:
    case MESSAGE_RESIZE:
      return id != c->first_session && session_find(id) == NULL;
    default:
      return false;
  }
}

bool headstart_keeps(struct container *c, enum message type, uint32_t id, const struct reader *payload) {
  struct headstart *h = &c->headstart;
  if (h->first == 0 || (h->kept == NULL && is_over(h, false)) || !is_asked_of_container(c, type, id, *payload)) return false;
  size_t length = (size_t)(payload->end - payload->at);
  struct kept *one = malloc(sizeof *one + length);
  if (one == NULL) abort();
  *one = (struct kept){.type = type, .id = id, .length = length};
  memcpy(one->payload, payload->at, length);
  if (h->kept == NULL) h->kept = one;
  else h->last->next = one;
  h->last = one;
  return true;
}

int headstart_look(struct container *c, void (*act)(struct container *c, enum message type, uint32_t id, struct reader *payload)) {
  struct headstart *h = &c->headstart;
  if (h->kept == NULL) return -1;
  if (!is_over(h, true)) return LOOK_MS;
  while (h->kept != NULL) {
    struct kept *one = h->kept;
    h->kept = one->next;
    struct reader payload = {.at = one->payload, .end = one->payload + one->length};
    act(c, one->type, one->id, &payload);
    free(one);
  }
  return -1;
}
