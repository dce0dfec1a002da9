/* The init of a container that asked for one (init.c). */
#ifndef INIT_H
#define INIT_H


/* Runs the command that follows `--` in `args`, and gives the code to end with. */
int init_process(char **args);

#endif
