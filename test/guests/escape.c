/* Tries to leave the dir of its first argument for the file of its second, a path from there
   that leads out of it, by every way that WASI has; and to change what is in the dir if there
   is a third. Says each thing that worked. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int root;

static void worked(const char *what) {
    printf("worked: %s\n", what);
}

/* Whether the file can be opened and read from. */
static int readable(int dir, const char *path) {
    char byte;
    int fd = openat(dir, path, O_RDONLY);
    if (fd < 0)
        return 0;
    int count = read(fd, &byte, 1);
    close(fd);
    return count == 1;
}

static void try_read(const char *what, int dir, const char *path) {
    if (readable(dir, path))
        worked(what);
}

static void leave(const char *outside) {
    char path[1024];
    struct stat status;
    int fd;

    try_read("open a path with ..", root, outside);
    snprintf(path, sizeof path, "inner/../%s", outside);
    try_read("open a path with .. behind a folder", root, path);
    snprintf(path, sizeof path, "./inner/.././%s", outside);
    try_read("open a path with . and ..", root, path);
    if (!fstatat(root, outside, &status, 0))
        worked("stat a path with ..");
    if (!fstatat(root, "..", &status, 0))
        worked("stat ..");
    if ((fd = openat(root, "..", O_RDONLY | O_DIRECTORY)) >= 0)
        worked("open .."), close(fd);

    if (!symlinkat(outside, root, "link"))
        try_read("open a symbolic link", root, "link");
    if (!fstatat(root, "link", &status, 0))
        worked("stat through a symbolic link");
    if ((fd = openat(root, "link", O_WRONLY | O_TRUNC)) >= 0)
        worked("write through a symbolic link"), close(fd);
    symlinkat("..", root, "up");
    snprintf(path, sizeof path, "up/%s", strchr(outside, '/') + 1);
    try_read("open a path through a symbolic link to ..", root, path);
    symlinkat("link", root, "two");
    try_read("open a symbolic link to a symbolic link", root, "two");
    symlinkat("/", root, "slash");
    try_read("open a path through a symbolic link to /", root, "slash/etc/outside");
    if ((fd = openat(root, "slash", O_RDONLY | O_DIRECTORY)) >= 0)
        worked("open a symbolic link to /"), close(fd);
    symlinkat("/etc/outside", root, "absolute");
    try_read("open an absolute symbolic link", root, "absolute");

    if (!linkat(root, outside, root, "hard", 0)) {
        worked("make a hard link of what is outside");
        try_read("open a hard link", root, "hard");
    }
    if (!linkat(root, "link", root, "hard", AT_SYMLINK_FOLLOW))
        worked("make a hard link through a symbolic link");
    if (!linkat(root, "own", root, "../own", 0))
        worked("make a hard link outside");
    if (!renameat(root, outside, root, "stolen"))
        worked("move in what is outside");
    if (!renameat(root, "own", root, "../own"))
        worked("move a file out");
    if (!renameat(root, "own", root, "up/own"))
        worked("move a file out through a symbolic link");
    if ((fd = openat(root, "../made", O_CREAT | O_WRONLY, 0600)) >= 0)
        worked("make a file outside"), close(fd);
    if ((fd = openat(root, "up/made", O_CREAT | O_WRONLY, 0600)) >= 0)
        worked("make a file outside through a symbolic link"), close(fd);
    if (!mkdirat(root, "../folder", 0700))
        worked("make a folder outside");
    if (!unlinkat(root, outside, 0))
        worked("remove what is outside");

    /* A dir that is open is moved to where its .. would be another one. */
    if (!mkdirat(root, "inner/deep", 0700)) {
        int deep = openat(root, "inner/deep", O_RDONLY | O_DIRECTORY);
        if (deep >= 0 && !renameat(root, "inner/deep", root, "deep")) {
            snprintf(path, sizeof path, "../%s", outside);
            try_read("open a path with .. from a folder that was moved", deep, path);
        }
        close(deep);
    }
}

static void change(void) {
    struct timespec times[2] = {{1, 0}, {1, 0}};
    int fd;
    /* The C library asks for no more than the dir has: the descriptor may not be for writing. */
    if ((fd = openat(root, "own", O_WRONLY)) >= 0) {
        if (write(fd, "x", 1) == 1)
            worked("write");
        close(fd);
    }
    if ((fd = openat(root, "own", O_RDWR | O_TRUNC)) >= 0)
        worked("truncate"), close(fd);
    if ((fd = openat(root, "new", O_CREAT | O_WRONLY, 0600)) >= 0)
        worked("make a file"), close(fd);
    if ((fd = openat(root, "own", O_RDONLY)) >= 0) {
        if (write(fd, "x", 1) == 1)
            worked("write to what is open for reading");
        if (!ftruncate(fd, 0))
            worked("truncate what is open for reading");
        if (!futimens(fd, times))
            worked("set the times of what is open for reading");
        close(fd);
    } else {
        worked("not even read");
    }
    if (!mkdirat(root, "new", 0700))
        worked("make a folder");
    if (!symlinkat("own", root, "new"))
        worked("make a symbolic link");
    if (!linkat(root, "own", root, "new", 0))
        worked("make a hard link");
    if (!renameat(root, "own", root, "new"))
        worked("rename");
    if (!utimensat(root, "own", times, 0))
        worked("set times");
    if (!unlinkat(root, "own", 0))
        worked("remove a file");
    if (!unlinkat(root, "inner", AT_REMOVEDIR))
        worked("remove a folder");
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    root = open(argv[1], O_RDONLY | O_DIRECTORY);
    if (root < 0)
        return perror(argv[1]), 1;
    if (argc > 3)
        change();
    else
        leave(argv[2]);
    puts("tried");
    return 0;
}
