// The Wasm program of the samples, WASI preview 1:
//
//   hello.wasm                 greets, and lists its arguments if there are any
//   hello.wasm sleep SECONDS   sleeps
//   hello.wasm cat FILE...     prints files
//   hello.wasm serve DIR       factors the numbers that other programs put into DIR, until it is stopped
//
// serve reads each DIR/NAME.request, which holds one number, and writes DIR/NAME.answer. Both
// sides write under another name and rename, so that no one ever reads half a file.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char REQUEST[] = ".request";

// How long serve rests between two looks at its directory.
static const struct timespec POLL = {.tv_nsec = 5 * 1000 * 1000};

// Writes "360 = 2 * 2 * 2 * 3 * 3" to out.
static void factor(FILE *out, uint64_t n) {
    fprintf(out, "%llu =", (unsigned long long)n);
    const char *times = " ";
    for (uint64_t p = 2; p <= n / p; p += p == 2 ? 1 : 2) {
        for (; n % p == 0; n /= p) {
            fprintf(out, "%s%llu", times, (unsigned long long)p);
            times = " * ";
        }
    }
    if (n > 1 || strcmp(times, " ") == 0) {
        fprintf(out, "%s%llu", times, (unsigned long long)n);
    }
    fputc('\n', out);
}

static int answer(const char *dir, const char *request) {
    char from[512], temporary[512], to[512];
    int stem = (int)(strlen(request) - strlen(REQUEST));
    snprintf(from, sizeof from, "%s/%s", dir, request);
    snprintf(temporary, sizeof temporary, "%s/%.*s.partial", dir, stem, request);
    snprintf(to, sizeof to, "%s/%.*s.answer", dir, stem, request);

    FILE *in = fopen(from, "r");
    if (!in) {
        perror(from);
        return 1;
    }
    unsigned long long n = 0;
    int read = fscanf(in, "%llu", &n);
    fclose(in);
    remove(from);

    FILE *out = fopen(temporary, "w");
    if (!out) {
        perror(temporary);
        return 1;
    }
    if (read == 1) {
        factor(out, n);
        factor(stdout, n);
    } else {
        fputs("not a number\n", out);
        printf("%s holds no number\n", from);
    }
    fclose(out);
    if (rename(temporary, to) != 0) {
        perror(to);
        return 1;
    }
    return 0;
}

static int serve(const char *dir) {
    printf("wasm%d: waiting for requests in %s\n", (int)(8 * sizeof(void *)), dir);
    for (;;) {
        DIR *entries = opendir(dir);
        if (!entries) {
            perror(dir);
            return 1;
        }
        for (struct dirent *entry; (entry = readdir(entries));) {
            size_t length = strlen(entry->d_name);
            if (length > strlen(REQUEST) &&
                strcmp(entry->d_name + length - strlen(REQUEST), REQUEST) == 0 &&
                answer(dir, entry->d_name) != 0) {
                closedir(entries);
                return 1;
            }
        }
        closedir(entries);
        nanosleep(&POLL, NULL);
    }
}

static int cat(char **paths) {
    for (; *paths; paths++) {
        FILE *in = fopen(*paths, "r");
        if (!in) {
            perror(*paths);
            return 1;
        }
        for (int c; (c = fgetc(in)) != EOF;) {
            putchar(c);
        }
        fclose(in);
    }
    return 0;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    if (argc == 3 && strcmp(argv[1], "serve") == 0) {
        return serve(argv[2]);
    }
    if (argc == 3 && strcmp(argv[1], "sleep") == 0) {
        sleep((unsigned)atoi(argv[2]));
        return 0;
    }
    if (argc > 2 && strcmp(argv[1], "cat") == 0) {
        return cat(argv + 2);
    }
    printf("hello from wasm%d\n", (int)(8 * sizeof(void *)));
    for (int i = 1; i < argc; i++) {
        printf("argument %d: %s\n", i, argv[i]);
    }
    return 0;
}
