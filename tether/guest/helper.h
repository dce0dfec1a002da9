/* Helpers of the tether: children that are asked over a session (helper.c). */
#ifndef HELPER_H
#define HELPER_H

#include "tether.h"

/*
 * Forks a helper. In the child, whose `pid` is 0, the session's pipes are standard input and output and nothing else is open; it must not
 * return to the tether's loop. In the tether a `pid` below 0 says that there was no room for it.
 */
struct started helper_fork(void);

#endif
