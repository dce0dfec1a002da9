/*
 * GuestRPC's transport to hostd: a virtio-serial port instead of VMware's backdoor. Frames of a u32 length and that many bytes. From the
 * host the first byte tells them apart: `R` and the reply to the oldest open request, or `C` and a command, `OS_Halt`, `OS_Reboot` or
 * `OS_Resume`.
 */
#include "buffer.h"
#include "platform.h"
#include "platform_qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int fd = -1;
static bool connected;
static struct buffer incoming;
static unsigned unawaited; /* replies that are still to come, and that nobody waits for */
static enum rpc_command pending = RPC_NONE;

void platform_rpc_open(void) {
  fd = qemu_open_rpc(O_RDWR | O_NONBLOCK);
  if (fd < 0) {
    say("no " QEMU_RPC_PORT " port");
    return;
  }
  fcntl(fd, F_SETOWN, getpid()); /* SIGIO when the host comes or goes */
  fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC);
  platform_rpc_check();
}

/* poll returns at once for a port whose host is away, so such a port must not be polled. */
void platform_rpc_check(void) {
  if (fd < 0) return;
  struct pollfd p = {fd, POLLIN, 0};
  poll(&p, 1, 0);
  connected = !(p.revents & POLLHUP);
}

int platform_rpc_fd(void) { return connected ? fd : -1; }

/* Reads what has arrived. False: nothing has, and the host is away. */
static bool fill(void) {
  uint8_t chunk[4096];
  ssize_t n = read(fd, chunk, sizeof chunk);
  if (n > 0) buffer_append(&incoming, chunk, (size_t)n);
  return n > 0 || (n < 0 && errno == EAGAIN);
}

/* The next complete reply that somebody waits for, or NULL. Commands before it are noted in `pending`. */
static char *next_reply(size_t *length) {
  while (buffer_length(&incoming) >= 4) {
    struct reader r = {incoming.data + incoming.start, incoming.data + incoming.end, false};
    uint32_t size = read_u32(&r);
    if (size > MAX_RPC_FRAME) { /* damaged: start afresh */
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

/* SIGIO, which is blocked and so stays pending, tells that the host has come; the timeout is for one that was missed. */
static void wait_for_host(void) {
  sigset_t io;
  sigemptyset(&io);
  sigaddset(&io, SIGIO);
  struct timespec most = {0, 200000000};
  sigtimedwait(&io, NULL, &most);
}

void platform_rpc_wait(void) {
  for (;;) {
    struct pollfd p = {fd, POLLIN, 0};
    if (fd < 0 || (poll(&p, 1, 0) >= 0 && !(p.revents & POLLHUP))) break;
    wait_for_host();
  }
  platform_rpc_check();
}

char *platform_rpc_ask(const char *request, size_t size, size_t *length, int timeout_ms) {
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
    int ready = poll(&p, 1, timeout_ms < 0 ? 60000 : 50); /* an idle spare VM should not wake up for nothing */
    if (ready < 0) continue;
    if (p.revents & POLLHUP) { /* the host is away, and may have lost what was sent */
      sent = 0;
      unawaited = 0;
      buffer_clear(&incoming);
      sleep_ms(20);
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
  if (reply != NULL) memmove(reply, reply + 1, (*length)--); /* without the `R`, with the zero byte */
  return reply;
}

bool platform_rpc_post(const char *request, size_t size) {
  uint8_t frame[4 + MAX_RPC_REQUEST];
  if (!connected || size > MAX_RPC_REQUEST) return false;
  put_u32(frame, (uint32_t)size);
  memcpy(frame + 4, request, size);
  if (write_all(fd, frame, size + 4)) unawaited++;
  return true;
}

enum rpc_command platform_rpc_poll(void) {
  size_t length;
  if (fill()) free(next_reply(&length));
  enum rpc_command command = pending;
  pending = RPC_NONE;
  return command;
}
