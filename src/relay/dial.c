/* Connections that the relay makes. */
#include "relay.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

/* A peer that has vanished is noticed after ten minutes of silence. */
#define SILENCE_S 300
#define PROBES 5
#define PROBE_S 60
/* Systems begin with 64 or more, and no way has half of that; traceroute goes up to 30. */
#define FEW_HOPS 32

/*
 * Binds to the client's own address, so that the container sees who it talks to. An address that only means something on the machine cannot
 * be answered from inside.
 */
static bool take_source(int fd, const union address *source, bool with_port)
{
    static bool told;
    int on = 1;
    union address from = *source;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!with_port) {
        set_address_port(&from, 0);
        (void)setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    }
    if (!bind(fd, &from.any, address_length(&from))) return true;
    if (errno == EADDRNOTAVAIL || errno == EPERM)
        tell_once(&told, "published ports: containers see the gateway's address instead of their clients'; this machine does not let the relay use others");
    return false;
}

static bool usable(const union address *source, const union address *server)
{
    return inner.apart && source && source->any.sa_family == server->any.sa_family && !is_loopback(source) &&
           !is_link_local(source) && !is_any(source) && !same_host(source, server);
}

void prepare_stream(int fd)
{
    int on = 1, silence = SILENCE_S, probes = PROBES, probe = PROBE_S;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &silence, sizeof silence);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &probe, sizeof probe);
}

void set_hops(int fd, int family, int hops)
{
    int value = hops ? hops : -1;
    if (family == AF_INET)
        (void)setsockopt(fd, SOL_IP, IP_TTL, &value, sizeof value);
    else
        (void)setsockopt(fd, SOL_IPV6, IPV6_UNICAST_HOPS, &value, sizeof value);
}

bool is_probing(int hops)
{
    return hops > 0 && hops < FEW_HOPS;
}

int dial(bool inside, int type, const union address *server, const union address *source, int hops)
{
    /* With the client's address and port, with its address alone, with the gateway's. */
    for (int way = usable(source, server) ? 0 : 2;; way++) {
        int fd = make_socket(inside, server->any.sa_family, type);
        if (fd < 0) return -1;
        if (type == SOCK_STREAM) prepare_stream(fd);
        if (is_probing(hops)) set_hops(fd, server->any.sa_family, hops - 1);
        if (hops) keep_complaints(fd, server->any.sa_family, true);
        if (way == 2 || take_source(fd, source, way == 0)) {
            if (!connect(fd, &server->any, address_length(server)) || errno == EINPROGRESS) return fd;
        }
        int error = errno;
        close(fd);
        errno = error;
        if (way == 2) return -1;
    }
}
