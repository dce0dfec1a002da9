/* The head start of the container's first process (headstart.c). */
#ifndef HEADSTART_H
#define HEADSTART_H

#include "tether.h"

/* The first process runs from now on. */
void headstart_begin(pid_t first);
/* True: the message is kept until the process has had its head start, and is given to act_on then. */
bool headstart_keeps(enum message type, uint32_t id, const struct reader *payload);
/* Gives out what was kept, once it is time. Returns the milliseconds until it is to be called again, -1: nothing is kept. */
int headstart_look(void);

#endif
