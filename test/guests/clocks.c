/* Prints the seconds since 1970; fails if a clock stands still or goes back, or if two draws of
   random bytes are the same. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(void) {
    unsigned char one[32], other[32];
    struct timespec before, after, step;
    if (getentropy(one, sizeof one) || getentropy(other, sizeof other))
        return perror("getentropy"), 1;
    if (!memcmp(one, other, sizeof one))
        return 2;
    if (clock_getres(CLOCK_MONOTONIC, &step) || step.tv_sec || step.tv_nsec <= 0)
        return 3;
    clock_gettime(CLOCK_MONOTONIC, &before);
    usleep(20000);
    clock_gettime(CLOCK_MONOTONIC, &after);
    if ((after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec < 20000000)
        return 4;
    printf("%lld\n", (long long)time(NULL));
    return 0;
}
