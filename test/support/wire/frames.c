/* Raw Ethernet frames on eth0, for tests. `frames send`: each line of the input is a frame in hexadecimal.
   `frames watch`: prints each incoming frame the same way, until one contains the given text.
   `frames tap NAME`: is the guest behind a tap. A line of the input is a frame that it sends; an empty line asks for all frames that it has
   received so far, each on a line, and then a line with a dot. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what) {
    perror(what);
    return 1;
}

static unsigned char frame[70000];
static char line[2 * sizeof frame + 2];

static size_t decode(void) {
    size_t length = 0;
    unsigned int byte;
    while (length < sizeof frame && sscanf(line + length * 2, "%2x", &byte) == 1) frame[length++] = (unsigned char)byte;
    return length;
}

static void print(ssize_t length) {
    for (ssize_t i = 0; i < length; i++) printf("%02x", frame[i]);
    printf("\n");
}

static int tap(const char *name) {
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0) return fail(name);
    while (fgets(line, sizeof line, stdin) != NULL) {
        size_t length = decode();
        if (length > 0 && write(fd, frame, length) < 0) return fail("write");
        if (length > 0) continue;
        ssize_t received;
        while ((received = read(fd, frame, sizeof frame)) >= 0) print(received);
        if (errno != EAGAIN) return fail("read");
        printf(".\n");
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "tap") == 0) return tap(argv[2]);
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    struct sockaddr_ll card = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    card.sll_ifindex = (int)if_nametoindex("eth0");
    if (fd < 0 || bind(fd, (struct sockaddr *)&card, sizeof card) < 0) return fail("eth0");
    if (argc == 2 && strcmp(argv[1], "send") == 0) {
        while (fgets(line, sizeof line, stdin) != NULL) {
            size_t length = decode();
            if (length > 0 && send(fd, frame, length, 0) < 0) return fail("send");
        }
        return 0;
    }
    if (argc != 3 || strcmp(argv[1], "watch") != 0) return 2;
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        struct sockaddr_ll from;
        socklen_t size = sizeof from;
        ssize_t length = recvfrom(fd, frame, sizeof frame, 0, (struct sockaddr *)&from, &size);
        if (length < 0) return fail("recv");
        if (from.sll_pkttype == PACKET_OUTGOING) continue;
        print(length);
        fflush(stdout);
        if (memmem(frame, (size_t)length, argv[2], strlen(argv[2])) != NULL) return 0;
    }
}
