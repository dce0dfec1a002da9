/* The machine's network interfaces (network.c). */
#ifndef NETWORK_H
#define NETWORK_H

#include "common.h"

void loopback_up(void);
/* Brings all cards up, without an address: before a snapshot is made. */
void prepare_nics(void);
/* NULL or what failed. */
const char *configure_nic(uint32_t index, const char *name, const char *mac, const char *address, uint32_t prefix,
                          const char *gateway, uint32_t mtu);

#endif
