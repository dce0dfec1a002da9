/* See nfs_clients.h. */
#include "nfs_clients.h"
#include "guest_mounts.h"

#include <errno.h>
#include <linux/nfsd/cld.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool told;

bool nfs_clients_told(void) { return told; }

static void reply(int pipe, const struct cld_msg_v2 *message, size_t length) {
  if (write(pipe, message, length) < 0) say("the NFS server does not take an answer: %s", strerror(errno));
}

/* Each client in an answer of its own. The name is that which the kernel's client gives itself (fs/nfs/nfs4proc.c). */
static void tell_former(int pipe, struct cld_msg_v2 *message, size_t length, char **former) {
  for (; former != NULL && *former != NULL; former++) {
    struct cld_msg_v2 one = *message;
    char name[CLIENT_NAME_SIZE];
    served_client_name(name, *former);
    one.cm_status = -EINPROGRESS;
    memset(&one.cm_u, 0, sizeof one.cm_u);
    one.cm_u.cm_name.cn_len = (uint16_t)snprintf((char *)one.cm_u.cm_name.cn_id, sizeof one.cm_u.cm_name.cn_id, "Linux NFSv4.2 %s", name);
    reply(pipe, &one, length);
  }
  told = true;
}

void nfs_clients_answer(int pipe, char **former) {
  struct cld_msg_v2 message;
  ssize_t n = read(pipe, &message, sizeof message);
  if (n < (ssize_t)sizeof(struct cld_msg_hdr)) return;
  message.cm_status = 0;
  if (message.cm_cmd == Cld_GetVersion) message.cm_u.cm_version = 1; /* the second is about Kerberos */
  if (message.cm_cmd == Cld_GraceStart) tell_former(pipe, &message, (size_t)n, former);
  reply(pipe, &message, (size_t)n);
}
