/* The containers' addresses: what each has used, how much it may, and how fast. */
#include "relay.h"

#include <stdlib.h>
#include <sys/resource.h>

#define BUCKETS 4096
/* More addresses than the networks of a VCH can have in use. */
#define MOST 65536
/* Descriptors for everything but what is carried. */
#define RESERVE 512
/* One that has nothing open is forgotten after so long; its meters are full by then. */
#define FORGET_MS 60000
/* A gateway has 256 cards, each with 16 addresses: see parse-request.ts. */
#define MOST_NETWORKS 4096

struct limits limits;

static SLIST_HEAD(owners, owner) owners[BUCKETS];
static unsigned count, opened;

/* The rates of networks: what containers have that have none of their own. */
static struct network {
    struct range range;
    uint64_t rate;
} networks[MOST_NETWORKS];
static unsigned network_count;

static void apply_rate(struct owner *owner)
{
    uint64_t rate = owner->own_rate;
    unsigned bits = 0;
    for (unsigned i = 0; i < network_count && !owner->own_rate; i++) {
        if (networks[i].range.bits < bits || !in_range(&owner->host, &networks[i].range)) continue;
        bits = networks[i].range.bits;
        rate = networks[i].rate;
    }
    set_rate(&owner->to, rate);
    set_rate(&owner->from, rate);
}

struct owner *owner_of(const union address *host)
{
    uint32_t bucket = hash_host(host) % BUCKETS;
    struct owner *owner;
    SLIST_FOREACH(owner, &owners[bucket], next)
        if (same_host(&owner->host, host)) return owner;
    if (count >= MOST || !(owner = calloc(1, sizeof *owner))) return NULL;
    count++;
    owner->host = *host;
    owner->seen = now;
    TAILQ_INIT(&owner->oldest_first);
    open_meter(&owner->to);
    open_meter(&owner->from);
    apply_rate(owner);
    SLIST_INSERT_HEAD(&owners[bucket], owner, next);
    return owner;
}

/* What the range's networks have no longer is not found: that is no error. */
static bool set_network_rate(const struct range *range, uint64_t rate)
{
    unsigned at = 0;
    while (at < network_count && (networks[at].range.bits != range->bits || !same_host(&networks[at].range.base, &range->base))) at++;
    if (!rate) {
        if (at < network_count) networks[at] = networks[--network_count];
        return true;
    }
    if (at == MOST_NETWORKS) return false;
    if (at == network_count) network_count++;
    networks[at] = (struct network){.range = *range, .rate = rate};
    return true;
}

bool set_rates(const struct range *range, uint64_t rate)
{
    bool one = range->bits == (range->base.any.sa_family == AF_INET ? 32 : 128);
    if (one) {
        struct owner *owner = owner_of(&range->base);
        if (!owner) return false;
        owner->own_rate = rate;
        apply_rate(owner);
        return true;
    }
    if (!set_network_rate(range, rate)) return false;
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        struct owner *owner;
        SLIST_FOREACH(owner, &owners[bucket], next) apply_rate(owner);
    }
    return true;
}

void tell_used(void (*tell)(const struct owner *))
{
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        struct owner *owner;
        SLIST_FOREACH(owner, &owners[bucket], next) {
            if (!owner->in && !owner->out && !owner->flows) continue;
            tell(owner);
            owner->in = owner->out = owner->flows = 0;
        }
    }
}

/*
 * A container may have three times what is free: one alone three quarters of everything, two three sevenths each, and there is always
 * something left for one that comes later.
 */
bool may_open(const struct owner *owner, unsigned descriptors)
{
    unsigned free = opened < limits.descriptors ? limits.descriptors - opened : 0;
    return free >= descriptors && owner->descriptors + descriptors <= 3 * free;
}

void note_open(struct owner *owner, int descriptors)
{
    owner->descriptors += descriptors;
    opened += descriptors;
    owner->seen = now;
}

void tell_full(void)
{
    static bool told;
    tell_once(&told, "a container has as many connections as one may have here, or all together have: more are refused (the number of files that a process may open decides: ulimit -Hn)");
}

static bool is_idle(const struct owner *owner)
{
    return !owner->descriptors && !owner->echoes && !owner->own_rate && !owner->in && !owner->out && !owner->flows &&
           now - owner->seen >= FORGET_MS;
}

void check_owners(void)
{
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        struct owner *owner = SLIST_FIRST(&owners[bucket]);
        while (owner) {
            struct owner *next = SLIST_NEXT(owner, next);
            if (is_idle(owner)) {
                SLIST_REMOVE(&owners[bucket], owner, owner, next);
                count--;
                free(owner);
            }
            owner = next;
        }
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
    /* A connection without a pipe is carried all the same, so few are enough. */
    limits.pipes = most / 40 > 2048 ? 2048 : most / 40;
    limits.descriptors = most - RESERVE - 2 * limits.pipes;
    limits.datagrams_each = limits.descriptors / 8 > 2048 ? 2048 : limits.descriptors / 8;
    limits.echoes_each = 64;
}
