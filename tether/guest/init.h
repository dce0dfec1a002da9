/* The init of a container that asked for one, at INIT_PATH (init.c). */
#ifndef INIT_H
#define INIT_H


/* Runs the command after `--` in `args`; returns the code to exit with. */
int init_process(char **args);

#endif
