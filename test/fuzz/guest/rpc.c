/* Fuzzes hostd's side of GuestRPC: frames, replies, commands, the seed and base64. */
#include "world.h"
#include "../../../tether/guest/container.h"
#include "../../../tether/guest/instance.h"
#include "../../../tether/guest/platform.h"
#include "../../../tether/guest/rpc.h"
#include "../../../tether/guest/trace.h"
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
#define sleep_ms(time) ((void)(time), world.ms += 1)
#define clock_settime(clock, time) ((void)(time), 0)
#define waitpid(...) 0
#define opendir(path) NULL
#define monotonic_ms world_ms

#include "../../../tether/guest/platform_qemu_rpc.c"
/* A request whose answer never comes waits forever: it is made only while there is something to read. */
#define platform_rpc_ask(request, size, length, timeout) platform_rpc_ask(request, size, length, (timeout) < 0 ? 50 : (timeout))
#include "../../../tether/guest/rpc.c"
#include "../../../tether/guest/trace.c"
static char *world_get(const char *key, size_t *length) {
  char *value = rpc_get(key, length);
  HOLDS(value == NULL || value[*length] == 0);
  return value;
}
#define rpc_get world_get
#include "../../../tether/guest/instance.c"

struct container containers[MAX_CONTAINERS];
int qemu_open_rpc(int flags) { return (void)flags, 7; }
bool write_all(int to, const void *data, size_t length) { return world_write(to, data, length) >= 0; }
const char *mount_root(const struct container *c, uint32_t bus, uint32_t unit, bool read_only) { return (void)c, (void)bus, (void)unit, (void)read_only, "none"; }
void unmount_root(struct container *c) { (void)c; }
int cgroup_of_rehearsals(void) { return 7; }
void resolver_rehearse(const struct container *c) { (void)c; }
void program_rehearsed(struct program *program) { (void)program; }
struct started process_start(struct container *c, const struct process *p, bool is_first) { return (void)c, (void)p, (void)is_first, (struct started){.pid = -1}; }

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
        rpc_tell(IP_KEY, "172.16.0.2");
        trace_mark("fuzz");
        break;
      case 2: {
        size_t length;
        char *text = world_get(PROGRAM_KEY, &length), *bytes;
        if (text == NULL) break;
        bytes = decode_base64(text, &length);
        HOLDS(length <= strlen(text) * 3 / 4 + 3);
        free(bytes), free(text);
        break;
      }
      default:
        platform_rpc_poll();
    }
  }
  buffer_clear(&incoming);
  return 0;
}
