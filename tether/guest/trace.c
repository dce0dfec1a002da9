/* See trace.h. */
#include "trace.h"
#include "rpc.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static bool tracing;
static char timeline[512];

void trace_wanted(bool wanted) { tracing = wanted; }

void trace_mark(const char *what) {
  static uint64_t last;
  struct timespec now;
  if (!tracing) return;
  clock_gettime(CLOCK_MONOTONIC, &now);
  uint64_t us = (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
  size_t used = strlen(timeline);
  snprintf(timeline + used, sizeof timeline - used, "%s%s %llu.%llu", used == 0 ? "" : ", ", what, (unsigned long long)(last == 0 ? 0 : (us - last) / 1000), (unsigned long long)(last == 0 ? 0 : (us - last) / 100 % 10));
  last = us;
}

void trace_tell(void) {
  if (tracing) rpc_tell(TIMELINE_KEY, timeline);
}
