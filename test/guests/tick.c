/* Says `tick 0`, `tick 1`, … as often as its first argument says, with the milliseconds of
   its second in between. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    for (int tick = 0; tick < atoi(argv[1]); tick++) {
        printf("tick %d\n", tick);
        fflush(stdout);
        usleep(1000 * atoi(argv[2]));
    }
    return 0;
}
