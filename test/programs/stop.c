/* Stops every process that comes into its container as soon as it is seen, and prints "stopped PID" for
 * each that does not run a program of the container by then. */
#include "newest.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>

int main(void) {
    int done = newest();
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("watching");
    for (;;) {
        int last = newest();
        for (; done < last; done++) {
            char path[64], program[256];
            int pid = done + 1;
            if (kill(pid, SIGSTOP) != 0)
                continue;
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            if (readlink(path, program, sizeof program) < 0 && errno != ENOENT)
                printf("stopped %d\n", pid);
            else
                kill(pid, SIGCONT);
        }
    }
}
