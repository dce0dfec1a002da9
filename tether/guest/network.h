/* The machine's network cards: their names, addresses and routes (network.c). */
#ifndef NETWORK_H
#define NETWORK_H

#include "card.h"
#include "dhcp.h"

#include <net/if.h>

void loopback_up(void);
/* Uses other sockets from now on: in a child, or in another network namespace. */
void network_forget_sockets(void);
/* The card with this MAC address, in this process's network namespace. */
bool network_find(const char *mac, char name[IFNAMSIZ]);
/* For a child in another network namespace: sets up the card of that name. NULL or what failed. */
const char *network_set_up_hidden(const struct card *card);
/* Brings all cards up, without an address: before a snapshot is made. */
void prepare_nics(void);
/* Sets up card number `index`, which was there when the machine began. NULL or what failed. */
const char *configure_nic(uint32_t index, const struct card *card);
/* Sets up a card that was plugged in. NULL or what failed; `missing` tells that it is not there yet. */
const char *add_nic(const struct card *card, bool *missing);
/* Takes the addresses of the card with this MAC, stops it and takes its filter away; it is no error if it is not there. */
const char *remove_nic(const char *mac, const uint8_t *filter, size_t length);
/*
 * Where the default route leads and by which card (its MAC address); an empty gateway: there is none, until a card with that MAC address is
 * told a router by DHCP. NULL or what failed.
 */
const char *set_default_route(const char *gateway, const char *mac, bool ipv6);

/* Gives the card what a DHCP server gave, or takes its address, when the lease has none; and the default route, if that leads there. */
bool network_set_leased(const char *name, const char *mac, const unsigned char hardware[6], const struct lease *before, const struct lease *lease, bool route);

/* Tells the host which card has which address. */
void report_addresses(void);

#endif
