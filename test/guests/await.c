/* Waits for the file of its first argument, and exits with its second. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    for (int tries = 0; tries < 1500; tries++) {
        FILE *file = fopen(argv[1], "r");
        if (file)
            return fclose(file), atoi(argv[2]);
        usleep(20000);
    }
    return 1;
}
