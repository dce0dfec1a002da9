/*
 * What a container's root tries with raw sockets, for tests. Prints what it was answered, one line each:
 *   scan tcp|udp ADDRESS   sends to every port of an address, twice: the ports that said anything, also that they are closed
 *   knock PORTS ADDRESS…   connects and sends a datagram to each address and port (PORTS: with commas): "tcp ADDRESS PORT" for each that said
 *                          anything, a refusal too
 *   tunnel OUTER INNER     sends packets for INNER inside of packets for OUTER: IP in IP, GRE, IPv6 in IPv4, and with a source route
 *   storm MILLISECONDS     broadcasts as fast as it can; prints how many frames it sent
 *   vsock                  connects to the host over AF_VSOCK; prints why it could not
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FROM_PORT 40000
/* How long answers are waited for after the last packet. */
#define ANSWER_MS 1500
#define MOST_TRIES 1000

static int fail(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    return 1;
}

static long long now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000LL + at.tv_nsec / 1000000;
}

static struct addrinfo *find(const char *address, const char *port) {
    struct addrinfo how = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_DGRAM}, *found;
    if (getaddrinfo(address, port, &how, &found) != 0) exit(2);
    return found;
}

static uint16_t checksum(const void *data, size_t size, uint32_t sum) {
    const uint8_t *at = data;
    for (size_t i = 0; i < size; i++) sum += (uint32_t)(i & 1 ? at[i] : at[i] << 8);
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* What a name server answers: a question for "x". */
static const uint8_t QUESTION[] = {0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'x', 0, 0, 1, 0, 1};

/* A SYN, or a datagram. The kernel writes the checksum of IPv6. */
static size_t packet(uint8_t *bytes, int tcp, uint16_t port, const struct sockaddr_in *from, const struct sockaddr_in *to) {
    size_t size = tcp ? 20 : 8 + sizeof QUESTION;
    memset(bytes, 0, size);
    bytes[0] = FROM_PORT >> 8, bytes[1] = FROM_PORT & 255, bytes[2] = (uint8_t)(port >> 8), bytes[3] = (uint8_t)port;
    if (tcp) {
        bytes[7] = 1, bytes[12] = 5 << 4, bytes[13] = 2, bytes[14] = 0xff;
    } else {
        bytes[5] = (uint8_t)size;
        memcpy(bytes + 8, QUESTION, sizeof QUESTION);
    }
    if (from == NULL) return size;
    uint32_t source = ntohl(from->sin_addr.s_addr), target = ntohl(to->sin_addr.s_addr);
    uint32_t pseudo = (source >> 16) + (source & 0xffff) + (target >> 16) + (target & 0xffff) + (tcp ? 6 : 17) + (uint32_t)size;
    uint16_t sum = checksum(bytes, size, pseudo);
    bytes[tcp ? 16 : 6] = (uint8_t)(sum >> 8), bytes[tcp ? 17 : 7] = (uint8_t)sum;
    return size;
}

static uint8_t said[65536];

/* Notes who answers on a raw socket. */
static void hear(int fd, int four, int wait) {
    uint8_t bytes[2048];
    struct pollfd one = {fd, POLLIN, 0};
    while (poll(&one, 1, wait) == 1) {
        ssize_t size = recv(fd, bytes, sizeof bytes, 0);
        size_t head = four ? (size_t)(bytes[0] & 15) * 4 : 0;
        if (size < (ssize_t)head + 4) continue;
        const uint8_t *at = bytes + head;
        if ((at[2] << 8 | at[3]) == FROM_PORT) said[at[0] << 8 | at[1]] = 1;
    }
}

static int scan(const char *kind, const char *address) {
    int tcp = strcmp(kind, "tcp") == 0;
    struct addrinfo *to = find(address, "0");
    int four = to->ai_family == AF_INET, fd = socket(to->ai_family, SOCK_RAW, tcp ? IPPROTO_TCP : IPPROTO_UDP), big = 8 << 20;
    int probe = socket(to->ai_family, SOCK_DGRAM, 0), place = tcp ? 16 : 6;
    struct sockaddr_storage own;
    socklen_t length = sizeof own;
    if (fd < 0) return fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof big);
    if (!four) setsockopt(fd, IPPROTO_IPV6, IPV6_CHECKSUM, &place, sizeof place);
    if (connect(probe, find(address, "9")->ai_addr, to->ai_addrlen) != 0) return fail("connect");
    getsockname(probe, (struct sockaddr *)&own, &length);
    if (connect(fd, to->ai_addr, to->ai_addrlen) != 0) return fail("connect");
    /* Twice, as one of so many packets at once may be lost on the way. */
    for (int sent = 0; sent < 2 * 65535; sent++) {
        uint8_t bytes[64];
        uint16_t port = (uint16_t)(sent % 65535 + 1);
        const struct sockaddr_in *from4 = four ? (struct sockaddr_in *)&own : NULL;
        size_t size = packet(bytes, tcp, port, from4, (struct sockaddr_in *)to->ai_addr);
        /* A refusal by ICMP is an answer, too, though not to the port that is being sent to. */
        if (send(fd, bytes, size, 0) < 0 && errno != ENOBUFS) printf("%s\n", strerror(errno));
        if (port % 64 == 0) hear(fd, four, 0);
        if (port % 1024 == 0) usleep(10000);
    }
    hear(fd, four, ANSWER_MS);
    for (int port = 1; port < 65536; port++)
        if (said[port]) printf("%d\n", port);
    return 0;
}

static int knock(char *ports, char **addresses) {
    struct { struct pollfd poll; const char *what; } tries[MOST_TRIES];
    static char names[MOST_TRIES][96];
    int count = 0;
    for (char *port = strtok(ports, ","); port != NULL; port = strtok(NULL, ","))
        for (char **address = addresses; *address != NULL; address++)
            for (int tcp = 0; tcp < 2 && count < MOST_TRIES; tcp++) {
                struct addrinfo *to = find(*address, port);
                int fd = socket(to->ai_family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
                snprintf(names[count], sizeof names[count], "%s %s %s", tcp ? "tcp" : "udp", *address, port);
                /* What the container's own kernel refuses says nothing of the host. */
                if (connect(fd, to->ai_addr, to->ai_addrlen) != 0 && errno != EINPROGRESS) continue;
                if (!tcp && send(fd, "knock", 5, 0) < 0) continue;
                tries[count].poll = (struct pollfd){fd, tcp ? POLLOUT : POLLIN, 0};
                tries[count].what = names[count];
                count++;
            }
    for (long long end = now() + ANSWER_MS; now() < end; usleep(20000))
        for (int i = 0; i < count; i++) {
            int failed = 0;
            socklen_t size = sizeof failed;
            if (tries[i].what == NULL || poll(&tries[i].poll, 1, 0) != 1) continue;
            getsockopt(tries[i].poll.fd, SOL_SOCKET, SO_ERROR, &failed, &size);
            printf("%s %s\n", tries[i].what, failed == 0 ? "answered" : strerror(failed));
            tries[i].what = NULL;
        }
    return 0;
}

static void send_raw(int protocol, const char *address, const uint8_t *bytes, size_t size, const uint8_t *options, size_t more) {
    int fd = socket(AF_INET, SOCK_RAW, protocol);
    if (more > 0 && setsockopt(fd, IPPROTO_IP, IP_OPTIONS, options, (socklen_t)more) != 0) fail("options");
    struct addrinfo *to = find(address, "0");
    if (sendto(fd, bytes, size, 0, to->ai_addr, to->ai_addrlen) < 0) fail("send");
    close(fd);
}

static int tunnel(const char *outer, const char *inner) {
    static const char text[] = "through a tunnel";
    uint8_t bytes[20 + 8 + sizeof text] = {0x45, 0, 0, sizeof bytes, 0, 1, 0, 0, 64, 17}, wrapped[4 + sizeof bytes] = {0, 0, 8, 0};
    struct sockaddr_in *to = (struct sockaddr_in *)find(inner, "0")->ai_addr;
    memcpy(bytes + 12, &to->sin_addr, 4);
    memcpy(bytes + 16, &to->sin_addr, 4);
    /* From a neighbour of its own, to which it would answer. */
    bytes[15] ^= 3;
    uint16_t sum = checksum(bytes, 20, 0);
    bytes[10] = (uint8_t)(sum >> 8), bytes[11] = (uint8_t)sum;
    bytes[21] = 9, bytes[23] = 9, bytes[25] = 8 + sizeof text;
    memcpy(bytes + 28, text, sizeof text);
    memcpy(wrapped + 4, bytes, sizeof bytes);
    send_raw(4, outer, bytes, sizeof bytes, NULL, 0);
    send_raw(47, outer, wrapped, sizeof wrapped, NULL, 0);
    send_raw(41, outer, bytes, sizeof bytes, NULL, 0);
    /* Loose source route (RFC 791) by the outer address to the inner one. */
    uint8_t route[8] = {131, 7, 4};
    memcpy(route + 3, &to->sin_addr, 4);
    send_raw(17, outer, bytes + 20, sizeof bytes - 20, route, sizeof route);
    return 0;
}

static int storm(int ms) {
    static char bytes[64] = "storm";
    int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = INADDR_BROADCAST};
    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "eth0", 5);
    long sent = 0;
    for (long long end = now() + ms; now() < end;)
        for (int i = 0; i < 100; i++) sent += sendto(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&to, sizeof to) > 0;
    return printf("%ld\n", sent), 0;
}

static int vsock(void) {
    struct sockaddr_vm to = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = 1};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) return fail("vsock");
    return printf("connected\n"), 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "scan") == 0) return scan(argv[2], argv[3]);
    if (argc > 3 && strcmp(argv[1], "knock") == 0) return knock(argv[2], argv + 3);
    if (argc == 4 && strcmp(argv[1], "tunnel") == 0) return tunnel(argv[2], argv[3]);
    if (argc == 3 && strcmp(argv[1], "storm") == 0) return storm(atoi(argv[2]));
    if (argc == 2 && strcmp(argv[1], "vsock") == 0) return vsock();
    return 2;
}
