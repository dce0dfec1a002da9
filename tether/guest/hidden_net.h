/*
 * A network namespace with one card, which the container neither sees nor reaches (hidden_net.c). The container is in the machine's own
 * network namespace, and so these are the other way round: what is not the container's is in one of its own.
 */
#ifndef HIDDEN_NET_H
#define HIDDEN_NET_H

#include "card.h"

/* Makes a namespace; its descriptor, or -1. Without a descriptor, and without users in it, the kernel gives its card back to the container. */
int hidden_make(void);
/*
 * For a child of the tether: takes the card into the namespace, sets it up there and goes there itself. A card that is plugged in is waited
 * for. NULL, or what failed, with its errno.
 */
const char *hidden_enter(int namespace, const struct hidden_card *card);

#endif
