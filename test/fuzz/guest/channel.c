/* Fuzzes what the endpoint says on the channel: frames, the messages in them, sessions and their input, what waits for the head start. */
#include "world.h"
#include "../../../tether/guest/tether.h"
#include "../../../tether/guest/confine.h"
#include "../../../tether/guest/files.h"
#include "../../../tether/guest/headstart.h"
#include "../../../tether/guest/init.h"
#include "../../../tether/guest/observe.h"
#include "../../../tether/guest/program.h"
#include "../../../tether/guest/user.h"
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
#define nanosleep(time, rest) ((void)(time), world.ms += 1, 0)
#define monotonic_ms world_ms

#define fd channel_port
#define streams channel_streaming
#include "../../../tether/guest/channel.c"
#undef fd
#undef streams
#include "../../../tether/guest/session.c"
#include "../../../tether/guest/headstart.c"
#define process_start real_process_start
#include "../../../tether/guest/process.c"
#undef process_start
#define main tether_main
#define program_load(bytes, length) ((void)(bytes), (void)(length), "none")
#include "../../../tether/guest/main.c"

struct program program;
int port_open(const char *name, int flags) { return (void)name, (void)flags, 100; }
bool write_all(int to, const void *data, size_t length) { return world_write(to, data, length) >= 0; }
struct started process_start(const struct process *p, bool is_first, pid_t of) {
  HOLDS(p->args[0] != NULL && p->limit_count <= MAX_LIMITS);
  for (char **s = p->env; *s != NULL; s++) (void)strlen(*s);
  return (void)is_first, (void)of, world_start();
}
static volatile uint8_t flag;
struct started files_start(uint8_t view, pid_t of, volatile uint8_t **flags) { return (void)view, (void)of, *flags = &flag, world_start(); }
void files_thaw(void) {}
void files_ended(volatile uint8_t *flags) { (void)flags; }
struct started observe_start(pid_t of) { return (void)of, world_start(); }
const char *cgroup_limit(const char *file, const char *value) { return strlen(file) + strlen(value) > 20 ? "no such limit" : NULL; }
const char *cgroup_freeze(bool on) { return on ? NULL : "cannot"; }
uint64_t cgroup_kills(void) { return world_chance() % 64 == 0; }

static void forget(void) {
  while (sessions != NULL) session_remove(sessions);
  while (kept != NULL) {
    struct kept *one = kept;
    kept = one->next;
    free(one);
  }
  last = &kept;
  buffer_clear(&incoming), buffer_clear(&outgoing);
  channel_port = 7;
  connected = synchronised = missed = channel_streaming = streams = over = moved = go = ending = reboot_after = first_subscribed = false;
  ahead_until = old = looked = stop_at = kills_told = 0;
  looks = 0;
  first = container = -1;
  first_credit = OUTPUT_WINDOW;
  freeze_state = FREEZE_THAWED;
  log_offset = last_mark = 0;
  log_fd = 100;
}

static void look_at_sessions(void) {
  for (struct session *s = sessions; s != NULL; s = s->next) {
    HOLDS(buffer_length(&s->input) <= (s->files ? FILES_WINDOW : 2 * INPUT_WINDOW));
    session_input(s);
    if (s->out >= 0 && takes_output(s) && world_chance() % 2 == 0) session_output(s, &s->out, 1);
  }
  headstart_look();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  forget();
  world_begin(data, size);
  channel_check();
  bool runs = world_chance() % 4 != 0;
  if (runs) {
    container = 999;
    if (world_chance() % 2 == 0) headstart_begin(container);
    struct started none = {.pid = 999, .in = 100, .out = 101, .err = 102};
    session_add(0, &none, world_chance() % 2 == 0);
  }
  for (int turn = 0; world.at < world.end && turn < 10000; turn++) {
    channel_readable();
    look_at_sessions();
    channel_writable();
    if (world_chance() % 64 == 0) channel_check();
  }
  world.gone = true;
  channel_readable();
  channel_check();
  forget();
  return 0;
}
