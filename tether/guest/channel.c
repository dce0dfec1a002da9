/*
 * See channel.h. Frames are u32 length, u8 type, u32 session, payload (../protocol/frames.ts). Each side begins a connection with the
 * preamble; what comes before it belongs to a connection that broke off, and is skipped.
 */
#include "channel.h"
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUT_BOUND (256u * 1024)
#define READ_PIECE 4096 /* a port gives no more at once */
#define READ_MOST (512u * 1024)
#define MUCH (32u * 1024)
#define AHEAD_MS 1000

static const struct channel_listener *listener;
static int fd = -1;
static bool connected, synchronised;
static bool missed; /* that the host went and came back: a suspended machine hears of both at once */
static uint64_t ahead_until; /* monotonic ms; until then, news of a connection's end may be of one that the present one has followed */
static bool streams;
static struct buffer incoming, outgoing;

/* SIGIO tells when the host comes. While it is here, SIGIO would come with each piece of data, and poll tells when the host goes. */
static void expect_host(void) { fcntl(fd, F_SETFL, O_NONBLOCK | (connected ? 0 : O_ASYNC)); }

void channel_open(const struct channel_listener *who) {
  listener = who;
  fd = platform_open_port(PORT_CHANNEL, O_RDWR | O_NONBLOCK);
  if (fd < 0) return;
  fcntl(fd, F_SETOWN, getpid());
  expect_host();
}

int channel_fd(void) { return connected ? fd : -1; }
bool channel_wants_write(void) { return connected && buffer_length(&outgoing) > 0; }
bool channel_full(void) { return buffer_length(&outgoing) > OUT_BOUND; }

static void end_streams(void) {
  buffer_clear(&outgoing);
  listener->disconnected();
}

static short look(void) {
  struct pollfd p = {fd, POLLIN | POLLOUT, 0};
  poll(&p, 1, 0);
  return p.revents;
}

/* What a new host wrote may be read before the kernel hears that the earlier one went and the new one came. */
static bool is_told_late(void) {
  while (monotonic_ms() < ahead_until) {
    if (!(look() & POLLHUP)) {
      ahead_until = 0;
      return true;
    }
    sleep_ms(1);
  }
  return false;
}

static void disconnect(void) {
  if (is_told_late()) return;
  connected = synchronised = missed = false;
  buffer_clear(&incoming);
  end_streams();
  expect_host();
  kill(getpid(), SIGIO); /* it may have come back before SIGIO was asked for */
}

static void begin(void) {
  buffer_append(&outgoing, PREAMBLE, sizeof PREAMBLE);
  listener->connected();
}

void channel_check(void) {
  if (fd < 0) return;
  short found = look();
  bool here = !(found & POLLHUP);
  if (here && !connected) {
    connected = true;
    expect_host();
    begin();
  } else if (!here && connected && !(found & POLLIN)) {
    disconnect();
  }
}

uint8_t *channel_frame(size_t length) { return buffer_room(&outgoing, FRAME_HEAD + length); }

void channel_send_frame(enum message type, uint32_t session, size_t length) {
  if (!connected) return;
  uint8_t *head = outgoing.data + outgoing.end;
  put_u32(head, (uint32_t)length + 5);
  head[4] = (uint8_t)type;
  put_u32(head + 5, session);
  outgoing.end += FRAME_HEAD + length;
}

void channel_send(enum message type, uint32_t session, const void *payload, size_t length) {
  if (!connected) return;
  uint8_t *frame = channel_frame(length);
  if (length > 0) memcpy(frame + FRAME_HEAD, payload, length);
  channel_send_frame(type, session, length);
}

void channel_send_failed(uint32_t session, int code, const char *message) {
  uint8_t payload[4 + 600];
  size_t length = strnlen(message, sizeof payload - 4);
  put_u32(payload, (uint32_t)code);
  memcpy(payload + 4, message, length);
  channel_send(MESSAGE_FAILED, session, payload, 4 + length);
}

void channel_send_exited(uint32_t session, int code, int signal, bool oom) {
  uint8_t payload[9];
  put_u32(payload, (uint32_t)code);
  put_u32(payload + 4, (uint32_t)signal);
  payload[8] = oom;
  channel_send(MESSAGE_EXITED, session, payload, sizeof payload);
}

void channel_writable(void) {
  while (connected && buffer_length(&outgoing) > 0) {
    size_t length = buffer_length(&outgoing);
    ssize_t n = write(fd, outgoing.data + outgoing.start, length > PORT_WRITE ? PORT_WRITE : length);
    if (n <= 0) return;
    buffer_consume(&outgoing, (size_t)n);
  }
}

void channel_flush(int timeout_ms) {
  uint64_t end = monotonic_ms() + (uint64_t)timeout_ms;
  while (connected && buffer_length(&outgoing) > 0 && monotonic_ms() < end) {
    struct pollfd p = {fd, POLLOUT, 0};
    poll(&p, 1, 50);
    if (p.revents & POLLHUP) return;
    channel_writable();
  }
}

/* Looks for the preamble, and drops everything up to its end. False: it has not come yet. */
static bool synchronise(void) {
  uint8_t *found = memmem(incoming.data + incoming.start, buffer_length(&incoming), PREAMBLE, sizeof PREAMBLE);
  if (found == NULL) {
    size_t length = buffer_length(&incoming);
    if (length > sizeof PREAMBLE - 1) buffer_consume(&incoming, length - (sizeof PREAMBLE - 1));
    return false;
  }
  buffer_consume(&incoming, (size_t)(found - (incoming.data + incoming.start)) + sizeof PREAMBLE);
  return synchronised = true;
}

static void handle_frames(void) {
  if (!synchronised && !synchronise()) return;
  if (missed) {
    missed = false;
    ahead_until = monotonic_ms() + AHEAD_MS;
    end_streams();
    begin();
  }
  while (buffer_length(&incoming) >= FRAME_HEAD) {
    struct reader r = {incoming.data + incoming.start, incoming.data + incoming.end, false};
    uint32_t size = read_u32(&r);
    if (size < 5 || size > MAX_HOST_FRAME) { /* a new connection's preamble, or damage: look for the next preamble */
      synchronised = false;
      missed = true;
      handle_frames();
      return;
    }
    if ((size_t)(r.end - r.at) < size) return;
    r.end = r.at + size;
    enum message type = read_u8(&r);
    uint32_t session = read_u32(&r);
    /* The payload is consumed afterwards: the handler must not keep it. */
    listener->received(type, session, &r);
    if (!connected) return;
    buffer_consume(&incoming, (size_t)size + 4);
  }
}

void channel_readable(void) {
  size_t got = 0;
  bool gone = false;
  while (got < READ_MOST) {
    ssize_t n = read(fd, buffer_room(&incoming, READ_PIECE), READ_PIECE);
    if (n < 0) break;
    gone = n == 0;
    if (gone) break;
    incoming.end += (size_t)n;
    got += (size_t)n;
  }
  handle_frames();
  if (gone && connected) disconnect();
  streams = got >= MUCH || buffer_length(&incoming) > 0;
}

bool channel_streams(void) {
  bool result = streams;
  streams = false;
  return result;
}
