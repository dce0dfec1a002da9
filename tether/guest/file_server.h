/* The parts of the file server: files.c takes the requests, file_tree.c reads and replies, file_put.c writes. */
#ifndef FILE_SERVER_H
#define FILE_SERVER_H

#include "buffer.h"



/* ---- replies (file_tree.c) ---- */
void put_head(enum file_reply type, size_t length); /* of a reply with `length` bytes of fields */
void flush_out(void);
void reply_error(int error, const char *operation, const char *path);
void __attribute__((noreturn)) fail(int error, const char *operation, const char *path);

/* ---- reading (file_tree.c) ---- */
extern int root_fd; /* the container's root */
int open_inside(const char *path, uint64_t flags);
char **list_names(int fd, size_t *count); /* sorted; the caller owns them */
void serve_stat(const char *path);
void serve_tree(const char *path, uint8_t flags);

/* ---- writing (file_put.c) ---- */
void serve_put(struct reader *r);
void serve_times(struct reader *r);
bool file_open(void); /* whether a file was put that takes content */
void file_write(const uint8_t *data, size_t length);
uint32_t file_splice(int pipe, uint32_t length); /* returns how much was moved without reading it */
void finish_file(void);

#endif
