/* Raw Ethernet frames on eth0, for tests. `frames send`: each line of the input is a frame in hexadecimal.
   `frames watch`: prints each incoming frame the same way, until one contains the given text. */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what) {
    perror(what);
    return 1;
}

int main(int argc, char **argv) {
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    struct sockaddr_ll card = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    card.sll_ifindex = (int)if_nametoindex("eth0");
    if (fd < 0 || bind(fd, (struct sockaddr *)&card, sizeof card) < 0) return fail("eth0");
    if (argc == 2 && strcmp(argv[1], "send") == 0) {
        char line[4096];
        while (fgets(line, sizeof line, stdin) != NULL) {
            unsigned char frame[2048];
            size_t length = 0;
            unsigned int byte;
            while (length < sizeof frame && sscanf(line + length * 2, "%2x", &byte) == 1) frame[length++] = (unsigned char)byte;
            if (length > 0 && send(fd, frame, length, 0) < 0) return fail("send");
        }
        return 0;
    }
    if (argc != 3 || strcmp(argv[1], "watch") != 0) return 2;
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        unsigned char frame[2048];
        struct sockaddr_ll from;
        socklen_t size = sizeof from;
        ssize_t length = recvfrom(fd, frame, sizeof frame, 0, (struct sockaddr *)&from, &size);
        if (length < 0) return fail("recv");
        if (from.sll_pkttype == PACKET_OUTGOING) continue;
        for (ssize_t i = 0; i < length; i++) printf("%02x", frame[i]);
        printf("\n");
        fflush(stdout);
        if (memmem(frame, (size_t)length, argv[2], strlen(argv[2])) != NULL) return 0;
    }
}
