/* Says that it is up, sleeps for the seconds of its argument, and says that it is done. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    puts("up");
    fflush(stdout);
    sleep(argc > 1 ? atoi(argv[1]) : 3600);
    puts("done");
    return 0;
}
