/* What may pass a network card: rules of the kernel's nf_tables (packet_filter.c). */
#ifndef PACKET_FILTER_H
#define PACKET_FILTER_H

#include "common.h"

/*
 * Passes on what ../program/packet-filter.ts has made for the card with this name: its rules, or that it has none any more. The kernel's
 * modules are loaded for the first rules; before, there is nothing to take away. NULL or what failed: then nothing has changed.
 */
const char *packet_filter_set(const char *name, const uint8_t *rules, size_t length);
const char *packet_filter_remove(const char *name, const uint8_t *rules, size_t length);

#endif
