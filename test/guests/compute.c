/* Computes as often as its first argument says: primes, a product of matrices, steps of Collatz.
   Says what came of it, leaves a file of its second argument's name, and waits for the end of
   stdin, so that one can see what it has cost. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PRIMES = 1 << 20, SIDE = 160, SEEDS = 60000 };

static uint32_t primes(void) {
    static uint8_t composite[PRIMES];
    uint32_t count = 0;
    memset(composite, 0, sizeof composite);
    for (uint32_t n = 2; n < PRIMES; n++) {
        if (composite[n])
            continue;
        count++;
        for (uint64_t of = (uint64_t)n * n; of < PRIMES; of += n)
            composite[of] = 1;
    }
    return count;
}

static double product(void) {
    static double a[SIDE][SIDE], b[SIDE][SIDE];
    double trace = 0;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++)
            a[i][j] = i + j, b[i][j] = i - j;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            double sum = 0;
            for (int k = 0; k < SIDE; k++)
                sum += a[i][k] * b[k][j];
            trace += i == j ? sum : 0;
        }
    return trace;
}

static uint64_t collatz(void) {
    uint64_t steps = 0;
    for (uint64_t seed = 1; seed < SEEDS; seed++)
        for (uint64_t n = seed; n != 1; steps++)
            n = n % 2 ? 3 * n + 1 : n / 2;
    return steps;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    uint64_t sum = 0;
    for (int round = atoi(argv[1]); round > 0; round--)
        sum += primes() + (uint64_t)(int64_t)product() + collatz();
    printf("%llu\n", (unsigned long long)sum);
    FILE *done = fopen(argv[2], "w");
    if (!done || fclose(done))
        return perror(argv[2]), 1;
    char rest;
    while (read(0, &rest, 1) > 0)
        ;
    return 0;
}
