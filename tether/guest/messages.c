/* See messages.h. A message's id is a session's, or, for those that are answered once, the number of a request. */
#include "messages.h"
#include "channel.h"
#include "container.h"
#include "files.h"
#include "network_messages.h"
#include "observe.h"
#include "session.h"
#include "volume_server.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static const char not_running[] = "the container is not running", damaged[] = "damaged request";

/* A message names no container: it is for the one that its session belongs to, else for the first. */
static struct container *container_of(uint32_t id) {
  struct session *s = session_find(id);
  return s == NULL ? &containers[0] : s->container;
}

static void begin_session(struct container *c, enum session_kind kind, uint32_t id, const struct started *started, bool tty, volatile uint8_t *frozen) {
  struct session *s = session_add(c, kind, id, started, tty);
  s->frozen = frozen;
  s->subscribed = true;
  s->credit = OUTPUT_WINDOW;
  session_tell_started(s);
}

static void start_exec(struct container *c, uint32_t id, struct reader *payload) {
  struct process p;
  bool good = process_read(payload, &p);
  if (!good || !container_runs(c) || session_find(id) != NULL) {
    channel_send_failed(id, 128, good ? not_running : damaged);
  } else {
    struct started started = process_start(c, &p, false);
    if (started.pid < 0) channel_send_failed(id, started.code, started.message);
    else begin_session(c, SESSION_EXEC, id, &started, p.tty, NULL);
  }
  process_free(&p);
}

/* A new session could be that of a helper. */
static bool takes_helper(const struct container *c, uint32_t id) { return container_runs(c) && session_find(id) == NULL; }

static void start_files(struct container *c, uint32_t id, struct reader *payload) {
  uint8_t view = read_u8(payload);
  struct started started = {.pid = -1};
  volatile uint8_t *frozen = NULL;
  bool takes = !payload->bad && takes_helper(c, id);
  if (takes) started = files_start(c, view, &frozen);
  if (started.pid < 0) {
    channel_send_failed(id, 128, takes ? started.message : not_running);
    return;
  }
  begin_session(c, SESSION_FILES, id, &started, false, frozen);
  uint8_t credit[4];
  put_u32(credit, FILES_WINDOW - INPUT_WINDOW);
  channel_send(MESSAGE_STDIN_CREDIT, id, credit, sizeof credit);
}

static void start_observer(struct container *c, uint32_t id) {
  struct started started = {.pid = -1};
  bool takes = takes_helper(c, id);
  if (takes) started = observe_start(c);
  if (started.pid < 0) channel_send_failed(id, 128, takes ? started.message : not_running);
  else begin_session(c, SESSION_OBSERVER, id, &started, false, NULL);
}

/* Limits are written in order, up to the first that fails. The answer is what failed, or empty. */
static void set_limits(struct container *c, uint32_t id, struct reader *payload) {
  const char *failed = NULL;
  while (failed == NULL && payload->at < payload->end && !payload->bad) {
    char *file = read_string(payload), *value = read_string(payload);
    failed = payload->bad ? damaged : cgroup_limit(&c->cgroup, file, value);
    free(file), free(value);
  }
  channel_send(MESSAGE_LIMITED, id, failed, failed == NULL ? 0 : strlen(failed));
}

/* The answer is the state, and what failed. */
static void set_freeze(struct container *c, uint32_t id, struct reader *payload) {
  uint8_t wanted = read_u8(payload), answer[256];
  bool known = wanted == FREEZE_THAWED || wanted == FREEZE_FROZEN || wanted == FREEZE_HELD || wanted == FREEZE_ASK;
  const char *failed = payload->bad || !known ? damaged : NULL;
  if (failed == NULL && wanted != FREEZE_ASK) failed = container_freeze(c, wanted);
  answer[0] = c->freeze;
  size_t length = failed == NULL ? 0 : strnlen(failed, sizeof answer - 1);
  if (failed != NULL) memcpy(answer + 1, failed, length);
  channel_send(MESSAGE_FROZEN, id, answer, 1 + length);
}

static void resize(struct container *c, struct session *s, struct reader *payload) {
  uint16_t rows = (uint16_t)read_u32(payload), cols = (uint16_t)read_u32(payload);
  struct winsize size = {rows, cols, 0, 0};
  if (s == NULL && !payload->bad) { /* before the first process runs */
    c->program.process.rows = rows;
    c->program.process.cols = cols;
  } else if (s != NULL && s->tty && s->out >= 0) {
    ioctl(s->out, TIOCSWINSZ, &size);
  }
}

static void subscribe(struct container *c, uint32_t id, struct session *s, uint32_t credit) {
  if (s == NULL && id == c->first_session && !container_runs(c)) c->waiting.subscribed = true, c->waiting.credit = credit;
  if (s != NULL) s->subscribed = true, s->credit = credit;
  channel_send(MESSAGE_SUBSCRIBED, id, NULL, 0);
}

void message_received(enum message type, uint32_t id, struct reader *payload) {
  struct container *c = container_of(id);
  if (!headstart_keeps(c, type, id, payload)) message_act(c, type, id, payload);
}

void message_act(struct container *c, enum message type, uint32_t id, struct reader *payload) {
  struct session *s = session_find(id);
  uint32_t value;
  switch (type) {
    case MESSAGE_GO:
      c->go = true;
      break;
    case MESSAGE_SUBSCRIBE:
      subscribe(c, id, s, read_u32(payload));
      break;
    case MESSAGE_UNSUBSCRIBE:
      if (s != NULL) s->subscribed = false;
      break;
    case MESSAGE_CREDIT:
      value = read_u32(payload);
      if (s != NULL) s->credit = s->credit + value < OUTPUT_WINDOW ? s->credit + value : OUTPUT_WINDOW; /* never more than the window */
      break;
    case MESSAGE_STDIN:
      if (s != NULL && !session_take(s, payload->at, (size_t)(payload->end - payload->at))) say("input beyond the window was dropped");
      break;
    case MESSAGE_STDIN_EOF:
      if (s != NULL) s->in_eof = true, session_input(s);
      break;
    case MESSAGE_RESIZE:
      if (s != NULL || id == c->first_session) resize(c, s, payload);
      break;
    case MESSAGE_SIGNAL:
      value = read_u32(payload);
      if (s != NULL && !s->exited && value > 0 && value < 65) kill(s->pid, (int)value);
      break;
    case MESSAGE_EXEC:
      start_exec(c, id, payload);
      break;
    case MESSAGE_FILES:
      start_files(c, id, payload);
      break;
    case MESSAGE_OBSERVE:
      start_observer(c, id);
      break;
    case MESSAGE_LIMIT:
      set_limits(c, id, payload);
      break;
    case MESSAGE_FREEZE:
      set_freeze(c, id, payload);
      break;
    case MESSAGE_NIC_ADD:
    case MESSAGE_NIC_REMOVE:
    case MESSAGE_ROUTES:
    case MESSAGE_REWRITE:
    case MESSAGE_NAME_SERVERS:
      network_message(c, type, id, payload);
      break;
    case MESSAGE_VOLUME_SERVE:
    case MESSAGE_VOLUME_UNSERVE:
    case MESSAGE_VOLUME_FORGET:
      volume_server_message(c, type, id, payload);
      break;
    case MESSAGE_PING:
      channel_send(MESSAGE_PONG, id, NULL, 0);
      break;
    default:
      say("unknown message %d", type);
  }
}

void message_connected(void) {
  uint8_t version[4];
  put_u32(version, PROTOCOL_VERSION);
  channel_send(MESSAGE_HELLO, containers[0].first_session, version, sizeof version);
  for each_container(c)
    if (c->kills_told > 0) container_tell_kills(c, false);
  for (struct session *s = sessions; s != NULL; s = s->next) {
    s->subscribed = false;
    session_tell_started(s);
  }
}
