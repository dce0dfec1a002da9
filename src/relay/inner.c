/*
 * Sockets of the inner namespace. A thread of its own is in there and makes them, since this process can no longer change its namespace
 * once it has given up its rights. The main thread waits for it: making a socket takes some microseconds.
 */
#include "relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <unistd.h>

/* See gateway-rules.ts: a packet with it is received, whatever its address. */
#define MARK_BRING_IN 3
/* A thread that makes sockets needs little. */
#define STACK (64 * 1024)

struct inner inner = {.raw = {-1, -1}, .bringing = {-1, -1}, .packets = {-1, -1}};

static struct {
    sem_t asked, answered;
    int family, type;
    int fd, error;
    const char *path;
    uid_t user;
} work;

static int socket_there(int family, int type)
{
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0 || !inner.apart) return fd;
    /* Without the right to it, it can still use the gateway's own addresses. */
    if (family == AF_INET)
        (void)setsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, sizeof on);
    else
        (void)setsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, &on, sizeof on);
    return fd;
}

/* For packets with an IP header of their own. */
static int raw_socket(int family, int mark)
{
    int fd = socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW);
    if (fd >= 0 && mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/*
 * Sees a copy of what a card receives: beginnings of TCP connections, and ICMP echo requests. Everything else is left out in the kernel.
 */
static int packet_socket(uint16_t protocol)
{
    static struct sock_filter four[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_PKTTYPE),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_HOST, 0, 11),
        /* No fragment but the first. */
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 6),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 9, 0),
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 0, 3),
        BPF_STMT(BPF_LD | BPF_B | BPF_IND, 13),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x17),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 4, 3),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_ICMP, 0, 2),
        BPF_STMT(BPF_LD | BPF_B | BPF_IND, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 8, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, 65535),
    };
    /* Without extension headers: the rules drop such packets. */
    static struct sock_filter six[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_PKTTYPE),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_HOST, 0, 8),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 0, 3),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 40 + 13),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x17),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 4, 3),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_ICMPV6, 0, 2),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 40),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 128, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, 65535),
    };
    bool is_four = protocol == ETH_P_IP;
    struct sock_fprog filter = {
        .len = is_four ? sizeof four / sizeof *four : sizeof six / sizeof *six,
        .filter = is_four ? four : six,
    };
    /* Without a protocol it receives nothing until the filter is in place. */
    int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_ll all = {.sll_family = AF_PACKET, .sll_protocol = htons(protocol)};
    if (fd < 0) return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) < 0 ||
        bind(fd, (struct sockaddr *)&all, sizeof all) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void *stay_inside(void *unused)
{
    (void)unused;
    int namespace = open(work.path, O_RDONLY | O_CLOEXEC);
    if (namespace < 0 || setns(namespace, CLONE_NEWNET) < 0) fail("entering %s", work.path);
    close(namespace);
    inner.raw[0] = raw_socket(AF_INET, 0);
    inner.raw[1] = raw_socket(AF_INET6, 0);
    inner.bringing[0] = raw_socket(AF_INET, MARK_BRING_IN);
    inner.bringing[1] = raw_socket(AF_INET6, MARK_BRING_IN);
    inner.packets[0] = packet_socket(ETH_P_IP);
    inner.packets[1] = packet_socket(ETH_P_IPV6);
    give_up_rights(work.user);
    sem_post(&work.answered);
    for (;;) {
        while (sem_wait(&work.asked) < 0) continue;
        work.fd = socket_there(work.family, work.type);
        work.error = errno;
        sem_post(&work.answered);
    }
    return NULL;
}

void enter_inner(const char *path, uid_t user)
{
    if (!path) return;
    inner.apart = true;
    work.path = path;
    work.user = user;
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    sem_init(&work.asked, 0, 0);
    sem_init(&work.answered, 0, 0);
    errno = pthread_create(&thread, &attributes, stay_inside, NULL);
    if (errno) fail("starting a thread");
    while (sem_wait(&work.answered) < 0) continue;
}

int make_socket(bool inside, int family, int type)
{
    if (!inside || !inner.apart) return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    work.family = family;
    work.type = type;
    sem_post(&work.asked);
    while (sem_wait(&work.answered) < 0) continue;
    errno = work.error;
    return work.fd;
}
