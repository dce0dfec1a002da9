/* Fuzzes the endpoint's side of the channel: frames, messages, sessions, input, and what waits for the head start. */
#include "world.h"
#include "../../../tether/guest/channel.h"
#include "../../../tether/guest/container.h"
#include "../../../tether/guest/files.h"
#include "../../../tether/guest/messages.h"
#include "../../../tether/guest/netlink.h"
#include "../../../tether/guest/network.h"
#include "../../../tether/guest/network_messages.h"
#include "../../../tether/guest/observe.h"
#include "../../../tether/guest/platform.h"
#include "../../../tether/guest/resolver.h"
#include "../../../tether/guest/rewrite.h"
#include "../../../tether/guest/rpc.h"
#include "../../../tether/guest/session.h"
#include "../../../tether/guest/setup.h"
#include "../../../tether/guest/system.h"
#include "../../../tether/guest/trace.h"
#include "../../../tether/guest/volume_server.h"
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/uio.h>

static int started_count;
static struct started world_start(void) {
  struct started s = {.pid = -1, .in = -1, .out = -1, .err = -1, .code = 127, .message = "not found"};
  if (world_chance() % 4 == 0) return s;
  s.pid = 1000 + started_count++;
  s.in = 100;
  s.out = 101;
  s.err = 102;
  return s;
}
static uint64_t world_ms(void) { return world.ms += 1; }

#define read world_read
#define write world_write
#define poll world_poll
#define kill(pid, number) ((void)(pid), (void)(number), 0)
#define fcntl(...) world_number()
#define ioctl(...) world_number()
#define open(...) world_file()
#define close(fd) ((void)(fd), 0)
#define sched_setaffinity(...) world_number()
#define sleep_ms(time) ((void)(time), world.ms += 1)
#define monotonic_ms world_ms

#define fd channel_port
#define streams channel_streaming
#include "../../../tether/guest/channel.c"
#undef fd
#undef streams
#include "../../../tether/guest/session.c"
#include "../../../tether/guest/headstart.c"
#include "../../../tether/guest/output_log.c"
#include "../../../tether/guest/process_read.c"
#define system_power_off world_power_off
static void world_power_off(void) {}
#include "../../../tether/guest/container.c"
#include "../../../tether/guest/messages.c"
#define socket(...) world_file()
#define bind(...) world_number()
#define recv(...) world_number()
#define count cards_awaited
#define add await_card
#define answer answer_request
#include "../../../tether/guest/network_messages.c"
#undef count
#undef add
#undef answer
#include "../../../tether/guest/card.c"

int platform_open_port(enum platform_port port, int flags) { return (void)port, (void)flags, 100; }
bool write_all(int to, const void *data, size_t length) { return world_write(to, data, length) >= 0; }
struct started process_start(struct container *c, const struct process *p, bool is_first) {
  HOLDS(p->args[0] != NULL && p->limit_count <= MAX_LIMITS);
  for (char **s = p->env; *s != NULL; s++) (void)strlen(*s);
  return (void)c, (void)is_first, world_start();
}
static volatile uint8_t flag;
struct started files_start(const struct container *c, enum files_view view, volatile uint8_t **flags) { return (void)c, (void)view, *flags = &flag, world_start(); }
void files_thaw(const struct container *c) { (void)c; }
void files_ended(const struct container *c, volatile uint8_t *flags) { (void)c, (void)flags; }
struct started observe_start(const struct container *c) { return (void)c, world_start(); }
const char *cgroup_limit(const struct cgroup *group, const char *file, const char *value) { return (void)group, strlen(file) + strlen(value) > 20 ? "no such limit" : NULL; }
const char *cgroup_freeze(const struct cgroup *group, bool on) { return (void)group, on ? NULL : "cannot"; }
uint64_t cgroup_kills(struct cgroup *group) { return (void)group, world_chance() % 64 == 0; }

const char *add_nic(const struct card *card, bool *missing) {
  HOLDS(card->name != NULL && card->mac != NULL && card->address != NULL && card->gateway6 != NULL);
  for (char **s = card->sysctls; *s != NULL; s++) (void)strlen(*s);
  uint8_t all = 0;
  for (size_t i = 0; i < card->filter_length; i++) all ^= card->filter[i];
  *missing = world_chance() % 4 == 0;
  return *missing || all == 1 ? "cannot" : NULL;
}
const char *leases_address(const char *mac) { return strlen(mac) > 20 || world_chance() % 2 == 0 ? NULL : "10.9.0.2"; }
const char *remove_nic(const char *mac, const uint8_t *filter, size_t length) {
  (void)strlen(mac);
  return length > 0 && filter[length - 1] == 0 ? "cannot" : NULL;
}
const char *set_default_route(const char *gateway, const char *mac, bool ipv6) { return strlen(gateway) + strlen(mac) > 40 || ipv6 ? "cannot" : NULL; }
const char *rewrite_file(struct container *c, const char *path, enum changed changed, const char *content) {
  (void)c, (void)changed;
  return strlen(path) + strlen(content) > 60 ? "cannot" : NULL;
}
void volume_server_message(struct container *c, enum message type, uint32_t id, struct reader *payload) {
  struct hidden_card card = hidden_card_read(payload);
  char **clients = read_strings(payload);
  (void)c, (void)strlen(card.mac), (void)strlen(card.address);
  for (char **s = clients; *s != NULL; s++) (void)strlen(*s);
  channel_send(MESSAGE_ANSWERED, id, "", type == MESSAGE_VOLUME_SERVE ? 0 : 1);
  hidden_card_free(&card);
  free_strings(clients);
}
void volume_server_end_all(const struct container *c) { (void)c; }
const char *resolver_set(const struct container *c, char **servers) {
  (void)c;
  for (char **s = servers; *s != NULL; s++) (void)strlen(*s);
  return NULL;
}

/* The only container of the machine. */
static struct container *const only = &containers[0];

static void forget(void) {
  while (sessions != NULL) session_remove(sessions);
  while (only->headstart.kept != NULL) {
    struct kept *one = only->headstart.kept;
    only->headstart.kept = one->next;
    free(one);
  }
  buffer_clear(&incoming), buffer_clear(&outgoing);
  channel_port = 7;
  connected = synchronised = missed = channel_streaming = streams = false;
  ahead_until = 0;
  static const struct channel_listener messages = {message_connected, message_received, sessions_disconnect};
  listener = &messages;
  /* Cards that are still waited for are given up. */
  world.ms += WAIT_MS;
  while (cards_awaited > 0) network_look();
  containers_make();
  only->log.fd = 100;
}

static void look_at_sessions(void) {
  for (struct session *s = sessions; s != NULL; s = s->next) {
    HOLDS(buffer_length(&s->input) <= most_input(s));
    session_input(s);
    if (s->out >= 0 && session_takes_output(s) && world_chance() % 2 == 0) session_output(s, &s->out, STREAM_STDOUT);
  }
  headstart_look(only, message_act);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  forget();
  world_begin(data, size);
  channel_check();
  bool runs = world_chance() % 4 != 0;
  if (runs) {
    only->state = CONTAINER_RUNNING;
    only->first = 999;
    if (world_chance() % 2 == 0) headstart_begin(&only->headstart, only->first);
    struct started none = {.pid = 999, .in = 100, .out = 101, .err = 102};
    session_add(only, SESSION_FIRST, only->first_session, &none, world_chance() % 2 == 0);
  }
  for (int turn = 0; world.at < world.end && turn < 10000; turn++) {
    channel_readable();
    look_at_sessions();
    channel_writable();
    if (world_chance() % 16 == 0) network_look();
    if (world_chance() % 64 == 0) channel_check();
  }
  world.gone = true;
  channel_readable();
  channel_check();
  forget();
  return 0;
}
