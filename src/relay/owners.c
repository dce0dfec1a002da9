/* The containers' addresses: what each has used, and how much it may. */
#include "relay.h"

#include <stdlib.h>
#include <sys/resource.h>

#define BUCKETS 4096
/* More addresses than the networks of a VCH can have in use. */
#define MOST 65536
/* Descriptors for everything but connections. */
#define RESERVE 512

struct limits limits;

static SLIST_HEAD(, owner) owners[BUCKETS];
static unsigned count;

struct owner *owner_of(const union address *host)
{
    uint32_t bucket = hash_host(host) % BUCKETS;
    struct owner *owner;
    SLIST_FOREACH(owner, &owners[bucket], next)
        if (same_host(&owner->host, host)) return owner;
    if (count >= MOST || !(owner = calloc(1, sizeof *owner))) return NULL;
    count++;
    owner->host = *host;
    TAILQ_INIT(&owner->oldest_first);
    SLIST_INSERT_HEAD(&owners[bucket], owner, next);
    return owner;
}

void each_owner(void (*told)(const struct owner *))
{
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        struct owner *owner;
        SLIST_FOREACH(owner, &owners[bucket], next) told(owner);
    }
}

void set_limits(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0) fail("getrlimit");
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) < 0) fail("setrlimit");
    unsigned most = files.rlim_max > 1 << 18 ? 1 << 18 : files.rlim_max;
    if (most < 2 * RESERVE) fail("only %u files may be open", most);
    most -= RESERVE;
    /* Two descriptors each; what is left is for pipes. One container does not get all. */
    limits.streams = most * 3 / 4 / 2;
    limits.streams_each = limits.streams * 3 / 4;
    limits.datagrams = most / 8 / 2;
    limits.datagrams_each = limits.datagrams > 4096 ? 2048 : limits.datagrams / 2;
    limits.openings_each = 512;
    limits.echoes_each = 64;
}
