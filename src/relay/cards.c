/* The gateway's cards from which things are carried to the world outside. */
#include "relay.h"

#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define MOST 32

static struct {
    char name[IFNAMSIZ];
    int index;
} cards[MOST];
static unsigned count;

static int index_of(const char *name)
{
    struct ifreq request = {0};
    static int any = -1;
    if (any < 0) any = make_socket(true, AF_INET, SOCK_DGRAM);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    return any < 0 || ioctl(any, SIOCGIFINDEX, &request) < 0 ? 0 : request.ifr_ifindex;
}

bool set_egress(const char *name, bool on)
{
    unsigned at = 0;
    while (at < count && strcmp(cards[at].name, name)) at++;
    if (at < count) cards[at] = cards[--count];
    if (!on) return true;
    /* A card that was plugged in again has another number. */
    int index = index_of(name);
    if (!index || count == MOST) return false;
    snprintf(cards[count].name, sizeof cards[count].name, "%s", name);
    cards[count++].index = index;
    return true;
}

bool carries_out(int index)
{
    for (unsigned at = 0; at < count; at++)
        if (cards[at].index == index) return true;
    return false;
}
