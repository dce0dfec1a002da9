/*
 * GuestRPC to hostd over the port `guestrpc`: what VMware's backdoor RPC is on ESXi. Frames of a u32 length and that many bytes;
 * requests `info-get KEY`, `info-set KEY VALUE`; replies `R1 VALUE`, `R0 message`; commands `COS_Halt`, `COS_Reboot`, `COS_Resume`.
 */
#include "tether.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int fd = -1;
static bool connected;
static struct buffer incoming;
static unsigned unawaited; /* replies that will come and that nobody waits for */
static enum rpc_command pending = RPC_NONE;

void rpc_open(void) {
  fd = port_open("guestrpc", O_RDWR | O_NONBLOCK);
  if (fd < 0) {
    say("no guestrpc port");
    return;
  }
  fcntl(fd, F_SETOWN, getpid()); /* SIGIO tells when the host comes and goes */
  fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC);
  rpc_check();
}

/* A port whose host is away is always "ready" to poll: it must not be polled then. */
void rpc_check(void) {
  if (fd < 0) return;
  struct pollfd p = {fd, POLLIN, 0};
  poll(&p, 1, 0);
  connected = !(p.revents & POLLHUP);
}

int rpc_fd(void) { return connected ? fd : -1; }

/* Reads what is there. False: nothing came and the host is away. */
static bool fill(void) {
  uint8_t chunk[4096];
  ssize_t n = read(fd, chunk, sizeof chunk);
  if (n > 0) buffer_append(&incoming, chunk, (size_t)n);
  return n > 0 || (n < 0 && errno == EAGAIN);
}

/* Takes one whole frame out of what was read. NULL: none yet. Commands are noted and passed over. */
static char *next_reply(size_t *length) {
  while (buffer_length(&incoming) >= 4) {
    struct reader r = {incoming.data + incoming.start, incoming.data + incoming.end, false};
    uint32_t size = read_u32(&r);
    if (size > MAX_RPC_FRAME) { /* not ours: start afresh */
      buffer_clear(&incoming);
      return NULL;
    }
    if ((size_t)(r.end - r.at) < size) return NULL;
    char *frame = malloc((size_t)size + 1);
    if (frame == NULL) abort();
    memcpy(frame, r.at, size);
    frame[size] = 0;
    buffer_consume(&incoming, (size_t)size + 4);
    if (frame[0] == 'R' && unawaited > 0) {
      unawaited--;
    } else if (frame[0] == 'R') {
      *length = size;
      return frame;
    }
    if (strcmp(frame, "COS_Halt") == 0) pending = RPC_HALT;
    if (strcmp(frame, "COS_Reboot") == 0) pending = RPC_REBOOT;
    if (strcmp(frame, "COS_Resume") == 0 && pending == RPC_NONE) pending = RPC_RESUME;
    free(frame);
  }
  return NULL;
}

/* The host's coming raises SIGIO (blocked, so it stays pending); the time is for one that is missed. */
static void wait_for_host(void) {
  sigset_t io;
  sigemptyset(&io);
  sigaddset(&io, SIGIO);
  struct timespec most = {0, 200000000};
  sigtimedwait(&io, NULL, &most);
}

void rpc_wait(void) {
  for (;;) {
    struct pollfd p = {fd, POLLIN, 0};
    if (fd < 0 || (poll(&p, 1, 0) >= 0 && !(p.revents & POLLHUP))) break;
    wait_for_host();
  }
  rpc_check();
}

/* One request and its reply. A host that comes back after an absence is asked again. */
static char *ask(const char *request, size_t size, size_t *length, int timeout_ms) {
  uint64_t end = monotonic_ms() + (uint64_t)timeout_ms;
  size_t sent = 0;
  uint8_t *frame = malloc(size + 4);
  if (frame == NULL || fd < 0) {
    free(frame);
    return NULL;
  }
  put_u32(frame, (uint32_t)size);
  memcpy(frame + 4, request, size);
  char *reply = NULL;
  while (reply == NULL && (timeout_ms < 0 || monotonic_ms() < end)) {
    struct pollfd p = {fd, (short)(POLLIN | (sent < size + 4 ? POLLOUT : 0)), 0};
    int ready = poll(&p, 1, timeout_ms < 0 ? 60000 : 50); /* one that waits long is not to be woken for nothing */
    if (ready < 0) continue;
    if (p.revents & POLLHUP) { /* the host is away; what was sent may be lost */
      sent = 0;
      unawaited = 0;
      buffer_clear(&incoming);
      struct timespec pause = {0, 20000000};
      nanosleep(&pause, NULL);
      continue;
    }
    if (sent < size + 4 && (p.revents & POLLOUT)) {
      ssize_t n = write(fd, frame + sent, size + 4 - sent);
      if (n > 0) sent += (size_t)n;
    }
    if (p.revents & POLLIN) fill();
    reply = next_reply(length);
  }
  free(frame);
  return reply;
}

char *rpc_get(const char *key, size_t *length) {
  char request[256];
  int size = snprintf(request, sizeof request, "info-get %s", key);
  char *reply = ask(request, (size_t)size, length, -1);
  if (reply == NULL || *length < 3 || reply[1] != '1') {
    free(reply);
    return NULL;
  }
  *length -= 3;
  memmove(reply, reply + 3, *length + 1);
  return reply;
}

bool rpc_set(const char *key, const char *value, int timeout_ms) {
  char request[MAX_RPC_REQUEST];
  int size = snprintf(request, sizeof request, "info-set %s %s", key, value);
  if (size >= (int)sizeof request) size = sizeof request - 1;
  size_t length;
  char *reply = ask(request, (size_t)size, &length, timeout_ms);
  bool done = reply != NULL && length >= 2 && reply[1] == '1';
  free(reply);
  return done;
}

void rpc_tell(const char *key, const char *value) {
  uint8_t frame[4 + MAX_RPC_REQUEST];
  int size = snprintf((char *)frame + 4, sizeof frame - 4, "info-set %s %s", key, value);
  if (!connected || size >= (int)sizeof frame - 4) {
    rpc_set(key, value, 5000);
    return;
  }
  put_u32(frame, (uint32_t)size);
  if (write_all(fd, frame, (size_t)size + 4)) unawaited++;
}

enum rpc_command rpc_poll(void) {
  size_t length;
  if (fill()) free(next_reply(&length));
  enum rpc_command command = pending;
  pending = RPC_NONE;
  return command;
}
