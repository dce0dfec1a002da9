/*
 * What tests need of a program in a container's network and busybox has no command for. One line of output for each command line:
 *   ask KIND NAME     asks 127.0.0.11 for the A record; KIND: sendto, connect, mapped (an IPv6 socket), tcp. Prints the answer's address,
 *                     or its error code, and whom it came from
 *   flood COUNT NAME  asks so often without waiting for answers
 *   listen            listens on port 53 of all addresses, UDP and TCP, IPv4 and IPv6
 *   reach KIND SOURCE ADDRESS PORT   says whether a connection (tcp) or a datagram (udp) gets there: one that nobody takes is refused
 *   netfilter         passes its input on to the kernel's packet filter
 *   frames            sends its input as frames on eth0, each in two ways; a frame is a line `KIND HEXDIGITS`, the kind is what the kernel is told
 *   hear LAST         prints `markX` for frames on eth0 that have that in them, each once, until it has heard `markLAST`
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned char bytes[65536];

static size_t question(const char *name, unsigned short id) {
  unsigned char head[12] = {(unsigned char)(id >> 8), (unsigned char)id, 1, 0, 0, 1};
  unsigned char *at = bytes + 12;
  memcpy(bytes, head, 12);
  while (*name != 0) {
    size_t length = strcspn(name, ".");
    *at++ = (unsigned char)length;
    memcpy(at, name, length);
    at += length;
    name += length + (name[length] == '.');
  }
  memcpy(at, "\0\0\1\0\1", 5);
  return (size_t)(at + 5 - bytes);
}

static int fail(const char *what) { return printf("%s: %s\n", what, strerror(errno)), 0; }

static int ask(const char *kind, const char *name) {
  int tcp = strcmp(kind, "tcp") == 0, mapped = strcmp(kind, "mapped") == 0;
  struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x7f00000b)};
  struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = htons(53)}, from6 = {0};
  inet_pton(AF_INET6, "::ffff:127.0.0.11", &to6.sin6_addr);
  struct sockaddr *to = mapped ? (struct sockaddr *)&to6 : (struct sockaddr *)&to4;
  socklen_t size = mapped ? sizeof to6 : sizeof to4, from_size = sizeof from6;
  int fd = socket(mapped ? AF_INET6 : AF_INET, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
  size_t length = question(name, 0x1234);
  if ((tcp || strcmp(kind, "connect") == 0) && connect(fd, to, size) != 0) return fail("connect");
  if (tcp) {
    unsigned char prefix[2] = {(unsigned char)(length >> 8), (unsigned char)length};
    if (write(fd, prefix, 2) != 2) return fail("write");
  }
  ssize_t sent = tcp || strcmp(kind, "connect") == 0 ? send(fd, bytes, length, 0) : sendto(fd, bytes, length, 0, to, size);
  if (sent < 0) return fail("send");
  struct pollfd one = {fd, POLLIN, 0};
  if (poll(&one, 1, 20000) != 1) return printf("no answer\n"), 0;
  ssize_t n = 0;
  if (tcp) {
    for (ssize_t more; n < 2 || n < 2 + (bytes[0] << 8 | bytes[1]); n += more)
      if ((more = read(fd, bytes + n, sizeof bytes - (size_t)n)) <= 0) return printf("cut off\n"), 0;
    memmove(bytes, bytes + 2, (size_t)(n -= 2));
    getpeername(fd, (struct sockaddr *)&from6, &from_size);
  } else if ((n = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from6, &from_size)) < 0) {
    return fail("receive");
  }
  if ((bytes[0] << 8 | bytes[1]) != 0x1234) return printf("another's answer\n"), 0;
  char from[64], address[64] = "";
  const struct sockaddr_in *from4 = (const struct sockaddr_in *)&from6;
  if (mapped) inet_ntop(AF_INET6, &from6.sin6_addr, from, sizeof from);
  else inet_ntop(AF_INET, &from4->sin_addr, from, sizeof from);
  if ((bytes[3] & 15) == 0) inet_ntop(AF_INET, bytes + n - 4, address, sizeof address);
  else snprintf(address, sizeof address, "error %d", bytes[3] & 15);
  return printf("%s from %s:%d\n", address, from, ntohs(mapped ? from6.sin6_port : from4->sin_port)), 0;
}

static int flood(int count, const char *name) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x7f00000b)};
  int fd = socket(AF_INET, SOCK_DGRAM, 0), sent = 0;
  for (int i = 0; i < count; i++) {
    size_t length = question(name, (unsigned short)i);
    sent += sendto(fd, bytes, length, 0, (struct sockaddr *)&to, sizeof to) > 0;
  }
  return printf("%s\n", sent > 0 ? "flooded" : "nothing was sent"), 0;
}

static int listen_everywhere(void) {
  struct sockaddr_in at4 = {.sin_family = AF_INET, .sin_port = htons(53)};
  struct sockaddr_in6 at6 = {.sin6_family = AF_INET6, .sin6_port = htons(53)};
  for (int i = 0; i < 4; i++) {
    int ipv6 = i & 1, fd = socket(ipv6 ? AF_INET6 : AF_INET, i & 2 ? SOCK_STREAM : SOCK_DGRAM, 0), on = 1;
    if (ipv6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, ipv6 ? (struct sockaddr *)&at6 : (struct sockaddr *)&at4, ipv6 ? sizeof at6 : sizeof at4) != 0) return fail("bind");
    if ((i & 2) && listen(fd, 1) != 0) return fail("listen");
  }
  return printf("listens\n"), 0;
}

static int reach(const char *kind, const char *source, const char *address, const char *port) {
  int tcp = strcmp(kind, "tcp") == 0;
  struct addrinfo how = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = tcp ? SOCK_STREAM : SOCK_DGRAM}, *from, *to;
  if (getaddrinfo(source, "0", &how, &from) != 0 || getaddrinfo(address, port, &how, &to) != 0) return 1;
  int fd = socket(to->ai_family, to->ai_socktype | SOCK_NONBLOCK, 0), failed = 0;
  socklen_t size = sizeof failed;
  if (bind(fd, from->ai_addr, from->ai_addrlen) != 0) return fail("bind");
  if (connect(fd, to->ai_addr, to->ai_addrlen) != 0 && errno != EINPROGRESS) return fail("connect");
  if (!tcp && send(fd, "?", 1, 0) < 0) return fail("send");
  struct pollfd one = {fd, tcp ? POLLOUT : POLLIN, 0};
  if (poll(&one, 1, 2000) != 1) return printf("no\n"), 0;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size);
  return printf(failed == 0 || failed == ECONNREFUSED ? "yes\n" : "no\n"), 0;
}

static int netfilter(void) {
  int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
  ssize_t n = read(0, bytes, sizeof bytes);
  if (send(fd, bytes, (size_t)n, 0) < 0 || recv(fd, bytes, sizeof bytes, 0) < 0) return fail("netfilter");
  errno = -((const struct nlmsgerr *)NLMSG_DATA((struct nlmsghdr *)bytes))->error;
  return fail("netfilter");
}

static int frames(void) {
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("eth0"), .sll_halen = 6};
  static char line[8192], hex[8192];
  int fds[2], on = 1;
  unsigned kind;
  for (int i = 0; i < 2; i++)
    if ((fds[i] = socket(AF_PACKET, SOCK_RAW, 0)) < 0) return fail("socket");
  if (setsockopt(fds[1], SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) != 0) return fail("bypass");
  while (fgets(line, sizeof line, stdin) != NULL) {
    size_t length = 0;
    if (sscanf(line, "%x %8000s", &kind, hex) != 2) continue;
    for (const char *at = hex; sscanf(at, "%2hhx", &bytes[length]) == 1; at += 2) length++;
    to.sll_protocol = htons((unsigned short)kind);
    for (int i = 0; i < 2; i++) sendto(fds[i], bytes, length, 0, (struct sockaddr *)&to, sizeof to);
  }
  return printf("sent\n"), 0;
}

static int hear(const char *last) {
  struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex("eth0")};
  int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  char heard[256] = {0};
  if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0) return fail("hear");
  printf("hears\n");
  fflush(stdout);
  for (struct pollfd one = {fd, POLLIN, 0}; poll(&one, 1, 20000) == 1;) {
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    const unsigned char *mark = n > 5 ? memmem(bytes, (size_t)n, "mark", 4) : NULL;
    if (mark == NULL || mark + 4 >= bytes + n || heard[mark[4]]++) continue;
    printf("mark%c\n", mark[4]);
    if (mark[4] == *last) return 0;
  }
  return 1;
}

int main(int argc, char **argv) {
  if (argc == 4 && strcmp(argv[1], "ask") == 0) return ask(argv[2], argv[3]);
  if (argc == 4 && strcmp(argv[1], "flood") == 0) return flood(atoi(argv[2]), argv[3]);
  if (argc == 2 && strcmp(argv[1], "listen") == 0) return listen_everywhere();
  if (argc == 6 && strcmp(argv[1], "reach") == 0) return reach(argv[2], argv[3], argv[4], argv[5]);
  if (argc == 2 && strcmp(argv[1], "netfilter") == 0) return netfilter();
  if (argc == 2 && strcmp(argv[1], "frames") == 0) return frames();
  if (argc == 3 && strcmp(argv[1], "hear") == 0) return hear(argv[2]);
  return 1;
}
