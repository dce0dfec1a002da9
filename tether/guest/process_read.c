/* Reading which process the host wants, as ../program/compile.ts writes it. */
#include "process.h"

#include <stdlib.h>
#include <string.h>

bool process_read(struct reader *r, struct process *p) {
  memset(p, 0, sizeof *p);
  uint8_t flags = read_u8(r);
  p->tty = flags & PROCESS_TTY;
  p->open_stdin = flags & PROCESS_OPEN_STDIN;
  p->identify_only = flags & PROCESS_IDENTIFY_ONLY;
  p->unfit_args = flags & PROCESS_UNFIT_ARGS;
  p->user = read_string(r);
  p->cwd = read_string(r);
  p->rows = (uint16_t)read_u32(r);
  p->cols = (uint16_t)read_u32(r);
  p->capabilities = read_u64(r);
  p->args = read_strings(r);
  p->env = read_strings(r);
  p->groups = read_strings(r);
  uint32_t count = read_u32(r);
  if (count > MAX_LIMITS) r->bad = true;
  p->limits = calloc(MAX_LIMITS, sizeof *p->limits);
  if (p->limits == NULL) abort();
  for (uint32_t i = 0; i < count && !r->bad; i++) {
    p->limits[i].resource = read_u32(r);
    p->limits[i].soft = read_u64(r);
    p->limits[i].hard = read_u64(r);
    p->limit_count = i + 1;
  }
  p->no_new_privileges = read_u8(r) & NO_NEW_PRIVILEGES;
  p->oom_score = (int32_t)read_u32(r);
  /* A program compiled by an earlier engine ends before it. */
  p->umask = r->at < r->end ? read_u32(r) & 0777 : USUAL_UMASK;
  return !r->bad && p->args[0] != NULL;
}

void process_free(struct process *p) {
  free(p->user);
  free(p->cwd);
  free_strings(p->args);
  free_strings(p->env);
  free_strings(p->groups);
  free(p->limits);
}
