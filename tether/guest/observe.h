/* The observer (observe.c). */
#ifndef OBSERVE_H
#define OBSERVE_H

#include "process.h"

struct container;

/*
 * Starts an observer: for each byte on `in`, of enum observation, one record goes to `out`, with what the kernel says of the container's
 * processes or of what they use (../protocol/observation.ts).
 */
struct started observe_start(const struct container *c);

#endif
