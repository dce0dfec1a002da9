/* A small HTTP server, and a client that measures it on one connection: the same on both engines, in a container and outside.
 *
 *   small-http serve PORT          answers every request with 200 bytes, connections stay open
 *   small-http ask HOST PORT N     N requests, one after the other; prints the median and the 99th percentile in microseconds
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char REQUEST[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/* As nginx does: head and body leave by one call. */
static void answer(int client) {
  char body[200], reply[400], got[4096];
  memset(body, 'x', sizeof body);
  int head = snprintf(reply, sizeof reply, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", sizeof body);
  memcpy(reply + head, body, sizeof body);
  size_t length = 0;
  for (;;) {
    ssize_t n = read(client, got + length, sizeof got - 1 - length);
    if (n <= 0) return;
    length += n;
    got[length] = 0;
    if (strstr(got, "\r\n\r\n") == NULL) {
      if (length == sizeof got - 1) return;
      continue;
    }
    length = 0;
    if (write(client, reply, head + sizeof body) < 0) return;
  }
}

static struct sockaddr_in place(const char *host, const char *port) {
  struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
  if (inet_pton(AF_INET, host, &at.sin_addr) != 1) exit(2);
  return at;
}

static int serve(const char *port) {
  struct sockaddr_in at = place("0.0.0.0", port);
  int one = 1, server = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(server, (struct sockaddr *)&at, sizeof at) != 0 || listen(server, 1024) != 0) return 1;
  signal(SIGCHLD, SIG_IGN);
  for (;;) {
    int client = accept(server, NULL, NULL);
    if (client < 0) continue;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fork() == 0) {
      answer(client);
      _exit(0);
    }
    close(client);
  }
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static int ask(const char *host, const char *port, int count) {
  struct sockaddr_in at = place(host, port);
  int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
  if (count < 1 || connect(s, (struct sockaddr *)&at, sizeof at) != 0) return 1;
  setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  double *took = calloc(count, sizeof *took);
  for (int i = 0; i < count; i++) {
    double began = now();
    if (write(s, REQUEST, sizeof REQUEST - 1) < 0) return 1;
    char got[1024];
    size_t length = 0, want = 0;
    do {
      ssize_t n = read(s, got + length, sizeof got - 1 - length);
      if (n <= 0) return 1;
      length += n;
      got[length] = 0;
      char *end = strstr(got, "\r\n\r\n");
      if (end != NULL) want = end + 4 - got + 200;
    } while (want == 0 || length < want);
    took[i] = now() - began;
  }
  qsort(took, count, sizeof *took, compare);
  printf("%.1f %.1f\n", took[count / 2], took[count * 99 / 100]);
  return 0;
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  if (argc == 3 && strcmp(argv[1], "serve") == 0) return serve(argv[2]);
  if (argc == 5 && strcmp(argv[1], "ask") == 0) return ask(argv[2], argv[3], atoi(argv[4]));
  return 2;
}
