/* Clones itself with flags for new namespaces, and prints the errno of each try: "FLAGS ERRNO". */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void try(const char *name, long flags) {
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    printf("%s %d\n", name, pid < 0 ? errno : 0);
    if (pid > 0)
        waitpid(pid, NULL, 0);
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    try("none", 0);
    try("ipc", CLONE_NEWIPC);
    try("user+ipc", CLONE_NEWUSER | CLONE_NEWIPC);
    return 0;
}
