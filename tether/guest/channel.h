/* The channel to the endpoint (channel.c). */
#ifndef CHANNEL_H
#define CHANNEL_H

#include "buffer.h"

/* Who is told what happens on it. */
struct channel_listener {
  void (*connected)(void); /* a connection begins */
  void (*received)(enum message type, uint32_t session, struct reader *payload); /* the payload is not to be kept */
  void (*disconnected)(void);
};
void channel_open(const struct channel_listener *listener);
int channel_fd(void); /* to poll; -1 while the host is away */
bool channel_wants_write(void);
void channel_readable(void);
void channel_writable(void);
void channel_check(void);   /* the host may have come or gone: after SIGIO, and after POLLHUP */
bool channel_streams(void); /* a lot is coming in */
bool channel_full(void);    /* no more output is taken for now */

/* While the host is away, what is sent is dropped. */
void channel_send(enum message type, uint32_t session, const void *payload, size_t length);
void channel_send_failed(uint32_t session, int code, const char *message);
void channel_send_exited(uint32_t session, int code, int signal, bool oom);
/*
 * A frame without a copy: the caller puts its payload, of `length` bytes at most, FRAME_HEAD bytes behind where this points, and then
 * sends it, or does not.
 */
uint8_t *channel_frame(size_t length);
void channel_send_frame(enum message type, uint32_t session, size_t length);
/* Waits until all was sent. */
void channel_flush(int timeout_ms);

#endif
