/* A container's life: its program, the start and the end of its first process, and what the host is told of that. */
#include "container.h"
#include "channel.h"
#include "leases.h"
#include "rpc.h"
#include "session.h"
#include "system.h"
#include "trace.h"
#include "volume_server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define REPORT_MS 30000 /* hostd may be restarting, and the exit code is worth the wait */

static const struct {
  const char *root, *volumes, *prepared, *files, *cgroup, *status_key;
  uint32_t first_session;
} places[MAX_CONTAINERS] = {
  {.root = "/c", .volumes = "/volumes", .prepared = "/prepared", .files = "/files", .cgroup = "/cgroup/container", .status_key = STATUS_KEY, .first_session = 0},
};

struct container containers[MAX_CONTAINERS];

void containers_make(void) {
  for (size_t i = 0; i < MAX_CONTAINERS; i++)
    containers[i] = (struct container){
      .root = places[i].root,
      .volumes = places[i].volumes,
      .prepared = places[i].prepared,
      .files = places[i].files,
      .status_key = places[i].status_key,
      .first_session = places[i].first_session,
      .cgroup = {.path = places[i].cgroup, .fd = -1, .events = -1},
      .log = {.fd = -1},
      .freeze = FREEZE_THAWED,
      .state = CONTAINER_WAITING,
      .waiting = {.credit = OUTPUT_WINDOW},
      .first = -1,
    };
}

static void __attribute__((noreturn)) fail_start(struct container *c, int code, const char *message) {
  char status[700];
  snprintf(status, sizeof status, "failed %d %s", code, message);
  say("%s", status);
  channel_send_failed(c->first_session, code, message);
  channel_flush(1000);
  rpc_set(c->status_key, status, REPORT_MS);
  unmount_root(c);
  system_power_off();
}

void container_load(struct container *c) {
  size_t length;
  char *text = rpc_get(PROGRAM_KEY, &length);
  trace_mark("program");
  if (text == NULL) fail_start(c, 128, "this VM has no program");
  char *bytes = decode_base64(text, &length);
  free(text);
  const char *failed = program_load(c, (uint8_t *)bytes, length);
  if (failed != NULL) fail_start(c, 128, failed);
  free(bytes);
  c->gate_end = monotonic_ms() + c->program.gate_timeout_ms;
}

static void start_first(struct container *c) {
  trace_mark("gate");
  struct started started = process_start(c, &c->program.process, true);
  trace_mark("process");
  if (started.pid < 0) fail_start(c, started.code, started.message);
  c->state = CONTAINER_RUNNING;
  c->first = started.pid;
  headstart_begin(&c->headstart, c->first);
  struct session *s = session_add(c, SESSION_FIRST, c->first_session, &started, c->program.process.tty);
  s->subscribed = c->waiting.subscribed && channel_fd() >= 0;
  s->credit = c->waiting.credit;
  session_tell_started(s);
  channel_writable();
  char status[80];
  snprintf(status, sizeof status, "started %llu %d", (unsigned long long)now_ns(), started.pid);
  rpc_tell(c->status_key, status);
  trace_tell();
}

void container_advance(struct container *c) {
  if (c->state == CONTAINER_WAITING && (c->go || monotonic_ms() >= c->gate_end)) start_first(c);
  if (c->state == CONTAINER_STOPPING && c->kill_at != 0 && monotonic_ms() >= c->kill_at) {
    kill(c->first, SIGKILL);
    c->kill_at = 0;
  }
}

uint64_t container_due(const struct container *c) {
  if (c->state == CONTAINER_WAITING) return c->gate_end;
  return c->state == CONTAINER_STOPPING && c->kill_at != 0 ? c->kill_at : UINT64_MAX;
}

void container_stop(struct container *c) {
  if (c->state != CONTAINER_RUNNING) return;
  c->state = CONTAINER_STOPPING;
  kill(c->first, (int)c->program.stop_signal);
  if (c->freeze != FREEZE_THAWED) cgroup_freeze(&c->cgroup, false); /* a frozen process would not see the signal */
  c->kill_at = monotonic_ms() + 1000u * c->program.stop_timeout_s;
}

const char *container_freeze(struct container *c, enum freeze wanted) {
  const char *failed = NULL;
  if ((wanted == FREEZE_THAWED) != (c->freeze == FREEZE_THAWED)) failed = cgroup_freeze(&c->cgroup, wanted != FREEZE_THAWED);
  if (failed == NULL) c->freeze = wanted;
  return failed;
}

void container_tell_kills(const struct container *c, bool news) {
  uint8_t payload = news;
  channel_send(MESSAGE_OOM, c->first_session, &payload, 1);
}

void container_check_memory(struct container *c) {
  uint64_t kills = cgroup_kills(&c->cgroup);
  if (kills > c->kills_told) container_tell_kills(c, true);
  c->kills_told = kills;
}

void container_end(struct container *c, int code, int signal) {
  container_check_memory(c);
  bool oom = c->kills_told > 0;
  channel_send_exited(c->first_session, code, signal, oom);
  channel_writable();
  sessions_end_helpers(c);
  leases_end_all();
  volume_server_end_all(c);
  char status[120];
  snprintf(status, sizeof status, "exited %d %d %d %llu", code, signal, oom, (unsigned long long)now_ns());
  unmount_root(c);
  rpc_set(c->status_key, status, REPORT_MS);
  channel_flush(2000);
  system_power_off(); /* with more than one container: after the last */
}
