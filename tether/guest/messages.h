/* What the endpoint asks, and what it is told when it connects (messages.c). */
#ifndef MESSAGES_H
#define MESSAGES_H

#include "buffer.h"

struct container;

/* A message has arrived: it is acted on, now or after the head start of the container's first process. */
void message_received(enum message type, uint32_t id, struct reader *payload);
/* Acts on a message whose time has come. */
void message_act(struct container *c, enum message type, uint32_t id, struct reader *payload);
/* A connection begins: the endpoint learns what runs. */
void message_connected(void);

#endif
