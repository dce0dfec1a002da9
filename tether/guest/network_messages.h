/* What the endpoint asks about the network of a running container (network_messages.c). Each request is answered once. */
#ifndef NETWORK_MESSAGES_H
#define NETWORK_MESSAGES_H

#include "buffer.h"

struct container;

/* Carries a request out, now or, when a card has yet to appear, later. */
void network_message(struct container *c, enum message type, uint32_t id, struct reader *payload);

/* To poll for changes of the machine's cards; -1: no request waits for one. */
int network_fd(void);
/* Looks whether the cards that are waited for are there, and gives up on those that took too long. */
void network_look(void);
/* When network_look is to be called at the latest, in monotonic ms; UINT64_MAX: not before there is a change. */
uint64_t network_due(void);

#endif
