/*
 * See nfs_server.h. Elsewhere, mountd tells the kernel who may have what and nfsdcld keeps who is a client; here it is said once, or answered
 * by this child, which also is why no rpcbind is needed. The files and their formats are the kernel's: fs/nfsd/nfsctl.c, fs/nfsd/export.c and
 * net/sunrpc/svcauth_unix.c.
 */
#include "nfs_server.h"
#include "container.h"
#include "nfs_clients.h"
#include "process.h"
#include "root.h"
#include "system.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONTROL "/nfs-server"
#define PIPES "/nfs-pipes"
#define CACHES "/proc/self/net/rpc"
#define LOWEST_FREE 100 /* of descriptors */
#define FOREVER "2147483647" /* Unix seconds, as far as these files go */
/*
 * Flags of an export (uapi/linux/nfsd/export.h): FSID, as there is no other way to name it that another server shares; NOSUBTREECHECK, so
 * that a handle holds a file and not its place; INSECURE_PORT, as clients choose theirs. Written data is on the disk before the answer.
 */
#define EXPORT_FLAGS "9218"
#define THREADS "4"
#define ATTEMPTS 3

static int clients = -1, addresses = -1; /* whom the kernel asks for: at a restart, and by address */
static struct in_addr own, mask;

static bool put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
  int why = errno;
  if (fd >= 0) close(fd);
  errno = why;
  return done;
}

/* Says what is exported: the volume is the root of all. Nobody is `all` before some address belongs to it, for which the server's own will do. */
static bool export(const char *path, const char *address) {
  char line[PATH_SIZE + 80];
  snprintf(line, sizeof line, "nfsd %.64s " FOREVER " all\n", address);
  if (!put(CACHES "/auth.unix.ip/channel", line)) return false;
  snprintf(line, sizeof line, "all %s " FOREVER " " EXPORT_FLAGS " 65534 65534 0\n", path);
  if (!put(CACHES "/nfsd.export/channel", line)) return false;
  snprintf(line, sizeof line, "all 1 \\x00000000 " FOREVER " %s\n", path); /* file system number 0, which is the root of NFS 4 */
  return put(CACHES "/nfsd.fh/channel", line);
}

/* Whoever is on the card's own network may mount; nobody else is known. */
static void answer_address(void) {
  char line[256], address[64], reply[160];
  struct in_addr asked;
  ssize_t n = read(addresses, line, sizeof line - 1);
  if (n <= 0) return;
  line[n] = 0;
  if (sscanf(line, "nfsd %63s", address) != 1) return;
  bool known = inet_pton(AF_INET, address, &asked) == 1 && ((asked.s_addr ^ own.s_addr) & mask.s_addr) == 0;
  snprintf(reply, sizeof reply, "nfsd %s " FOREVER "%s\n", address, known ? " all" : "");
  if (write(addresses, reply, strlen(reply)) < 0) say("a client of a volume is not let in: %s", cause());
}

/*
 * Does what makes the kernel ask about clients, over a pipe that appears when the threads start. It waits for the answers, and for half a minute
 * if there are none: so another process waits for the kernel.
 */
static bool meanwhile(bool (*work)(const char *about), const char *about, char **former) {
  pid_t child = fork();
  if (child == 0) _exit(work(about) ? 0 : errno);
  int status;
  pid_t ended;
  while ((ended = waitpid(child, &status, WNOHANG)) == 0) {
    if (clients < 0) clients = open(PIPES "/nfsd/cld", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct pollfd p = {clients, POLLIN, 0};
    if (poll(&p, 1, 1) > 0) nfs_clients_answer(clients, former);
  }
  errno = ended == child && WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
  return errno == 0;
}

/* Starts the kernel's threads, or stops them. */
static bool set_threads(const char *number) { return put(CONTROL "/threads", number); }

static const char *start_threads(char **former) {
  for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
    /* The threads end with the sockets that they listen on. */
    if (!put(CONTROL "/portlist", "tcp 2049\n")) return "the NFS server cannot listen";
    if (!meanwhile(set_threads, THREADS, former)) return "the NFS server does not start";
    if (nfs_clients_told()) return NULL;
    meanwhile(set_threads, "0", former);
    if (clients >= 0) close(clients);
    clients = -1;
  }
  return "the NFS server has not asked for its clients";
}

static const char *start(const struct nfs_task *task, int namespace) {
  load_modules(SERVER_MODULES);
  const char *failed = hidden_enter(namespace, &task->card);
  if (failed != NULL) return failed;
  inet_pton(AF_INET, task->card.address, &own);
  mask.s_addr = task->card.prefix == 0 ? 0 : htonl(~0u << (32 - (task->card.prefix > 32 ? 32 : task->card.prefix)));
  if (!export(task->path, task->card.address)) return "the NFS server does not take the volume";
  addresses = open(CACHES "/auth.unix.ip/channel", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (addresses < 0) return "the NFS server asks for no clients";
  mkdir(CONTROL, 0700), mkdir(PIPES, 0700);
  if (unshare(CLONE_NEWNS | CLONE_NEWUTS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return "the NFS server has no room";
  forget_mounts(task->container);
  /* Clients take a server of another name for another server, and would not go on with what they had open. */
  if (sethostname("caisson-volume", strlen("caisson-volume")) != 0) return "the NFS server has no name";
  if (mount("nfsd", CONTROL, "nfsd", 0, NULL) != 0) return "the kernel has no NFS server";
  if (mount("rpc_pipefs", PIPES, "rpc_pipefs", 0, NULL) != 0) return "the kernel has no pipes for an NFS server";
  put(CONTROL "/versions", "-2\n"); /* which not every kernel knows */
  bool good = put(CONTROL "/versions", "-3 +4 -4.0 +4.1 +4.2\n");
  if (!good) return "the NFS server does not know NFS 4.2";
  /*
   * How long a client may be silent before others get what it has locked, and how long former clients have for coming back. One that does
   * nothing notices that the server is another one when it next says that it is there, after two thirds of the first.
   */
  if (!put(CONTROL "/nfsv4leasetime", "15") || !put(CONTROL "/nfsv4gracetime", "30")) return "the NFS server keeps its times";
  return start_threads(task->clients);
}

/* Gives up what a client has. Its directory has its address in `info`, among other lines. */
static bool forget(const char *address) {
  char wanted[80];
  bool done = true;
  snprintf(wanted, sizeof wanted, "address: \"%s:", address);
  DIR *all = opendir(CONTROL "/clients");
  for (struct dirent *e; all != NULL && (e = readdir(all)) != NULL;) {
    char path[300], info[2048];
    if (e->d_name[0] == '.') continue;
    snprintf(path, sizeof path, CONTROL "/clients/%s/info", e->d_name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, info, sizeof info - 1);
    if (fd >= 0) close(fd);
    info[n < 0 ? 0 : n] = 0;
    if (strstr(info, wanted) == NULL) continue;
    snprintf(path, sizeof path, CONTROL "/clients/%s/ctl", e->d_name);
    done = put(path, "expire\n") && done;
  }
  int why = errno;
  if (all != NULL) closedir(all);
  errno = why;
  return done;
}

static void say_done(int socket, const struct nfs_request *asked, const char *failed) {
  struct nfs_answer packet = {.request = asked->request, .wish = asked->wish};
  if (failed != NULL) snprintf(packet.failed, sizeof packet.failed, "%s", failed);
  if (send(socket, &packet, sizeof packet, MSG_NOSIGNAL) < 0) say("the server of a volume cannot answer: %s", cause());
}

/* One request, or the tether's end. */
static void take_request(int socket) {
  struct nfs_request asked = {.wish = NFS_STOP};
  ssize_t n = recv(socket, &asked, sizeof asked, MSG_DONTWAIT);
  if (n < 0) return;
  asked.address[sizeof asked.address - 1] = 0;
  const char *failed = NULL;
  if (asked.wish == NFS_FORGET && !meanwhile(forget, asked.address, NULL)) failed = cause();
  if (asked.wish == NFS_STOP && !meanwhile(set_threads, "0", NULL)) failed = cause();
  if (failed != NULL) say("%s: %s", asked.wish == NFS_STOP ? "the server of a volume does not stop" : "a client of a volume is not forgotten", failed);
  if (n > 0) say_done(socket, &asked, failed);
  if (asked.wish == NFS_STOP) _exit(0);
}

/* Answers what is asked with why it does not serve, and ends. */
static void __attribute__((noreturn)) give_up(int socket, const char *why) {
  static char failed[200];
  int problem = errno;
  snprintf(failed, sizeof failed, "%s: %s", why, cause());
  if (problem == 0) snprintf(failed, sizeof failed, "%s", why);
  struct nfs_request asked;
  while (recv(socket, &asked, sizeof asked, MSG_DONTWAIT) > 0) say_done(socket, &asked, failed);
  _exit(1);
}

void nfs_server_run(const struct nfs_task *task) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  process_set_own_score(-1000);
  int socket = fcntl(task->socket, F_DUPFD_CLOEXEC, LOWEST_FREE), namespace = fcntl(task->namespace, F_DUPFD_CLOEXEC, LOWEST_FREE);
  close_range(3, LOWEST_FREE - 1, 0);
  errno = 0;
  const char *failed = start(task, namespace);
  if (failed != NULL) give_up(socket, failed);
  for (;;) {
    struct pollfd p[] = {{socket, POLLIN, 0}, {clients, POLLIN, 0}, {addresses, POLLIN, 0}};
    if (poll(p, 3, -1) < 0) continue;
    if (p[1].revents) nfs_clients_answer(clients, NULL);
    if (p[2].revents) answer_address();
    if (p[0].revents) take_request(socket);
  }
}
