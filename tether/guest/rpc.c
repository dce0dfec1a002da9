/* See rpc.h. */
#include "rpc.h"
#include "platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A reply that says yes begins with this. */
#define YES "1 "

char *rpc_get(const char *key, size_t *length) {
  char request[256];
  int size = snprintf(request, sizeof request, "info-get %s", key);
  char *reply = platform_rpc_ask(request, (size_t)size, length, -1);
  if (reply == NULL || strncmp(reply, YES, strlen(YES)) != 0) {
    free(reply);
    return NULL;
  }
  *length -= strlen(YES);
  memmove(reply, reply + strlen(YES), *length + 1);
  return reply;
}

/* The length of the request, which may be cut off. */
static size_t set_request(char request[MAX_RPC_REQUEST], const char *key, const char *value) {
  int size = snprintf(request, MAX_RPC_REQUEST, "info-set %s %s", key, value);
  return size < (int)MAX_RPC_REQUEST ? (size_t)size : MAX_RPC_REQUEST - 1;
}

bool rpc_set(const char *key, const char *value, int timeout_ms) {
  char request[MAX_RPC_REQUEST];
  size_t length;
  char *reply = platform_rpc_ask(request, set_request(request, key, value), &length, timeout_ms);
  bool done = reply != NULL && reply[0] == YES[0];
  free(reply);
  return done;
}

void rpc_tell(const char *key, const char *value) {
  char request[MAX_RPC_REQUEST];
  if (!platform_rpc_post(request, set_request(request, key, value))) rpc_set(key, value, 5000);
}
