/* Listening sockets that were asked for: published ports, and forwards. */
#include "relay.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BUCKETS 1024
#define BACKLOG 4096
/* Connections that are accepted before others have their turn. */
#define TURN 64
/* How long a container may take to accept. */
#define CONNECT_MS 10000

static SLIST_HEAD(bucket, port) ports[BUCKETS];

static struct bucket *bucket_of(long id)
{
    return &ports[(unsigned long)id % BUCKETS];
}

static struct port *find(long id)
{
    struct port *port;
    SLIST_FOREACH(port, bucket_of(id), next)
        if (port->id == id) return port;
    return NULL;
}

static void carry(struct port *port, int client, const union address *from)
{
    struct pair *pair = make_pair(client, owner_of(port->inward ? &port->target : from), port->inward);
    if (!pair) return;
    pair->port = port;
    TAILQ_INSERT_TAIL(&port->pairs, pair, of_port);
    dial_pair(pair, &port->target, port->inward ? from : NULL, CONNECT_MS);
}

/*
 * Connections wait in the system's own queue until it is known where they go: their clients are connected already, and nothing is held here.
 */
static void accept_some(struct port *port)
{
    for (int turn = 0; turn < TURN; turn++) {
        union address from;
        socklen_t length = sizeof from;
        int client = accept4(port->watch.fd, &from.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) return;
        carry(port, client, &from);
    }
}

static void ready(struct watch *watch, uint32_t events)
{
    struct port *port = (struct port *)((char *)watch - offsetof(struct port, watch));
    (void)events;
    if (port->stream)
        accept_some(port);
    else
        receive_for_port(port);
}

static int listen_at(struct port *port)
{
    int on = 1, fd = make_socket(!port->inward, port->at.any.sa_family, port->stream ? SOCK_STREAM : SOCK_DGRAM);
    socklen_t length = sizeof port->at;
    if (fd < 0) return errno;
    /* As other servers: a port is free although old connections of it are still ending. UDP would share the port. */
    if (port->stream) (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (port->stream) prepare_stream(fd);
    if (port->at.any.sa_family == AF_INET6) (void)setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (!port->stream) ask_for_details(fd, port->at.any.sa_family);
    port->watch.fd = fd;
    if (bind(fd, &port->at.any, address_length(&port->at)) < 0) return errno;
    if (port->stream && listen(fd, BACKLOG) < 0) return errno;
    if (getsockname(fd, &port->at.any, &length) < 0) return errno;
    return 0;
}

int open_port(long id, bool stream, bool inward, union address at, struct port **made)
{
    if (find(id)) return EEXIST;
    struct port *port = calloc(1, sizeof *port);
    if (!port) return ENOMEM;
    *port = (struct port){.id = id, .stream = stream, .inward = inward, .at = at, .watch = {.fd = -1, .ready = ready}};
    TAILQ_INIT(&port->pairs);
    int error = listen_at(port);
    if (error) {
        end_watching(&port->watch);
        free(port);
        return error;
    }
    SLIST_INSERT_HEAD(bucket_of(id), port, next);
    *made = port;
    return 0;
}

void aim_port(long id, const union address *target)
{
    struct port *port = find(id);
    if (!port) return;
    bool moved = port->aimed && !same_address(&port->target, target);
    /* Their sockets are connected to where the container was. */
    if (moved && !port->stream) end_flows(port);
    port->target = *target;
    if (port->aimed) return;
    port->aimed = true;
    if (!start_watching(&port->watch, EPOLLIN)) fail("watching a port");
}

void close_port(long id)
{
    struct port *port = find(id);
    struct pair *pair;
    if (!port) return;
    SLIST_REMOVE(bucket_of(id), port, port, next);
    while ((pair = TAILQ_FIRST(&port->pairs))) abort_pair(pair);
    end_flows(port);
    end_watching(&port->watch);
    bury(port);
}

bool is_published(const union address *to, bool stream)
{
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        struct port *port;
        SLIST_FOREACH(port, &ports[bucket], next) {
            if (!port->inward || port->stream != stream || port->at.any.sa_family != to->any.sa_family) continue;
            if (address_port(&port->at) == address_port(to) && (is_any(&port->at) || same_host(&port->at, to))) return true;
        }
    }
    return false;
}
