/* The observer (observe.c). */
#ifndef OBSERVE_H
#define OBSERVE_H

#include "tether.h"

/*
 * Starts an observer: each byte on `in` asks for one record, which goes to `out`: u32 length, then pairs of strings, what and its text
 * as the kernel gives it. 'p': the container's processes; 's': what the container uses.
 */
struct started observe_start(pid_t container);

#endif
