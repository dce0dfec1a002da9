/* Where the time of a start goes, when the host wants to know (trace.c). */
#ifndef TRACE_H
#define TRACE_H

#include "common.h"

void trace_wanted(bool wanted);
void trace_mark(const char *what); /* the time since the last mark went into this */
void trace_tell(void);

#endif
