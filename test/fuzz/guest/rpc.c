/* Fuzzes what hostd says by GuestRPC: frames, replies, commands, the seed and base64. */
#include "world.h"
#include "../../../tether/guest/tether.h"
#include "../../../tether/guest/program.h"
#include <linux/fs.h>
#include <linux/random.h>

static uint64_t world_ms(void) { return world.ms += 1; }

#define read world_read
#define write world_write
#define poll world_poll
#define fcntl(...) world_number()
#define ioctl(...) world_number()
#define open(...) world_file()
#define close(fd) ((void)(fd), 0)
#define nanosleep(time, rest) ((void)(time), world.ms += 1, 0)
#define clock_settime(clock, time) ((void)(time), 0)
#define waitpid(...) 0
#define opendir(path) NULL
#define monotonic_ms world_ms

#include "../../../tether/guest/rpc.c"
#define rpc_get world_get
static char *world_get(const char *key, size_t *length);
#include "../../../tether/guest/instance.c"
#undef rpc_get

struct program program;
int port_open(const char *name, int flags) { return (void)name, (void)flags, 7; }
bool write_all(int to, const void *data, size_t length) { return world_write(to, data, length) >= 0; }
const char *mount_root(uint32_t bus, uint32_t unit, bool read_only) { return (void)bus, (void)unit, (void)read_only, "none"; }
void unmount_root(void) {}
void cgroup_rehearse(bool on) { (void)on; }
void program_rehearse(bool on) { (void)on; }
struct started process_start(const struct process *p, bool is_first, pid_t of) { return (void)p, (void)is_first, (void)of, (struct started){.pid = -1}; }

/* A request whose answer never comes waits for ever: it is asked only while there is something to read. */
static char *world_get(const char *key, size_t *length) {
  static char request[64];
  int size = snprintf(request, sizeof request, "info-get %s", key);
  char *reply = ask(request, (size_t)size, length, 50);
  if (reply == NULL || *length < 3 || reply[1] != '1') {
    free(reply);
    return NULL;
  }
  *length -= 3;
  memmove(reply, reply + 3, *length + 1);
  HOLDS(reply[*length] == 0);
  return reply;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  world_begin(data, size);
  buffer_clear(&incoming);
  fd = 7;
  connected = true;
  unawaited = world_chance() % 3;
  pending = RPC_NONE;
  best = UINT64_MAX;
  tracing = false;
  timeline[0] = 0;
  for (int turn = 0; world.at < world.end && turn < 100; turn++) {
    switch (world_chance() % 4) {
      case 0:
        take_seed();
        break;
      case 1:
        rpc_tell("guestinfo.ip", "172.16.0.2");
        trace_mark("fuzz");
        break;
      case 2: {
        size_t length;
        char *text = world_get("guestinfo.caisson.program", &length), *bytes;
        if (text == NULL) break;
        bytes = decode_base64(text, &length);
        HOLDS(length <= strlen(text) * 3 / 4 + 3);
        free(bytes), free(text);
        break;
      }
      default:
        rpc_poll();
    }
  }
  buffer_clear(&incoming);
  return 0;
}
