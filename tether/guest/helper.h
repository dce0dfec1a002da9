/* Helpers of the tether: children that answer requests over a session (helper.c). */
#ifndef HELPER_H
#define HELPER_H

#include "process.h"

/*
 * Forks a helper. In the child, where `pid` is 0, standard input and output are the session's pipes, and nothing else is open; it must not
 * return to the tether's loop. In the tether, a `pid` below 0 means that it could not be forked.
 */
struct started helper_fork(void);

#endif
