/* The head start of a container's first process (headstart.c). */
#ifndef HEADSTART_H
#define HEADSTART_H

#include "buffer.h"

struct container;

struct headstart {
  pid_t first;  /* 0: no process runs yet */
  bool over;    /* it got going, or had its moment */
  bool moved;   /* the tether has moved to its processor */
  int looks;    /* at it, while somebody waited */
  uint64_t old; /* monotonic ms; the head start is over then in any case */
  uint64_t looked; /* the last of the looks */
  struct kept *kept, *last; /* messages that wait, oldest first */
};

/* The first process runs from now on. */
void headstart_begin(struct headstart *h, pid_t first);
/* True: the message is kept until the process has had its head start. */
bool headstart_keeps(struct container *c, enum message type, uint32_t id, const struct reader *payload);
/* Hands out to `act` what was kept, once it is time. Returns the milliseconds until it is to be called again; -1: nothing is kept. */
int headstart_look(struct container *c, void (*act)(struct container *c, enum message type, uint32_t id, struct reader *payload));

#endif
