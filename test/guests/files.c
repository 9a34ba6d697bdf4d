/* `files read PATH` prints a file; `files write PATH TEXT` writes one; `files list PATH`
   prints the names in a dir. Fails with the system's words on stderr. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

static int fail(const char *path) {
    perror(path);
    return 1;
}

int main(int argc, char **argv) {
    char line[4096];
    if (argc > 2 && !strcmp(argv[1], "read")) {
        FILE *file = fopen(argv[2], "r");
        if (!file)
            return fail(argv[2]);
        while (fgets(line, sizeof line, file))
            fputs(line, stdout);
        return 0;
    }
    if (argc > 3 && !strcmp(argv[1], "write")) {
        FILE *file = fopen(argv[2], "w");
        if (!file || fprintf(file, "%s\n", argv[3]) < 0 || fclose(file))
            return fail(argv[2]);
        return 0;
    }
    if (argc > 2 && !strcmp(argv[1], "list")) {
        DIR *dir = opendir(argv[2]);
        if (!dir)
            return fail(argv[2]);
        for (struct dirent *entry; (entry = readdir(dir));)
            puts(entry->d_name);
        return 0;
    }
    fputs("usage: files read|write|list PATH [TEXT]\n", stderr);
    return 2;
}
