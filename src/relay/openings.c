/*
 * Connections that containers are opening. The first packet of each (a SYN) is dropped by the rules, and comes here. The other side is
 * connected to, and only then is the SYN brought in, for the system to answer it: so a container learns that nobody is there from the one
 * whom it has asked, as if there were no relay. A SYN that the container repeats meanwhile changes nothing.
 */
#include "relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BUCKETS 4096
/* As long as Linux itself tries. */
#define CONNECT_MS 130000
/* How long a connection may wait for the container, which has only to receive a packet. */
#define TAKE_MS 10000
/* What the connection will take. */
#define DESCRIPTORS 2
/* A SYN with all its options is no larger: 60 or 40 bytes, and 60. */
#define LARGEST 160

struct opening {
    struct watch watch;
    union address from, to;
    struct owner *owner;
    uint64_t ends;
    bool connected;
    size_t length;
    _Alignas(8) uint8_t syn[LARGEST];
    SLIST_ENTRY(opening) next;
};

static SLIST_HEAD(bucket, opening) openings[BUCKETS];

static struct bucket *bucket_of(const union address *from, const union address *to)
{
    return &openings[(hash_address(from) * 31 + hash_address(to)) % BUCKETS];
}

static struct opening *find(const union address *from, const union address *to)
{
    struct opening *opening;
    SLIST_FOREACH(opening, bucket_of(from, to), next)
        if (same_address(&opening->from, from) && same_address(&opening->to, to)) return opening;
    return NULL;
}

static void end_opening(struct opening *opening)
{
    SLIST_REMOVE(bucket_of(&opening->from, &opening->to), opening, opening, next);
    note_open(opening->owner, -DESCRIPTORS);
    end_watching(&opening->watch);
    bury(opening);
}

/* Passes on what the network has said about the SYN, if it has. */
static bool pass_on_complaints(struct opening *opening)
{
    struct complaint said;
    bool passed = false;
    while (next_complaint(opening->watch.fd, &said)) {
        pass_on_complaint(&said, opening->syn, opening->length, &opening->from);
        passed = true;
    }
    return passed;
}

/* Says why, as the network would. */
static void refuse(const uint8_t *syn, size_t length, const union address *from, const union address *to, int error)
{
    if (error == EHOSTUNREACH || error == ENETUNREACH)
        send_unreachable(syn, length, to, from, WHY_HOST);
    else if (error != ETIMEDOUT)
        send_reset(syn, from, to);
}

static void ready(struct watch *watch, uint32_t events)
{
    struct opening *opening = (struct opening *)watch;
    int error = 0;
    socklen_t length = sizeof error;
    (void)events;
    if (getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0) error = errno;
    if (error || opening->connected) {
        /* The other side may have closed before the container was told that it is there. What it said is read later. */
        if (opening->connected && !error) return;
        if (!opening->connected && !pass_on_complaints(opening))
            refuse(opening->syn, opening->length, &opening->from, &opening->to, error);
        end_opening(opening);
        return;
    }
    union address peer;
    socklen_t room = sizeof peer;
    if (getpeername(watch->fd, &peer.any, &room) < 0) return;
    /* From now on it is a connection like others. */
    keep_complaints(watch->fd, peer.any.sa_family, false);
    set_hops(watch->fd, peer.any.sa_family, 0);
    opening->connected = true;
    opening->ends = now + TAKE_MS;
    bring_in(opening->syn, opening->length);
}

void note_opening(const uint8_t *packet, size_t length, const union address *from, const union address *to, int hops)
{
    struct opening *opening = find(from, to);
    if (opening) {
        if (opening->connected) bring_in(opening->syn, opening->length);
        return;
    }
    struct owner *owner = owner_of(from);
    if (!owner || length > LARGEST) return;
    if (hops == 1) {
        expire_at_gateway(packet, length, from);
        return;
    }
    enum verdict verdict = destination_verdict(to, true);
    if (verdict != ALLOWED) {
        refuse(packet, length, from, to, verdict == UNREACHABLE ? EHOSTUNREACH : ECONNREFUSED);
        return;
    }
    if (!may_open(owner, DESCRIPTORS)) {
        tell_full();
        refuse(packet, length, from, to, ECONNREFUSED);
        return;
    }
    int fd = dial(false, SOCK_STREAM, to, NULL, hops);
    if (fd < 0) {
        /* If it is for lack of something of ours, the container may ask again. */
        if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
            refuse(packet, length, from, to, errno);
        return;
    }
    opening = calloc(1, sizeof *opening);
    if (!opening) {
        close(fd);
        return;
    }
    *opening = (struct opening){.watch = {.fd = fd, .ready = ready}, .from = *from, .to = *to, .owner = owner};
    opening->ends = now + CONNECT_MS;
    opening->length = length;
    memcpy(opening->syn, packet, length);
    note_open(owner, DESCRIPTORS);
    SLIST_INSERT_HEAD(bucket_of(from, to), opening, next);
    if (!start_watching(&opening->watch, EPOLLOUT | EPOLLET)) end_opening(opening);
}

int take_opening(const union address *from, const union address *to)
{
    struct opening *opening = find(from, to);
    if (!opening || !opening->connected) return -1;
    int fd = hand_over(&opening->watch);
    end_opening(opening);
    return fd;
}

void check_openings(void)
{
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        struct opening *opening = SLIST_FIRST(&openings[bucket]);
        while (opening) {
            struct opening *next = SLIST_NEXT(opening, next);
            if (opening->ends <= now) end_opening(opening);
            opening = next;
        }
    }
}
