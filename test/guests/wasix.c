/* A guest of WASIX: arguments, environment, working directories, files, a pipe, and its exit code,
 * which is its first argument; with `trap` for it, a trap. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WASIX(name) __attribute__((import_module("wasix_32v1"), import_name(name)))

WASIX("chdir") int wasix_chdir(const char *path, size_t length);
WASIX("getcwd") int wasix_getcwd(char *path, size_t *length);
WASIX("fd_pipe") int wasix_fd_pipe(uint32_t *from, uint32_t *to);

static int failed(const char *what, int error)
{
    fprintf(stderr, "%s: error %d\n", what, error);
    return 1;
}

static int look_around(void)
{
    char path[256], text[256];
    size_t length = sizeof path;
    int error = wasix_getcwd(path, &length);
    if (error)
        return failed("getcwd", error);
    printf("works in %.*s\n", (int)length, path);
    memcpy(path + length, "/note", 6);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(text, sizeof text, file))
        return failed(path, 0);
    printf("note: %s", text);
    return fclose(file);
}

static int through_a_pipe(void)
{
    char text[16] = {0};
    uint32_t from, to;
    int error = wasix_fd_pipe(&from, &to);
    if (error)
        return failed("fd_pipe", error);
    if (write((int)to, "words", 5) != 5 || read((int)from, text, sizeof text - 1) != 5)
        return failed("a pipe", 0);
    printf("through a pipe: %s\n", text);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 1;
    if (strcmp(argv[1], "trap") == 0)
        __builtin_trap();
    for (int i = 2; i < argc; i++)
        printf("argument %s\n", argv[i]);
    const char *colour = getenv("COLOUR");
    printf("COLOUR is %s\n", colour ? colour : "unknown");
    if (look_around())
        return 1;
    int error = wasix_chdir("/etc", 4);
    if (error)
        return failed("chdir", error);
    if (look_around() || through_a_pipe())
        return 1;
    return atoi(argv[1]);
}
