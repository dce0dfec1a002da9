/* What may pass a network card: rules of the kernel's nf_tables (packet_filter.c). */
#ifndef PACKET_FILTER_H
#define PACKET_FILTER_H

#include "common.h"

#include <netinet/in.h>

/*
 * Passes on what ../program/packet-filter.ts has made for the card with this name: its rules, or that it has none any more. The kernel's
 * modules are loaded for the first rules; before, there is nothing to take away. NULL or what failed: then nothing has changed.
 */
const char *packet_filter_set(const char *name, const uint8_t *rules, size_t length);
/* The same, with these addresses for those of the card's peers, which the host did not know. */
const char *packet_filter_set_peers(const char *name, const uint8_t *rules, size_t length, struct in_addr first, struct in_addr last);
const char *packet_filter_remove(const char *name, const uint8_t *rules, size_t length);

#endif
