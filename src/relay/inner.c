/*
 * Sockets of the inner namespace. A thread of its own is in there and makes them, since this process can no longer change its namespace
 * once it has given up its rights. The main thread waits for it: making a socket takes some microseconds.
 */
#include "relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <string.h>
#include <unistd.h>

/* See gateway-rules.ts: a packet with it is received, whatever its address. */
#define MARK_BRING_IN 0x60000000
#define LOG_GROUP 29
/* A thread that makes sockets needs little. */
#define STACK (64 * 1024)

struct inner inner = {.raw = {-1, -1}, .bringing = {-1, -1}, .log = -1};

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

static bool configure(int fd, uint8_t type, const void *value, size_t size)
{
    struct {
        struct nlmsghdr head;
        struct nfgenmsg about;
        struct nlattr attribute;
        uint8_t value[16];
    } message = {
        .head = {.nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .about = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(LOG_GROUP)},
        .attribute = {.nla_type = type, .nla_len = NLA_HDRLEN + size},
    };
    _Alignas(struct nlmsghdr) char answer[512];
    memcpy(message.value, value, size);
    message.head.nlmsg_len = offsetof(typeof(message), value) + NLA_ALIGN(size);
    if (send(fd, &message, message.head.nlmsg_len, 0) < 0) return false;
    /* The kernel has answered before send() returns. */
    if (recv(fd, answer, sizeof answer, MSG_DONTWAIT) < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr))) return false;
    const struct nlmsghdr *head = (struct nlmsghdr *)answer;
    return head->nlmsg_type == NLMSG_ERROR && !((const struct nlmsgerr *)NLMSG_DATA(head))->error;
}

/* What the rules of the namespace log: see nfnetlink_log.h of Linux. */
static int log_socket(void)
{
    struct sockaddr_nl any = {.nl_family = AF_NETLINK};
    struct nfulnl_msg_config_cmd bind_group = {.command = NFULNL_CFG_CMD_BIND};
    struct nfulnl_msg_config_mode whole = {.copy_mode = NFULNL_COPY_PACKET, .copy_range = htonl(65535)};
    /* One packet a message: nothing waits for others. */
    uint32_t at_once = htonl(1);
    int on = 1, room = 1 << 20;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (fd < 0) return -1;
    /* If there is too much of it, some is lost, as on any network. */
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (!bind(fd, (struct sockaddr *)&any, sizeof any) && configure(fd, NFULA_CFG_CMD, &bind_group, sizeof bind_group) &&
        configure(fd, NFULA_CFG_MODE, &whole, sizeof whole) && configure(fd, NFULA_CFG_QTHRESH, &at_once, sizeof at_once))
        return fd;
    close(fd);
    return -1;
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
    inner.log = log_socket();
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
